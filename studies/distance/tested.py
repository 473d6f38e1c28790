"""``python -m studies.distance.tested DATA RUN …``: calibrators on people that no fit has seen.

Each is fitted on all validation people of a run, and judged on its test people. Written are a table, the
differences between calibrators in pairs of people, the proper scores of each person, and the bins that
errors near the prediction and contours follow from (`studies.penalty.leading`). With
``--ensemble`` the runs are one model, the mean of their probabilities.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import wilcoxon
from torch import nn

from nacl_monai.errors import InputError
from nacl_monai.evaluations.statistics import cells_of, difference
from nacl_monai.evaluations.tables import markdown_table
from nacl_monai.posthoc import METHODS
from nacl_monai.posthoc.ensemble import Ensemble
from nacl_monai.runs import RunFolder
from studies.fits.__main__ import HEAD, Scan, by_person, fitted, numbers, scans
from studies.penalty import leading
from studies.runs import behind, parser_of_runs

CALIBRATORS = ("temperature_near", "temperature_all", "local_temperatures_all", "distance_all")


def scans_of(model: Sequence[Path], data: Path, cache: Path, cases: str) -> tuple[list[Scan], Any]:
    """The cases of a set behind a model, the mean of its runs' probabilities, and the structures."""
    runs = [scans(RunFolder(path), data, cache, cases) for path in model]
    if len({tuple(scan.patient for scan in found) for found, _ in runs}) > 1:
        raise InputError(
            f"{model[0]}: has other {cases} people than the rest; give runs of one split"
        )
    several = [
        same[0]._replace(logits=mean_logits([scan.logits for scan in same]))
        for same in zip(*(found for found, _ in runs), strict=True)
    ]
    return several, runs[0][1]


def mean_logits(logits: Sequence[torch.Tensor]) -> torch.Tensor:
    """Logits of the mean of probabilities; those of a single network stay as they are."""
    if len(logits) == 1:
        return logits[0]
    return Ensemble([nn.Identity()]).mean_of([single[None] for single in logits])[0]


def calibrated(name: str, fitting: list[Scan], tested: list[Scan]) -> list[torch.Tensor]:
    """The logits of tested scans behind a calibrator that the others fit."""
    if name == "nothing":
        return [scan.logits for scan in tested]
    method, _, region = name.rpartition("_")
    fit, sees_image = fitted(fitting, method, region), METHODS[method].sees_image
    sys.stderr.write(f"{name}: {fit.text()}\n")
    images = [scan.image if sees_image else None for scan in tested]
    pairs = zip(tested, images, strict=True)
    return [behind(fit.module, scan.logits, image, scan.spacing) for scan, image in pairs]


#: Columns of `differences`.
DIFFERENCES = (
    *("behind", "other", "its NLL", "NLL of distance", "NLL, difference"),
    "Brier, difference",
)


def differences(people: pd.DataFrame) -> list[list[str]]:
    """What distance_all changes of each other calibrator of a run: a row of `DIFFERENCES`."""
    rows = []
    for run, part in people.groupby("run", sort=False):
        wide = part.pivot_table(
            index="person", columns="calibrator", values=["nll_all", "brier_all"]
        )
        nll, brier = wide["nll_all"], wide["brier_all"]
        for other in nll.columns.drop("distance_all"):
            means = (f"{nll[name].mean():.4f}" for name in (other, "distance_all"))
            changes = (changed(score["distance_all"] - score[other]) for score in (nll, brier))
            rows.append([str(run), f"`{other}`", *means, *changes])
    return rows


def changed(change: pd.Series) -> str:
    """The mean over people with its interval, in how many it is below 0, and Wilcoxon's p."""
    values = change.to_numpy()
    drawn = np.random.default_rng(0).integers(0, len(values), (5000, len(values)))
    low, high = np.quantile(values[drawn].mean(1), [0.025, 0.975])
    return (
        f"{values.mean():+.4f} [{low:+.4f}, {high:+.4f}], lower in {(values < 0).sum()} of "
        f"{len(values)}, p = {wilcoxon(values).pvalue:.2g}"
    )


#: Columns of `led`.
LED = (
    *("behind", "fitted", "ECE near", "change with distance", "5% contour misses"),
    "change with distance",
)


def led(arrays: leading.Arrays) -> list[list[str]]:
    """What leads for each model and calibrator, and its difference to distance_all: a row of `LED`.

    Intervals are 95 % over people, of the jackknife.
    """
    shown = leading.numbers(arrays).set_index("method")
    tables = {name: leading.scores(arrays, name) for name in leading.LEADING}
    rows = []
    for method in shown.index:
        model, _, calibrator = str(method).rpartition("+")
        row = [model, f"`{calibrator}`"]
        for name, table in tables.items():
            distance, rest = (cells_of(table[key]) for key in (f"{model}+distance_all", method))
            change = difference(distance, rest, same_trainings=True).text(decimals=3)
            row += [f"{shown[name][method]:.3f}", "" if calibrator == "distance_all" else change]
        rows.append(row)
    return rows


def main() -> None:
    """Writes ``people.csv`` and ``people.npz``, and prints tables in Markdown."""
    parser = parser_of_runs("studies.distance.tested", __doc__)
    parser.add_argument("--calibrators", nargs="+", default=["nothing", *CALIBRATORS])
    parser.add_argument("--ensemble", metavar="NAME", help="the runs are one model of this name")
    parser.add_argument("--output", type=Path, default=Path("people.csv"))
    chosen = parser.parse_args()
    models = {chosen.ensemble: chosen.runs}
    if not chosen.ensemble:
        models = {path.name: [path] for path in chosen.runs}
    rows, parts, records = [], [], {}
    for model, paths in models.items():
        fits = set(chosen.calibrators) != {"nothing"}
        fitting = scans_of(paths, chosen.data, chosen.cache, "val")[0] if fits else []
        tested, structures = scans_of(paths, chosen.data, chosen.cache, "test")
        for name in chosen.calibrators:
            outputs = calibrated(name, fitting, tested)
            row, proper, record = numbers(tested, outputs, structures)
            records[f"{model}+{name}", 0] = record
            rows.append([model, f"`{name}`", *row])
            sys.stderr.write(f"{rows[-1]}\n")
            parts.append(by_person(tested, proper).assign(run=model, calibrator=name))
            columns = ["run", "calibrator", "person", "nll_all", "brier_all"]
            pd.concat(parts)[columns].to_csv(chosen.output, index=False)
    arrays = leading.packed(records)
    np.savez_compressed(chosen.output.with_suffix(".npz"), **arrays)
    sys.stdout.write(markdown_table(list(HEAD), rows, "ll" + "r" * (len(HEAD) - 2)) + "\n\n")
    if "distance_all" in chosen.calibrators and len(chosen.calibrators) > 1:
        found = differences(pd.concat(parts))
        sys.stdout.write(markdown_table(DIFFERENCES, found, "llrrll") + "\n\n")
        sys.stdout.write(markdown_table(LED, led(arrays), "llrlrl") + "\n")


if __name__ == "__main__":
    main()
