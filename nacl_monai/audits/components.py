"""The islands of a study: found, missed and false ones, and the probability that each is real."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import torch

from nacl_monai.audits.measuring import study_definition
from nacl_monai.errors import InputError, SettingError
from nacl_monai.evaluations.statistics import percentile_interval
from nacl_monai.evaluations.tables import csv_text
from nacl_monai.files import checksum, write_text
from nacl_monai.inference.promised import Array
from nacl_monai.metrics.bins import CalibrationBins
from nacl_monai.metrics.islands import (
    Islands,
    count_islands,
    joined_islands,
    label_islands,
    peaks_of,
)
from nacl_monai.metrics.pooled import Pooled, draws, pooled_error
from nacl_monai.posthoc.islands import RealIslands, read_real, real_file
from nacl_monai.predictions.identity import check_unseen
from nacl_monai.predictions.readers import predicted_masks
from nacl_monai.predictions.reading import Case, Reading
from nacl_monai.predictions.study import Study
from nacl_monai.words import interval_text

_FOUND = ["false_per_case", "found", "low", "high"]  # columns of what is found
#: From `counter_of`: a reading → the islands of each structure.
Counter: TypeAlias = "partial[list[dict[str, Array]]]"
#: The tables of rows, and of the share found by the number of false islands.
TABLE, FROC = "components.csv", "froc.csv"
#: Every predicted island with its P(real).
SCORED = "islands.csv"
_HEAD = ["case", "structure", "mm3", "largest_probability", "p_real"]
PEAK, REAL = "Largest probability", "P(real)"
#: False islands per case at which the share of those found is printed.
RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
_BINS = 15
_SIZES = (0.0, 10.0, 100.0, 1000.0, np.inf)
_RESAMPLES = 1000
_DOUBTFUL = 0.5


def structures_of(reading: Reading) -> Iterator[tuple[str, Array, Array]]:
    """Each structure of a case, where it is predicted, and its probability."""
    channels, probs = reading.channels, reading.probs
    masks = predicted_masks(reading.stored, channels)
    for mask, (name, members) in zip(masks, channels.structures.items(), strict=True):
        inside = sum(probs[k].double() for k in members)
        yield name, mask.numpy() > 0, torch.as_tensor(inside).numpy()


def islands_of(
    reading: Reading, least: float, real: RealIslands | None = None
) -> list[dict[str, Array]]:
    """The islands of each structure of a case with a label; their scores are P(real), if that is fitted.

    Raises:
        InputError: If no file says where its voxels are.
    """
    counts, voxel = reading.labels[0].mask, float(np.prod(reading.spacing))
    inside = np.True_ if counts is None else counts.numpy()
    how: dict[str, Any] = {"voxel": voxel, "least": least}
    found = []
    for (name, predicted, probs), mask in zip(structures_of(reading), reading.masks, strict=True):
        if real is not None:
            how["score"] = partial(real.probability, name)
        found.append(count_islands(predicted & inside, probs, mask.numpy() & inside, **how))
    return found


def counter_of(study: Study) -> Counter | None:
    """The function that counts the islands of a case, if the options ask for it.

    Raises:
        InputError: If what was fitted is not of such predictions.
        SettingError: If there are several raters, or the minimum is another than that of the fit.
    """
    options = study.options
    least, real = options.components, real_of(study)
    if least is None and real is None:
        return None
    if study.raters:
        raise SettingError("--components: are those of one rater; leave --raters out")
    if real is not None and least not in (None, real.definition["minimum_mm3"]):
        raise SettingError(
            f"--components: is {least:g}, but {options.islands} has {real.definition['minimum_mm3']:g} "
            "mm³; leave the number out"
        )
    smallest = least if real is None else real.definition["minimum_mm3"]
    return partial(islands_of, least=float(smallest or 0), real=real)


def joined_study(
    study: Study,
    cases: Sequence[Case],
    counted: Sequence[Sequence[Mapping[str, Array]]],
    counter: Counter,
) -> Islands:
    """The islands of the cases of a study, as `counter_of` it counts them, as one object."""
    file = study.options.islands
    definition = study_definition(study) | {
        "connectivity": "all neighbors",
        "overlap_voxels": 1,
        "minimum_mm3": counter.keywords["least"],
        "score": PEAK if file is None else f"{REAL} {checksum(real_file(file))}",
    }
    names = [case.name for case in cases]
    return joined_islands(names, counted, study.patients_of(cases), definition)


def score_error(rows: pd.DataFrame, cases: int, score: Array, patients: Sequence[str]) -> Pooled:
    """The expected calibration error of scores of predicted islands, all cases together."""
    place = np.ceil(score * _BINS).astype(int).clip(1, _BINS) - 1 + rows["case"].to_numpy() * _BINS
    sums = [
        np.bincount(place, weights, cases * _BINS).reshape(cases, _BINS)
        for weights in (np.ones(len(rows)), rows["hit"].to_numpy(float), score)
    ]
    counts, hits, scores = map(torch.from_numpy, sums)
    return pooled_error(CalibrationBins(counts.long(), hits.long(), scores), patients)


def froc(islands: Islands, structure: str) -> pd.DataFrame:
    """The share of labeled islands that are found at each of `RATES`, with intervals over patients.

    The score above which islands are kept is the smallest with at most so many false ones per case.
    """
    labeled = islands.of(structure, labeled=True)
    false = islands.of(structure, labeled=False).query("~hit").sort_values("score", ascending=False)
    names, person = np.unique(islands.patients, return_inverse=True)
    weights = np.concatenate([np.ones((1, len(names))), draws(len(names), _RESAMPLES)])[:, person]
    found = np.array([_found(weight, labeled, false) for weight in weights])
    ends = percentile_interval(found[1:]) if len(names) > 1 else np.full((2, len(RATES)), np.nan)
    columns = {"false_per_case": RATES, "found": found[0], "low": ends[0], "high": ends[1]}
    return pd.DataFrame({"structure": structure, **columns})


def _found(weight: Array, labeled: pd.DataFrame, false: pd.DataFrame) -> list[float]:
    """The weighted share of labeled islands that are found at each rate."""
    whole = weight[labeled["case"].to_numpy()]
    rates = weight[false["case"].to_numpy()].cumsum() / weight.sum()
    scores, best = np.append(false["score"].to_numpy(), 0.0), labeled["score"].to_numpy()
    first = [int(np.searchsorted(rates, rate + 1e-9, side="right")) for rate in RATES]
    with np.errstate(invalid="ignore"):
        return [float(whole[best > scores[k]].sum() / whole.sum()) for k in first]


def by_size(islands: Islands, structure: str) -> pd.DataFrame:
    """How many islands are found, missed, real and false, by size and in all."""
    rows = {}
    for low, high in [*pairwise(_SIZES), (0.0, np.inf)]:
        counts = []
        for labeled in (True, False):
            of_kind = islands.of(structure, labeled=labeled)
            hits = of_kind["hit"][of_kind["mm3"].between(low, high, inclusive="left")]
            counts += [len(hits), int(hits.sum()), int((~hits).sum())]
        name = f"{low:g} to {high:g}" if high < np.inf else f"from {low:g}" if low else "all"
        rows[name] = counts
    head = ["labeled", "found", "missed", "predicted", "real", "false"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=head)


def score_text(islands: Islands, structure: str, score: Array, name: str) -> str:
    """How reliable a score of predicted islands is."""
    rows = islands.of(structure, labeled=False)
    if rows.empty:
        return f"{name}: no island is predicted"
    error = score_error(rows, len(islands.cases), score, islands.patients)
    hit = rows["hit"].to_numpy(float)
    sure = int(((score >= 0.7) & (hit == 0)).sum())
    return (
        f"{name}: {score.mean():.2f} on average, and {hit.mean():.2f} are real; "
        f"error {error.text()}, Brier score {((score - hit) ** 2).mean():.3f}, {sure} false from 0.7 on"
    )


def text_of(islands: Islands, structure: str, found: pd.DataFrame, p_real: Array | None) -> str:
    """The printed lines about the islands of a structure."""
    rows = islands.of(structure, labeled=False)
    is_peak = islands.definition["score"] == PEAK
    lines = [
        f"\nIslands of {structure} by mm³; all neighbors connect, one voxel overlaps, the smallest is "
        f"of {islands.minimum:g} mm³:",
        by_size(islands, structure).to_string(),
        score_text(islands, structure, rows["score"].to_numpy(), PEAK if is_peak else REAL),
    ]
    if p_real is not None:
        own = p_real[rows.index.to_numpy()]
        lines.append(score_text(islands, structure, own, f"{REAL} by other patients"))
    lines.append(
        "Share found, by false islands per case: "
        + "; ".join(
            f"{false:g}: {interval_text(share, low, high, 0, percent=True)}"
            for false, share, low, high in found[_FOUND].to_numpy(float)
        )
    )
    return "\n".join(lines)


def write_tables(islands: Islands, folder: Path, p_real: Array | None = None) -> str:
    """Writes the tables of the rows and of what is found; returns what is printed.

    Args:
        islands: Of all cases.
        folder: Where they are written.
        p_real: P(real) of each row by the fit to other patients, if there is one.
    """
    named = islands.named if p_real is None else islands.named.assign(p_real=p_real)
    write_text(folder / TABLE, csv_text(named))
    found = {structure: froc(islands, structure) for structure in islands.structures}
    write_text(folder / FROC, csv_text(pd.concat(found.values())))
    texts = [text_of(islands, name, table, p_real) for name, table in found.items()]
    return "\n".join([*texts, "A labeled island without a predicted voxel is missed at any score."])


def cross_fitted(islands: Islands, folds: int) -> Array:
    """P(real) of each predicted island by the fit to the islands of other patients; NaN of labeled ones.

    Raises:
        InputError: If there is one patient alone.
    """
    people = sorted({*islands.patients})
    if len(people) < 2:
        raise InputError(
            f"{people[0]}: is the only patient, who cannot test what is fitted to them"
        )
    drawn = np.random.default_rng(0).permutation(people).tolist()
    found = np.full(len(islands.rows), np.nan)
    for part in (drawn[fold::folds] for fold in range(min(folds, len(drawn)))):
        real = RealIslands.fitted(islands.of_patients({*people} - {*part}))
        own = islands.of_patients(part)
        for name in islands.structures:
            rows = own.of(name, labeled=False)
            found[rows.index] = real.probability(name, rows["score"], rows["mm3"])
    return found


def real_of(study: Study) -> RealIslands | None:
    """The fit to islands of other patients by the same model; None without ``--islands``.

    Raises:
        InputError: If it is of other structures, another calibrator or ensemble, or of a patient of the
            study.
    """
    file = study.options.islands
    if file is None:
        return None
    real, channels = read_real(file), study.channels
    check_unseen(file, real, study)
    definition = real.definition
    structures = {name: list(members) for name, members in channels.structures.items()}
    if definition["structures"] != structures:
        raise InputError(
            f"{file}: is of {', '.join(definition['structures'])}, but these are "
            f"{', '.join(structures)}; give the same --structures"
        )
    return real


def _scored(
    reading: Reading, real: RealIslands
) -> Iterator[tuple[str, Array, Array, Array, Array]]:
    """Each structure of a case, and the number of its predicted island at each voxel.

    Then volumes in mm³, largest probabilities and P(real) of these islands, 0 below the minimum.
    """
    voxel = float(np.prod(reading.spacing))
    for name, predicted, probs in structures_of(reading):
        numbers, count = label_islands(predicted)
        mm3 = np.bincount(numbers.ravel(), minlength=count + 1)[1:] * voxel
        peaks = peaks_of(numbers, count, probs)
        p_real = real.probability(name, peaks, mm3) * (mm3 >= real.definition["minimum_mm3"])
        yield name, numbers, mm3, peaks, p_real


def write_scored(reading: Reading, real: RealIslands, folder: Path) -> list[dict[str, Any]]:
    """Writes ``CASE_islands.nii.gz``, P(real) at each voxel of an island; returns the rows of a table.

    Several structures are channels, as in ``CASE_probabilities.nii.gz``.
    """
    rows, maps = [], []
    for name, numbers, mm3, peaks, p_real in _scored(reading, real):
        maps.append(np.append(0, p_real)[numbers])
        rows += [
            dict(zip(_HEAD, (reading.case.name, name, mm3[k], peaks[k], p_real[k]), strict=True))
            for k in np.argsort(-mm3, kind="stable")
            if p_real[k] > 0
        ]
    voxels = (maps[0] if len(maps) == 1 else np.stack(maps)).astype(np.float32)
    reading.write(folder / f"{reading.case.name}_islands.nii.gz", voxels, "islands")
    return rows


def write_rows(rows: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Writes ``islands.csv``."""
    write_text(folder / SCORED, csv_text(pd.DataFrame(rows, columns=_HEAD)))


def doubtful(reading: Reading, real: RealIslands) -> dict[str, int]:
    """Structure → how many of its islands are more likely false than real."""
    counts = {
        name: int(((p_real > 0) & (p_real < _DOUBTFUL)).sum())
        for name, *_, p_real in _scored(reading, real)
    }
    return {name: count for name, count in counts.items() if count}
