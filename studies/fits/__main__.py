"""``python -m studies.fits DATA RUN …``: calibrators fitted near the prediction or over all voxels.

Each calibrator is fitted to one half of a run's validation people, and judged on the other; and the
other way round, so that everybody is judged. Networks and people of the test set have no part in it.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn

from nacl_monai.data.cases import split_unit
from nacl_monai.evaluations.tables import markdown_table
from nacl_monai.metrics import CalibrationMetric
from nacl_monai.metrics.decisions import decision_numbers
from nacl_monai.metrics.pooled import pooled_error
from nacl_monai.metrics.record import Record
from nacl_monai.metrics.regions import case_spacings
from nacl_monai.posthoc import METHODS, Fit, RegionLogits, fit_method
from nacl_monai.runs import RunFolder
from nacl_monai.tensors import without_metadata
from studies.fits.lts import fit_tree
from studies.runs import behind, evaluation_of, parser_of_runs

REGIONS = ("near", "all")
#: Local temperature scaling as published, which is fitted over all voxels.
LTS = "published_lts"
HEAD = (
    *("network", "fitted", "NLL, all voxels", "Brier score, all voxels", "ECE near the prediction"),
    *("confidence − accuracy there", "5% contour misses", "its size", "volume, error"),
    "expected DSC, error",
)


class Scan(NamedTuple):
    """A validation case behind a network."""

    patient: str
    image: torch.Tensor
    label: torch.Tensor
    logits: torch.Tensor
    spacing: tuple[float, ...]


def scans(
    run: RunFolder,
    data: Path,
    cache: Path,
    cases: str = "val",
    seen: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> tuple[list[Scan], dict[str, list[int]]]:
    """The cases of a set of a run with their logits, and the structures.

    Args:
        run: The run.
        data: The folder of its dataset.
        cache: Where read volumes are kept.
        cases: The set of its split, such as "val".
        seen: What the network sees of an image, if not the image itself.
    """
    config = evaluation_of(run, data, cases, cache)
    network, inferer = (config.get_parsed_content(key) for key in ("trained_network", "inferer"))
    found = []
    for item in config.get_parsed_content("volumes"):
        if seen:
            item["image"] = seen(without_metadata(item["image"]))
        with torch.no_grad():
            logits = inferer(item["image"][None], network.eval())[0]
        (spacing,) = case_spacings("pixdim", 1, 3, item["label"])
        parts = map(without_metadata, (item["image"], item["label"], logits))
        found.append(Scan(split_unit(item), *parts, spacing))
    return found, config["structures"]


def halves(people: set[str]) -> tuple[set[str], set[str]]:
    """The people, divided once and for all."""
    drawn = np.random.default_rng(0).permutation(sorted(people)).tolist()
    return {*drawn[::2]}, {*drawn[1::2]}


def fitted(several: Iterable[Scan], method: str, region: str = "all") -> Fit:
    """A calibrator that some scans fit."""
    with RegionLogits(region) as voxels:
        for scan in several:
            image = scan.image if METHODS[method].sees_image else None
            voxels.add(scan.logits, scan.label, scan.patient, image=image, voxel=scan.spacing)
        return fit_method(method, voxels)


def by_person(several: Iterable[Scan], proper: torch.Tensor) -> pd.DataFrame:
    """The mean NLL and Brier score of each person, of those of their cases, ``(cases, 2)``."""
    scores = pd.DataFrame(proper.numpy(), columns=["nll_all", "brier_all"])
    scores["person"] = [scan.patient for scan in several]
    return scores.groupby("person", as_index=False).mean().round(6)


def calibrated(several: Sequence[Scan], method: str, region: str = "all") -> Iterator[torch.Tensor]:
    """The logits of each scan behind a calibrator that was fitted to the half without its person."""
    sees_image = method == LTS or METHODS[method].sees_image
    modules: dict[str, nn.Module] = {}
    for half in halves({scan.patient for scan in several}):
        rest = [scan for scan in several if scan.patient not in half]
        if method == LTS:
            module: nn.Module = fit_tree([(scan.logits, scan.image, scan.label) for scan in rest])
        else:
            module = fitted(rest, method, region).module
        modules |= dict.fromkeys(half, module)
    for scan in several:
        image = scan.image if sees_image else None
        yield behind(modules[scan.patient], scan.logits, image, scan.spacing)


def numbers(
    several: Sequence[Scan], outputs: Iterable[torch.Tensor], structures: dict[str, list[int]]
) -> tuple[list[str], torch.Tensor, Record]:
    """The numbers of a row, NLL and Brier score of each case, ``(cases, 2)``, and all bins."""
    parts = []
    for scan, logits in zip(several, outputs, strict=True):
        what = {"errors": ["nll", "brier"], "regions": ["all", "near"], "decisions": structures}
        metric = CalibrationMetric(**what, margin_spacing=scan.spacing, from_logits=True)
        metric(logits[None], scan.label[None])
        parts.append(metric)
    people = [scan.patient for scan in several]
    records = [part.record([f"{k}"], patients=[people[k]]) for k, part in enumerate(parts)]
    record = records[0].joined(records[1:])
    errors = [part.case_errors() for part in parts]
    proper = torch.stack(
        [torch.stack([part[name][0, 0] for name in ("nll", "brier")]) for part in errors]
    )
    near = record.sums[:, 1, 0]
    assert record.decisions is not None  # noqa: S101 - it was asked for
    decided = [decision_numbers(record.decisions[:, k], people) for k in range(len(structures))]
    gap = float((near.confidences.sum() - near.positives.sum()) / near.counts.sum())

    def mean(name: str) -> float:
        return float(np.mean([getattr(decisions, name).value for decisions in decided]))

    row = [f"{value:.4f}" for value in proper.mean(0).tolist()]
    row += [f"{pooled_error(near, people).value:.4f}", f"{gap:+.4f}"]
    row += [f"{mean('contour_misses'):.1%}", f"{mean('contour_size'):.2f}"]
    row += [f"{mean('expected_volume_error'):.1%}", f"{mean('expected_dice_error'):.3f}"]
    return row, proper, record


def better(several: list[Scan], near: torch.Tensor, everywhere: torch.Tensor) -> str:
    """The excess of a proper score of `near` over that of `all`, with its interval over people."""
    people = np.array([scan.patient for scan in several])
    cases = (near - everywhere).numpy()
    of_people = np.stack([cases[people == person].mean(0) for person in np.unique(people)])
    drawn = np.random.default_rng(0).integers(0, len(of_people), (2000, len(of_people)))
    low, high = np.quantile(of_people[drawn].mean(1), [0.025, 0.975], axis=0)
    texts = [
        f"{name} {value:+.4f} [{a:+.4f}, {b:+.4f}]"
        for name, value, a, b in zip(("NLL", "Brier"), of_people.mean(0), low, high, strict=True)
    ]
    return ", ".join(texts)


def main() -> None:
    """Prints a table in Markdown, and under it the differences between both regions."""
    parser = parser_of_runs("studies.fits", __doc__)
    parser.add_argument("--methods", nargs="+", choices=[*METHODS, LTS], default=list(METHODS))
    options = parser.parse_args()
    rows, lines = [], []
    for path in options.runs:
        several, structures = scans(RunFolder(path), options.data, options.cache)
        row, *_ = numbers(several, (scan.logits for scan in several), structures)
        rows.append([path.name, "nothing", *row])
        for method in options.methods:
            proper = {}
            for region in REGIONS if method != LTS else ("all",):
                outputs = calibrated(several, method, region)
                row, proper[region], _ = numbers(several, outputs, structures)
                rows.append([path.name, f"`{method}_{region}`", *row])
                sys.stderr.write(f"{rows[-1]}\n")
            if method != LTS:
                ends = better(several, proper["near"], proper["all"])
                lines.append(f"{path.name}, {method}, near − all: {ends}")
    sys.stdout.write(markdown_table(list(HEAD), rows, "ll" + "r" * (len(HEAD) - 2)) + "\n")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
