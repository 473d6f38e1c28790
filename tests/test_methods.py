"""The table of methods shows what the committed results say."""

import csv
import re
from pathlib import Path

import pytest

from nacl_monai.bundles import read_menu
from nacl_monai.posthoc import ENSEMBLE, METHODS, SIGMOID_METHODS

DOCS = Path(__file__).parents[1] / "docs"
TEXT = (DOCS / "methods.md").read_text(encoding="utf-8")
LOSSES = {"CE": "cross_entropy", "CE+DSC": "dice_ce", "NACL": "nacl"}
COLUMNS = {"ece_foreground": 3, "ece_union": 3, "ece_boundary": 3, "ece_all": 4}


def measured():
    """Each row of the table of results: method of the CSV → its cells."""
    rows = TEXT.split("| method |")[1].split("\n\n")[0].splitlines()[2:]
    for row in rows:
        label, *cells = (cell.strip() for cell in row.strip("|").split("|"))
        loss, _, after = label.partition(" + ")
        region = re.sub(r"\W+", "_", after).strip("_")
        yield "+".join(filter(None, [LOSSES[loss], region])), cells


ROWS = dict(measured())


def test_every_measured_method_is_shown():
    """None is left out."""
    with (DOCS / "results/acdc/after_training.csv").open(encoding="utf-8", newline="") as file:
        assert set(ROWS) == {row["method"] for row in csv.DictReader(file)}


@pytest.mark.parametrize("method", ROWS)
def test_numbers_are_those_of_the_results(method):
    """Mean and interval of every region."""
    with (DOCS / "results/acdc/after_training.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["metric"]: row for row in csv.DictReader(file) if row["method"] == method}
    for (metric, digits), cell in zip(COLUMNS.items(), ROWS[method], strict=True):
        mean, low, high = (
            f"{float(rows[metric][key]):.{digits}f}" for key in ("mean", "low", "high")
        )
        assert cell == f"{mean} [{low}, {high}]"


def test_only_what_can_be_chosen_is_named():
    """Losses of the menu, and calibrators; in the order of the tables' first columns."""
    chosen = {*read_menu("losses"), *METHODS, *SIGMOID_METHODS, ENSEMBLE}
    named = [
        re.findall(r"`(\w+)`", line.split("|")[1]) for line in TEXT.splitlines() if "|" in line
    ]

    assert {name for names in named for name in names} <= chosen
    assert {*METHODS, ENSEMBLE} <= {name for names in named for name in names}
