"""Priors against the readers of LIDC: tables of scores, widths and a test on held-out patients."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from nacl_monai.evaluations.statistics import percentile_interval
from nacl_monai.files import atomic_path, write_text
from nacl_monai.metrics.pooled import draws
from nacl_monai.progress import progress_bar
from nacl_monai.raters.priors import Prior, RatedMasks
from nacl_monai.raters.scores import (
    WIDTH_METRICS,
    WIDTH_RESAMPLES,
    PriorScores,
    fit_width,
    score_priors,
)
from nacl_monai.reports.style import save_figure
from studies.lidc.outlines import READERS, Nodule, Scan, find_database, read_nodules, read_scans
from studies.lidc.page import draw_reliability, draw_widths, report
from studies.lidc.priors import FAMILIES, bin_table, gaussian, hard, held_out, nearest, svls, window

#: To either side of a reader's border, in mm; in the table in pixels, in pixels.
BANDS, PIXEL_BAND = (1.0, 2.0, 3.0), (1.0,)
#: The band of pictures and of the test on held-out patients: its position.
SHOWN = 1
#: A mean has windows of 3, 5, … voxels, so that few of its widths differ.
WIDTHS = {
    "blur": np.geomspace(0.3, 3.0, 12),
    "distance": np.geomspace(0.3, 3.0, 12),
    "mean": np.geomspace(0.4, 3.0, 6),
}
RIVAL = "NACL 3×3"
FOUR, TWO, OUTLINE = "all four", "two or more", "all four, outline included"


class Study(NamedTuple):
    """Scores of everything that is asked.

    Attributes:
        pixels: Scores of the nodules that all four marked, in pixels.
        by_nodules: Scores of the nodules that all four marked, and of those that two or more did, in mm.
        outline: Scores of the first, where the outline's pixels belong to the nodule.
        nodules: How many, by the number of readers who marked them.
    """

    pixels: PriorScores
    by_nodules: Mapping[str, PriorScores]
    outline: PriorScores
    nodules: Mapping[int, int]


def in_pixels() -> list[Prior]:
    """Priors whose widths are in voxels, as losses have them by default."""
    return [hard(), svls(1.0), window(3), window(5), gaussian(1.0)]


def in_mm(families: Iterable[str] = FAMILIES) -> list[Prior]:
    """Every family with every width."""
    return [FAMILIES[family](width) for family in families for width in WIDTHS[family]]


def rated(nodules: Iterable[Nodule], pixels: bool = False) -> list[RatedMasks]:
    """Nodules as images of four readers, slice by slice; those who did not mark them are absent."""
    return [
        RatedMasks(
            nodule.masks,
            (1.0, 1.0) if pixels else (nodule.spacing, nodule.spacing),
            nodule.patient,
            READERS - len(nodule.masks),
        )
        for nodule in nodules
    ]


def measure(scans: Sequence[Scan]) -> Study:
    """Scores all priors on the nodules of some scans."""
    nodules = list(read_nodules(scans, margin=max(BANDS) + 1))
    four = [nodule for nodule in nodules if len(nodule.masks) == READERS]
    fewer = [nodule for nodule in nodules if len(nodule.masks) < READERS]
    priors = [*in_pixels(), *in_mm()]
    of_four = score_priors(_bar(rated(four), "marked by four"), priors, BANDS)
    of_fewer = score_priors(_bar(rated(fewer), "marked by fewer"), priors, BANDS)
    pixels = score_priors(_bar(rated(four, pixels=True), "in pixels"), in_pixels(), PIXEL_BAND)
    by_nodules = {FOUR: of_four, TWO: of_four + of_fewer}
    return Study(pixels, by_nodules, _with_outlines(scans), _by_readers(nodules))


def _with_outlines(scans: Sequence[Scan]) -> PriorScores:
    """Scores of blurs on the nodules of all four, to which the outline's pixels belong."""
    wide = read_nodules(scans, margin=max(BANDS) + 1, outline=True)
    four = [image for image in rated(wide) if not image.absent]
    return score_priors(_bar(four, "with outlines"), in_mm(["blur"]), BANDS)


def _by_readers(nodules: Iterable[Nodule]) -> dict[int, int]:
    """How many nodules two, three, … readers marked."""
    times = Counter(len(nodule.masks) for nodule in nodules)
    return {k: times[k] for k in range(2, READERS + 1)}


def _bar(images: Sequence[RatedMasks], name: str) -> Iterable[RatedMasks]:
    bar: Iterable[RatedMasks] = progress_bar(images, description=name, unit="nodule")
    return bar


def score_table(scores: PriorScores, nodules: str) -> pd.DataFrame:
    """Every prior, band and metric, with 95 % intervals over patients."""
    weights = draws(len(scores.patients), WIDTH_RESAMPLES)
    rows = []
    for metric in WIDTH_METRICS:
        values, ends = scores.errors(metric), percentile_interval(scores.errors(metric, weights))
        for (k, prior), (b, width) in product(enumerate(scores.priors), enumerate(scores.bands)):
            row = {"nodules": nodules, "band": width, "prior": prior.label, "family": prior.family}
            score = {"value": values[k, b], "low": ends[0, k, b], "high": ends[1, k, b]}
            rows.append(row | {"width": prior.width, "metric": metric} | score)
    return pd.DataFrame(rows)


def width_table(scores: PriorScores, nodules: str) -> pd.DataFrame:
    """The best width of every family by every metric in every band."""
    families = dict.fromkeys(prior.family for prior in scores.priors if prior.family in FAMILIES)
    kinds = product(families, WIDTH_METRICS, range(len(scores.bands)))
    fits = [fit_width(scores, family, metric, band) for family, metric, band in kinds]
    keys = ("family", "metric", "band", "best", "low", "high")
    table = pd.DataFrame([[getattr(fit, key) for key in keys] for fit in fits], columns=keys)
    flat_low, flat_high = zip(*(fit.flat for fit in fits), strict=True)
    table = table.assign(flat_low=flat_low, flat_high=flat_high, least=[fit.least for fit in fits])
    table.insert(0, "nodules", nodules)
    return table


def study_lidc(database: str | Path | None, output: Path) -> list[Path]:
    """Measures priors against all nodules of the database, and writes the results.

    Args:
        database: From `studies.lidc.outlines.find_database`.
        output: The folder of the files.

    Returns:
        Their paths.

    Raises:
        InputError: If the database cannot be read, or a file cannot be written.
    """
    return write_study(measure(list(read_scans(find_database(database)))), output)


def write_study(study: Study, output: Path) -> list[Path]:
    """Writes tables, pictures and a page; returns their paths.

    Raises:
        InputError: If a file cannot be written.
    """
    tables = _tables(study)
    files = []
    for name, table in tables.items():
        files.append(output / f"{name}.csv")
        with atomic_path(files[-1]) as path:
            table.to_csv(path, index=False, float_format="%.6g")
    files += _draw(study, output)
    page = report(study.nodules, len(study.by_nodules[TWO].patients), *tables.values())
    return [*files, write_text(output / "README.md", page)]


def _tables(study: Study) -> dict[str, pd.DataFrame]:
    """Scores, widths and the test on held-out patients."""
    scores = [score_table(study.pixels, f"{FOUR}, in pixels")]
    widths, tests = [], []
    for name, of_nodules in study.by_nodules.items():
        scores.append(score_table(of_nodules, name))
        widths.append(width_table(of_nodules, name))
        for band, width in enumerate(of_nodules.bands):
            test = held_out(of_nodules, "blur", RIVAL, band=band)
            tests.append(test.assign(nodules=name, band=width))
    widths.append(width_table(study.outline, OUTLINE))
    parts = {"scores": scores, "widths": widths, "held_out": tests}
    return {name: pd.concat(tables) for name, tables in parts.items()}


def _draw(study: Study, output: Path) -> list[Path]:
    """Writes the pictures; returns their paths."""
    shown = study.by_nodules[FOUR]
    best = nearest(shown, "blur", fit_width(shown, "blur", band=SHOWN, resamples=2).best)
    labels = [prior.label for prior in shown.priors]
    chosen = [labels.index(label) for label in ("hard labels", "SVLS 3×3, σ 1", RIVAL)] + [best]
    bins = pd.concat(bin_table(shown, prior, SHOWN) for prior in chosen)
    with atomic_path(output / "reliability.csv") as path:
        bins.to_csv(path, index=False, float_format="%.6g")
    return [
        output / "reliability.csv",
        *save_figure(draw_reliability(shown, chosen, SHOWN), output / "reliability"),
        *save_figure(draw_widths(study.by_nodules, "ece", SHOWN), output / "widths"),
    ]
