"""``python -m studies.penalty.pairs FOLDER``: each loss against each other, behind the distance.

FOLDER is one that `studies.penalty.comparison` wrote: ``cases.csv`` and ``leading.npz`` are all that
this takes. ``pairs.csv`` and ``pairs.md`` have a row per pair and number, with the test over people and
trainings (`nacl_monai.evaluations.statistics`). The pairs of a number are one family for Holm's
correction, whoever of them is ours. No end is better of what a contour misses, so the test is of its
distance from 5 %.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nacl_monai.cli import write_files
from nacl_monai.evaluations.statistics import holm, patient_scores, undecided_tests
from nacl_monai.evaluations.tables import csv_text, markdown_table
from nacl_monai.files import write_text
from nacl_monai.paper.grid import method_label
from studies.penalty import leading
from studies.penalty.comparison import DISTANCE

#: Number → its heading and digits.
NUMBERS = {
    "nll_all": ("NLL", 4),
    "brier_all": ("Brier score", 4),
    "dice": ("DSC", 3),
    "ece_near": ("ECE near the prediction", 3),
    leading.OFFSET: ("5% contour, distance of its miss from 5 %", 3),
}


def tested(cases: pd.DataFrame, arrays: leading.Arrays) -> pd.DataFrame:
    """A row for each number and pair: ``difference`` is that of ``method`` minus ``other``."""
    methods = [name for name in cases["method"].unique() if name.endswith(DISTANCE)]
    parts = []
    for number in NUMBERS:
        of_cases = number in cases
        scores = patient_scores(cases, number) if of_cases else leading.scores(arrays, number)
        like = "contour_misses" if number == leading.OFFSET else number
        rows = [_row(scores, like, *pair) for pair in combinations(methods, 2)]
        table = pd.DataFrame(rows)
        parts.append(table.assign(number=number, p_holm=holm(table["p"])))
    return pd.concat(parts, ignore_index=True)


def _row(scores: pd.DataFrame, like: str, method: str, other: str) -> dict[str, Any]:
    """The test of a pair; of a score of people the share of the other's, and in how many it is lower."""
    (row,) = undecided_tests(scores[[method, other]], method, like).to_dict("records")
    kept = {key: row[key] for key in ("patients", "trainings", "difference", "low", "high", "p")}
    row = {"method": method, "other": other, **kept}
    if like in leading.LEADING:  # the jackknife's values are no scores of people
        return row
    people = scores[[method, other]].groupby(level="patient").mean()
    lower = int((people[method] < people[other]).sum())
    return row | {"share": row["difference"] / people[other].mean(), "lower_in": lower}


def text(tests: pd.DataFrame) -> str:
    """A table for each number."""
    parts = []
    for number, table in tests.groupby("number", sort=False):
        heading, digits = NUMBERS[str(number)]
        rows = [
            [
                *(method_label(row[key].removesuffix(DISTANCE)) for key in ("method", "other")),
                f"{row['difference']:+.{digits}f} [{row['low']:+.{digits}f}, {row['high']:+.{digits}f}]",
                *_of_people(row),
                *(f"{row[key]:.2g}" for key in ("p", "p_holm")),
            ]
            for row in table.to_dict("records")
        ]
        heads = ["loss", "minus", "difference", "of it", "lower in", "p", "by Holm"]
        parts.append(f"**{heading}**\n\n{markdown_table(heads, rows, 'llrrrrr')}")
    return "\n\n".join(parts) + "\n"


def _of_people(row: Mapping[str, Any]) -> tuple[str, str]:
    if np.isnan(row["lower_in"]):
        return "", ""
    return f"{row['share']:+.1%}", f"{row['lower_in']:.0f} of {row['patients']}"


def written(folder: Path) -> Iterator[Path]:
    """Writes both files beside what they are made of."""
    with np.load(folder / "leading.npz") as arrays:
        tests = tested(pd.read_csv(folder / "cases.csv"), dict(arrays))
    for name, content in (("pairs.csv", csv_text(tests)), ("pairs.md", text(tests))):
        write_text(folder / name, content)
        yield folder / name


def main(argv: list[str] | None = None) -> int:
    """Runs the tests; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m studies.penalty.pairs")
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    options = parser.parse_args(argv)
    return write_files(lambda: written(options.folder))


if __name__ == "__main__":
    sys.exit(main())
