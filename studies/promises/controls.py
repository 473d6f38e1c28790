"""``python -m studies.promises.controls promise.npz …``: what each control holds over divisions."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from nacl_monai.evaluations.tables import csv_text, markdown_table
from nacl_monai.inference.records import CONTOURS, CONTROLS, KINDS, OUTER, WITHIN
from nacl_monai.metrics import Curves, read_curves
from nacl_monai.promises.control import Control
from nacl_monai.promises.rules import Rules, failed
from studies.promises.__main__ import divisions

LEVEL = 0.1
PATIENTS = (9, 12, 14, 19, 22, 30, 37, 54)


def divided(rules: Rules, control: Control, patients: int, draws: int) -> dict[str, float]:
    """Means over divisions, among the patients who did not calibrate.

    ``risk`` is what the control counts, ``fails`` the share of patients with more than its miss outside
    or wrong, or whose interval or bound fails, and ``size`` as in
    `nacl_monai.promises.record.Guarantee`.
    """
    found, risks = [], rules.risks(control)
    fails = failed(rules.worst, rules.kind, control._replace(kind="each"))
    for rule, rest in divisions(rules, control, patients, draws):
        size = rules.sizes[rest, rule].sum() / rules.whole[rest].sum()
        found.append((risks[rest, rule].mean(), fails[rest, rule].mean(), size))
    return dict(zip(("risk", "fails", "size"), np.mean(found, 0).tolist(), strict=True))


def rows_of(name: str, curves: Curves, draws: int) -> Iterator[dict[str, float | str]]:
    """Every kind with half of the patients, and outer contours with fewer."""
    half = len(set(curves.patients)) // 2
    for structure, kind in product(range(len(curves.structures)), KINDS):
        rules = Rules(curves, structure, kind, WITHIN)
        for control, patients in product(CONTROLS, [*(PATIENTS if kind == OUTER else ()), half]):
            asked = Control(LEVEL, control)
            if asked.needed <= patients <= half:
                head = {"network": name, "structure": rules.structure, "kind": kind}
                head |= {"control": control, "patients": patients}
                yield head | divided(rules, asked, patients, draws)


def span(values: "pd.Series[float]", form: str) -> str:
    """The mean, and from least to most."""
    return f"{values.mean():{form}} [{values.min():{form}}, {values.max():{form}}]"


def coverage(table: pd.DataFrame) -> str:
    """A row for each kind and control with half of the patients."""
    whole = table[table["patients"] == table["patients"].max()]
    rows = []
    for (kind, control), part in whole.groupby(["kind", "control"], sort=False):
        fails = span(part["fails"], ".1%") if kind in CONTOURS else "as the risk"
        rows.append((kind, control, span(part["risk"], ".1%"), fails, span(part["size"], ".2f")))
    head = ["kind", "control", "risk", "more than 10 % in", "size"]
    return markdown_table(head, rows, "llrrr")


def sizes(table: pd.DataFrame) -> str:
    """A row for each number of patients: the size of outer contours by each control."""
    outer = table[table["kind"] == OUTER]
    found = {key: span(part, ".2f") for key, part in outer.groupby(["patients", "control"])["size"]}
    numbers = sorted(set(outer["patients"]))
    rows = [(str(n), *(found.get((n, control), "–") for control in CONTROLS)) for n in numbers]
    return markdown_table(["patients", *CONTROLS], rows, "rrrr")


def main(argv: Sequence[str] | None = None) -> None:
    """Writes a table, and prints two in Markdown: means over networks and structures [least, most]."""
    parser = argparse.ArgumentParser(prog="python -m studies.promises.controls")
    parser.add_argument("files", nargs="+", type=Path, metavar="promise.npz")
    parser.add_argument("--draws", type=int, default=200, metavar="N")
    parser.add_argument("--output", type=Path, default=Path("controls.csv"), metavar="CSV")
    options = parser.parse_args(argv)
    rows = [
        row
        for file in options.files
        for row in rows_of(file.parent.name, read_curves(file), options.draws)
    ]
    table = pd.DataFrame(rows)
    options.output.write_text(csv_text(table), encoding="utf-8")
    sys.stdout.write(f"{coverage(table)}\n\n{sizes(table)}\n")


if __name__ == "__main__":
    main()
