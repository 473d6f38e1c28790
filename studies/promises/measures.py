"""``python -m studies.promises.measures VOLUMES FORMULA``: how wide is a measurement's interval?

VOLUMES is a ``promise.npz``, or a ``leading.npz`` that ``studies.penalty`` wrote, of whose trainings one
is taken. In each division some people calibrate, and the others are new: how often the interval of the
measurement holds and how wide it is, beside interval arithmetic on the volumes, each with its own
interval at the same level (``volumes``) or at a level divided by their number (``shared``), so that all
hold.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from nacl_monai.cli import write_files
from nacl_monai.evaluations.tables import csv_text
from nacl_monai.files import write_text
from nacl_monai.metrics.curves import read_curves
from nacl_monai.promises.control import Control, Law
from nacl_monai.promises.measure import Formula, by_phase, phases_of

Array = npt.NDArray[np.float64]


def volumes_of(file: Path, method: str, seed: int) -> tuple[list[str], list[str], Array, Array]:
    """Cases, patients, and predicted and labeled volumes in ml, (N, S) each."""
    if file.name == "promise.npz" or file.stem.endswith("_0"):
        curves = read_curves(file)
        return curves.cases, curves.patients, curves.predicted_volumes, curves.volumes
    arrays = np.load(file)
    (row,) = np.flatnonzero((arrays["methods"] == method) & (arrays["seeds"] == seed))
    parts = (arrays[name][row] / 1000 for name in ("predicted", "labeled"))
    return arrays["cases"].tolist(), arrays["patients"].tolist(), *parts


def quantile(errors: Array, level: float) -> float:
    """The error that a new one exceeds with this probability."""
    place = len(errors) - Law.of(Control(level), len(errors)).a
    return float(np.sort(abs(errors))[place]) if place < len(errors) else np.inf


def by_arithmetic(formula: Formula, volumes: Sequence[Array], widths: Sequence[float]) -> Array:
    """The lowest and the highest value for volumes within their intervals, (2, people)."""
    pairs = zip(volumes, widths, strict=True)
    ends = [(volume * np.exp(-width), volume * np.exp(width)) for volume, width in pairs]
    terms = (dict(zip(formula.terms, corner, strict=True)) for corner in product(*ends))
    corners = [*map(formula.of_volumes, terms)]
    return np.array([np.min(corners, 0), np.max(corners, 0)])


def divided(
    formula: Formula, parts: Sequence[Sequence[Array]], calibrate: int, draws: int, level: float
) -> dict[str, float]:
    """Means over divisions of people; by leaving each out where ``draws`` is 0."""
    predicted, labeled = (
        formula.of_volumes(dict(zip(formula.terms, part, strict=True))) for part in parts
    )
    logs = [np.log(before / after) for before, after in zip(*parts, strict=True)]
    rng, number, found = np.random.default_rng(0), len(predicted), []
    rows = [np.roll(np.arange(number), -k - 1) for k in range(number)]
    for order in [rng.permutation(number) for _ in range(draws)] or rows:
        old, new = order[:calibrate], order[calibrate:]
        q = quantile((predicted - labeled)[old], level)
        ends = {"measurement": predicted[new] + np.array([[-q], [q]])}
        for name, share in (("volumes", 1), ("shared", len(logs))):
            widths = [quantile(log[old], level / share) for log in logs]
            some = [volume[new] for volume in parts[0]]
            if np.isfinite(widths).all():
                ends[name] = by_arithmetic(formula, some, widths)
        row = {}
        for name, (low, high) in ends.items():
            inside = (low <= labeled[new]) & (labeled[new] <= high)
            row |= {f"{name}_width": (high - low).mean(), f"{name}_holds": inside.mean()}
        found.append(row)
    return {"mean": float(labeled.mean()), **pd.DataFrame(found).mean().to_dict()}


def study(
    file: Path,
    formulas: Sequence[str],
    structures: Sequence[str],
    phases: str | None,
    calibrating: int | None,
    draws: int,
    levels: Sequence[float],
    method: str,
    seed: int,
    output: Path,
) -> Iterator[Path]:
    """Writes ``measures.csv``, a row for each formula and level."""
    cases, patients, predicted, labeled = volumes_of(file, method, seed)
    rows = []
    for text, level in product(formulas, levels):
        formula = Formula.of(text, structures, phases is not None)
        how = structures, patients, phases_of(cases, phases), list(dict.fromkeys(formula.terms))
        found = [by_phase(volumes, *how) for volumes in (predicted, labeled)]
        parts = [[volumes[term] for term in formula.terms] for volumes in found]
        people = len(parts[0][0])
        number = calibrating or people - 1
        numbers = divided(formula, parts, number, draws if calibrating else 0, level)
        head = {"measure": text, "level": level, "people": people, "calibrated": number}
        rows.append(head | numbers)
    yield write_text(output / "measures.csv", csv_text(pd.DataFrame(rows)))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the study; returns the exit code."""
    name = "python -m studies.promises.measures"
    parser = argparse.ArgumentParser(prog=name, description=__doc__)
    parser.add_argument("file", type=Path, metavar="VOLUMES")
    parser.add_argument("formulas", nargs="+", metavar="FORMULA")
    parser.add_argument("--structures", nargs="+", required=True)
    parser.add_argument("--phases", metavar="REGEX")
    parser.add_argument("--calibrating", type=int, metavar="N", help="default: all but one")
    parser.add_argument("--draws", type=int, default=400, help="divisions (default: 400)")
    parser.add_argument("--levels", nargs="+", type=float, default=[0.1, 0.2])
    parser.add_argument("--method", default="dice_ce+distance_all", help="of leading.npz")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("measures"), help="default: measures")
    return write_files(lambda: study(**vars(parser.parse_args(argv))))


if __name__ == "__main__":
    sys.exit(main())
