"""``python -m studies.distance.sides DATA RUN …``: whether both sides of a border need a curve each.

One curve (`distance`) and one for each side (`signed_distance`) behind networks that mark too much or
too little, that were stopped early, or that see images at half resolution (``RUN@half``). The rule was
set before: the smallest NLL over all voxels, pooled over networks and validation people whom others fit,
with the ECE near the prediction no worse. Then so many validation people fit, and test people judge.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from nacl_monai.evaluations.tables import markdown_table
from nacl_monai.metrics.decisions import decision_numbers
from nacl_monai.metrics.record import Record
from nacl_monai.posthoc import DistanceTemperatures, RegionLogits, fit_method
from nacl_monai.posthoc.distance import SIGNED_KNOTS, fit_curve
from nacl_monai.runs import RunFolder
from studies.distance.tested import changed
from studies.fits.__main__ import Scan, by_person, halves, numbers, scans
from studies.penalty import leading
from studies.runs import behind, parser_of_runs

NOTHING = "nothing"
METHODS = ("temperature", "distance", "signed_distance")
#: What draws both sides together, of rows that are fitted and judged on validation people alone.
RIDGES = (0.01, 0.1)
CROSS = "others"
HEAD = ("network", "who fit", "calibrator", "NLL, all voxels", "Brier score", "ECE near", "misses")
#: Of each structure: what its 5% contour misses, and what its expected volume is off by.
PARTS = ("network", "who fit", "structure", NOTHING, *METHODS)
CHANGES = ("network", "who fit", "NLL of one curve", "change with two", "Brier score, change")


def half_resolution(image: torch.Tensor) -> torch.Tensor:
    """The means of two by two voxels of each slice, and back by linear interpolation, ``(C, *3)``."""
    small = torch.nn.functional.avg_pool3d(image[None].float(), (2, 2, 1), ceil_mode=True)
    shape = image.shape[1:]
    return torch.nn.functional.interpolate(small, shape, mode="trilinear", align_corners=False)[0]


def fitted(several: Sequence[Scan], tried: Sequence[float] = ()) -> dict[str, Any]:
    """Each calibrator that some scans fit, by name; those of `tried` ridges, too."""
    with RegionLogits("all") as voxels:
        for scan in several:
            voxels.add(scan.logits, scan.label, scan.patient, voxel=scan.spacing)
        found: dict[str, Any] = {NOTHING: None}
        found |= {method: fit_method(method, voxels).module for method in METHODS}
        for ridge in tried:
            curve = fit_curve(voxels, SIGNED_KNOTS, ridge_of_sides=ridge)
            found[f"signed_distance, ridge {ridge:g}"] = DistanceTemperatures(curve, SIGNED_KNOTS)
    return found


def judged(
    validation: Sequence[Scan], test: Sequence[Scan], counts: Sequence[int]
) -> Iterator[tuple[str, str, Sequence[Scan], list[torch.Tensor]]]:
    """Who fit, the calibrator, the scans that judge it, and their logits behind it."""
    of_person: dict[str, dict[str, Any]] = {}
    for half in halves({scan.patient for scan in validation}):
        rest = [scan for scan in validation if scan.patient not in half]
        of_person |= dict.fromkeys(half, fitted(rest, RIDGES))
    for name in next(iter(of_person.values())):
        logits = [calibrated(of_person[scan.patient][name], scan) for scan in validation]
        yield CROSS, name, validation, logits
    people = np.random.default_rng(0).permutation(sorted(set(of_person))).tolist()
    for count in counts:
        fitting = [scan for scan in validation if scan.patient in people[:count]]
        for name, module in fitted(fitting).items():
            yield str(count), name, test, [calibrated(module, scan) for scan in test]


def calibrated(module: Any, scan: Scan) -> torch.Tensor:
    """Its logits behind a calibrator, or as they are behind none."""
    return scan.logits if module is None else behind(module, scan.logits, spacing=scan.spacing)


def changes(people: pd.DataFrame) -> list[list[str]]:
    """What two curves change of one: a row of `CHANGES` for each network and who fit, and for all."""
    rows = []
    for key in (["network", "fit"], ["fit"]):
        for group, part in people.groupby(key, sort=False):
            means = part.groupby(["person", "calibrator"])[["nll_all", "brier_all"]].mean()
            nll, brier = (means[name].unstack() for name in means)
            texts = (
                changed((score["signed_distance"] - score["distance"]).round(9))  # ties are ties
                for score in (nll, brier)
            )
            network = ["all networks"] if len(key) == 1 else []
            rows.append([*network, *map(str, group), f"{nll['distance'].mean():.4f}", *texts])
    return rows


def by_structure(
    records: Mapping[tuple[str, int], Record], structures: Sequence[str]
) -> list[list[str]]:
    """A row of `PARTS` for each network, who fit, and structure."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for (name, _), record in records.items():
        network, who, calibrator = name.split("+")
        assert record.decisions is not None  # noqa: S101 - it was asked for
        for k, structure in enumerate(structures):
            part = decision_numbers(record.decisions[:, k], record.patients).pooled()
            misses, bias = (part[key].value for key in ("contour_misses", "expected_volume_bias"))
            if calibrator in PARTS:
                row = rows.setdefault((network, who, structure), [])
                row.append(f"{misses:.1%}, {bias:+.1%}")
    return [[*key, *cells] for key, cells in rows.items()]


def main() -> None:
    """Writes ``people.csv`` and ``people.npz`` to a folder, and prints tables in Markdown."""
    parser = parser_of_runs("studies.distance.sides", __doc__)
    parser.add_argument("--counts", nargs="+", type=int, default=[8, 25], help="people who fit")
    parser.add_argument("--output", type=Path, default=Path("sides"))
    chosen = parser.parse_args()
    chosen.output.mkdir(parents=True, exist_ok=True)
    rows, parts, records = [], [], {}
    for run in chosen.runs:
        path, _, half = str(run).partition("@")
        seen = half_resolution if half else None
        sets = [
            scans(RunFolder(Path(path)), chosen.data, chosen.cache, cases, seen)
            for cases in ("val", "test")
        ]
        network, structures = run.name, sets[0][1]
        for who, name, several, logits in judged(sets[0][0], sets[1][0], chosen.counts):
            row, proper, record = numbers(several, logits, structures)
            rows.append([network, who, name, *row[:3], row[4]])
            sys.stderr.write(f"{rows[-1]}\n")
            if who != CROSS:
                records[f"{network}+{who}+{name}", 0] = record
            means = by_person(several, proper)
            parts.append(means.assign(network=network, fit=who, calibrator=name))
    people = pd.concat(parts)
    columns = ["network", "fit", "calibrator", "person", "nll_all", "brier_all"]
    people[columns].to_csv(chosen.output / "people.csv", index=False)
    np.savez_compressed(chosen.output / "people.npz", **leading.packed(records))
    sys.stdout.write(markdown_table(list(HEAD), rows, "lll" + "r" * 4) + "\n\n")
    sys.stdout.write(markdown_table(CHANGES, changes(people), "llrll") + "\n\n")
    parts_table = by_structure(records, [*structures])
    sys.stdout.write(markdown_table(PARTS, parts_table, "lll" + "r" * 4) + "\n")


if __name__ == "__main__":
    main()
