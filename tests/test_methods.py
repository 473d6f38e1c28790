"""The table of methods shows what the committed results say."""

import csv
import re
from pathlib import Path

import pytest

from nacl_monai.menus import read_menu
from nacl_monai.paper.grid import MAIN_LOSSES
from nacl_monai.paper.names import method_label
from nacl_monai.posthoc import ENSEMBLE, METHODS, SIGMOID_METHODS

DOCS = Path(__file__).parents[1] / "docs"
TEXT = (DOCS / "methods.md").read_text(encoding="utf-8")
LOSSES = {method_label(loss): loss for loss in MAIN_LOSSES}
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


#: The row of a table → the method whose calibrator it is of, in each dataset's results.
CALIBRATORS = {
    "one temperature": "+temperature_all",
    "temperatures of the classes": "+class_temperatures_all",
    "vector scaling": "+vector_all",
    "local temperatures": "+local_temperatures_all",
}

#: The first words of a table's row → the folder of its results.
RESULTS = {
    "ACDC": "acdc",
    "ACDC for 40 epochs": "acdc/40_epochs",
    "hippocampus": "hippocampus/longer",
}


def results(name):
    """Method and metric → mean and ends of the interval, of committed results."""
    with (DOCS / "results" / name).open(encoding="utf-8", newline="") as file:
        return {(row["method"], row["metric"]): row for row in csv.DictReader(file)}


def test_calibrators_have_the_numbers_of_the_results():
    """For both datasets, every cell with its interval."""
    rows = TEXT.split("| mean ECE |")[1].split("\n\n")[0].splitlines()[2:]
    assert len(rows) == 5 * 6
    for row in rows:
        label, *cells = (cell.strip() for cell in row.strip("|").split("|"))
        if label not in CALIBRATORS:
            dataset, _, trained = label.partition(", ")
            folder = RESULTS[dataset]
            known, loss = results(f"{folder}/posthoc.csv"), LOSSES[trained]
        for (metric, digits), cell in zip(COLUMNS.items(), cells, strict=True):
            found = known[f"{loss}{CALIBRATORS.get(label, '')}", metric]
            mean, low, high = (f"{float(found[key]):.{digits}f}" for key in ("mean", "low", "high"))
            assert cell == f"{mean} [{low}, {high}]", label


#: Where the differences were tested that the page tells in words.
TESTS = (
    *("acdc/after_training", "acdc/posthoc", "acdc/40_epochs/posthoc"),
    *("acdc/table2", "acdc/figure10"),
    *("hippocampus/longer/table2", "hippocampus/longer/figure10"),
)


def test_differences_in_words_are_tested_ones():
    """Each with its interval, whichever of both methods is named first."""
    known = set()
    for name in TESTS:
        for row in results(f"{name}_tests.csv").values():
            mean, low, high = (float(row[key]) for key in ("difference", "low", "high"))
            for ends in ((low, high), (-high, -low)):
                known.add((f"{abs(mean):.3f}", *(f"{end:.3f}" for end in ends)))
    words = " ".join(TEXT.split("**What to take**")[1].replace("−", "-").split())
    words = re.sub(r"\]\([^)]*\)", "]", words)
    told = re.findall(r"(0\.\d{3})(?: less, |[^().]*\()(-?0\.\d{3}) to (0\.\d{3})", words)

    assert len(told) == len(re.findall(r" to 0\.\d{3}[,)]", words))
    assert set(told) <= known


def test_readme_has_the_means_of_the_results():
    """Every method of its table of ACDC."""
    text = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    known = results("acdc/after_training.csv") | results("acdc/posthoc.csv")
    rows = text.split("| mean ECE |")[1].split("\n\n")[0].splitlines()[2:]
    assert {row.split("|")[1].strip() for row in rows} > set(LOSSES)
    for row in rows:
        label, *cells = (cell.strip() for cell in row.strip("|").split("|"))
        loss, _, after = label.partition(" + ")
        name = re.sub(r"\W+", "_", after.replace("local temperatures", "local_temperatures"))
        method = "+".join(filter(None, [LOSSES[loss], name.strip("_")]))
        for metric, digits, cell in zip(
            ("ece_foreground", "ece_union", "ece_all"), (3, 3, 4), cells, strict=True
        ):
            assert cell == f"{float(known[method, metric]['mean']):.{digits}f}", label


def test_only_what_can_be_chosen_is_named():
    """Losses of the menu, and calibrators; in the order of the tables' first columns."""
    chosen = {*read_menu("losses"), *METHODS, *SIGMOID_METHODS, ENSEMBLE}
    named = [
        re.findall(r"`(\w+)`", line.split("|")[1]) for line in TEXT.splitlines() if "|" in line
    ]

    assert {name for names in named for name in names} <= chosen
    assert {*METHODS, ENSEMBLE} <= {name for names in named for name in names}
