"""The tables that pages show have the numbers of the committed results."""

import csv
import json
import re
import tarfile
from pathlib import Path

import pandas as pd
import pytest

from nacl_monai.paper.grid import MAIN_LOSSES, method_label
from studies.penalty.comparison import CHOSEN, RIVALS

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[1] / "docs"
LONGER = DOCS / "results/hippocampus/longer"
LOSSES = {method_label(loss): loss for loss in MAIN_LOSSES}
LATER = {method_label(loss): loss for loss in (CHOSEN, *RIVALS)}
ERRORS = {"ece_foreground": 3, "ece_union": 3, "ece_boundary": 3, "ece_all": 4}
TRAINED = {"dice": 3, **ERRORS, "confidence_gap_foreground": 3}
#: A region's columns in the two tables of methods.md: the ends of the methods' names.
TEMPERATURES = ("", "+temperature_all", "+temperature_union")
CALIBRATORS = (
    *("", "+temperature_all", "+class_temperatures_all"),
    *("+vector_all", "+local_temperatures_all"),
)
#: Columns of the comparison of NACL's penalties, and digits.
SHOWN = [
    *(("dice", 3), ("ece_near", 3), ("nll_all", 4), ("contour_misses", 3), ("contour_size", 2)),
    *(("promised_size", 2), ("promised_size_without_probabilities", 2), ("promised_interval", 2)),
]
#: What README calls them.
NAMES = {
    "CE+DSC, the usual loss": "CE+DSC",
    "NACL, the paper's": "NACL",
    "NACL at mixed windows": "NACL mixed",
    "CE + local temperatures": "CE + local_temperatures (all)",
}
#: The first words of a table's row → the folder of its results.
RESULTS = {
    "ACDC": "acdc",
    "ACDC for 40 epochs": "acdc/40_epochs",
    "hippocampus": "hippocampus/longer",
}


def rows(page, heading):
    """The cells of each row of the table that has this heading, the first one's words apart."""
    table = page.read_text(encoding="utf-8").split(f"| {heading} |")[1].split("\n\n")[0]
    for row in table.splitlines()[2:]:
        first, *cells = (cell.strip() for cell in row.strip("|").split("|"))
        yield first, cells


def results(name):
    """Method and metric → mean and ends of the interval, of committed results."""
    with (DOCS / "results" / name).open(encoding="utf-8", newline="") as file:
        return {(row["method"], row["metric"]): row for row in csv.DictReader(file)}


def text(number, digits):
    return f"{float(number):.{digits}f}".replace("-", "−")


def method_of(label):
    """The name of a method that a page writes "CE + temperature (all)"."""
    loss, _, after = label.partition(" + ")
    return "+".join(filter(None, [(LOSSES | LATER)[loss], re.sub(r"\W+", "_", after).strip("_")]))


def assert_means(cells, known, loss, regions, calibrators):
    """The means of a loss as trained and behind each calibrator, region by region."""
    shown = [(region, f"{loss}{name}") for region in regions for name in calibrators]
    for (region, method), cell in zip(shown, cells, strict=True):
        assert cell == text(known[method, region]["mean"], ERRORS[region]), method


def test_methods_have_the_numbers_of_the_results():
    """The means of every loss, as trained and with either temperature."""
    table = dict(rows(DOCS / "methods.md", "trained with"))
    assert set(table) == set(LOSSES)
    regions = ("ece_foreground", "ece_union", "ece_all")
    for label, cells in table.items():
        known = results("acdc/after_training.csv")
        assert_means(cells, known, LOSSES[label], regions, TEMPERATURES)


def test_calibrators_have_the_numbers_of_the_results():
    """The means of six networks, as trained and behind every calibrator."""
    table = dict(rows(DOCS / "methods.md", "fitted behind"))
    assert len(table) == 6
    for label, cells in table.items():
        dataset, _, trained = label.partition(", ")
        known = results(f"{RESULTS[dataset]}/posthoc.csv")
        assert_means(cells, known, LOSSES[trained], ("ece_foreground", "ece_union"), CALIBRATORS)


HIPPOCAMPUS = "docs/results/hippocampus/penalty"
ACDC = "docs/results/acdc/penalty"
DISTANCE, ON_ACDC = (f"docs/results/{name}/distance" for name in ("hippocampus", "acdc"))
#: README's table has both, of which four columns each.
HALVES = {DISTANCE: slice(4), ON_ACDC: slice(4, None)}


@pytest.mark.parametrize(
    ("page", "heading", "columns", "folder"),
    [
        ("README.md", "trained with", SHOWN[:4], DISTANCE),
        ("README.md", "trained with", SHOWN[:4], ON_ACDC),
        (f"{DISTANCE}/README.md", "method", SHOWN[:6], DISTANCE),
        (f"{DISTANCE}/three_d/README.md", "method", SHOWN[:6], f"{DISTANCE}/three_d"),
        (f"{ON_ACDC}/README.md", "method", SHOWN[:5], ON_ACDC),
        (f"{HIPPOCAMPUS}/README.md", "method", SHOWN, HIPPOCAMPUS),
        (f"{HIPPOCAMPUS}/README.md", "the paper's others", SHOWN[:5], HIPPOCAMPUS),
        (f"{HIPPOCAMPUS}/README.md", "beyond the paper", SHOWN[:5], HIPPOCAMPUS),
        (f"{ACDC}/README.md", "15 patients", SHOWN[:5], ACDC),
        (f"{ACDC}/README.md", "69 patients", SHOWN[:5], f"{ACDC}/all_patients"),
    ],
)
def test_means_of_three_trainings_are_those_of_the_results(page, heading, columns, folder):
    """Each row that the page shows of the penalty's comparison."""
    files = (DOCS.parent / folder / f"{name}.csv" for name in ("numbers", "evaluated"))
    tables = (pd.read_csv(file) for file in files if file.exists())
    means = [table.drop(columns="seed").groupby("method").mean() for table in tables]
    known = pd.concat(means, axis=1)
    table = dict(rows(DOCS.parent / page, heading))
    assert len(table) >= 4
    for label, cells in table.items():
        loss, calibrated, _ = label.strip("*").partition(", calibrated")
        method = method_of(NAMES.get(loss, loss.replace("l temp", "l_temp")))
        method += "+distance_all" * bool(calibrated)
        cells = cells[HALVES[folder]] if page == "README.md" else cells
        if set(cells) == {"–"}:
            assert method not in known.index
            continue
        for (column, digits), cell in zip(columns, cells, strict=True):
            shown = cell.partition(" [")[0].strip("*")
            assert shown == text(known.loc[method, column], digits), (label, column)


@pytest.mark.parametrize("place", [DISTANCE, ON_ACDC])
def test_readme_s_intervals_and_bold_numbers_are_those_of_the_tests(place):
    """Bold is what is better than as trained, by Holm's correction; of contours, what misses less."""
    folder = DOCS.parent / place
    compared = dict(rows(folder / "comparison.md", "method"))
    tests = pd.read_csv(folder / "tests.csv").set_index(["family", "method", "metric"])
    for label, cells in dict(rows(DOCS.parent / "README.md", "trained with")).items():
        cells = cells[HALVES[place]]
        if set(cells) == {"–"}:
            continue
        name, calibrated, _ = label.partition(", calibrated")
        name = NAMES.get(name, name)
        there = compared[f"{name} + distance (all)" if calibrated else name]
        shown = [re.sub(r" \(.*?\)", "", cell) for cell in there]
        assert cells[1].replace("*", "") == shown[1]
        assert cells[3].replace("*", "") == shown[4].partition(" [")[0]
        loss = method_of(name)
        for column, cell in zip(("ece_near", "nll_all", "contour_misses"), cells[1:], strict=False):
            decision = tests["decision"].get((f"behind {loss}", loss, column))
            better = bool(calibrated) and decision in ("better", "slightly better", "lower")
            assert ("**" in cell) == better, (label, column)


@pytest.fixture(scope="module")
def trainings(tmp_path_factory):
    """The three trainings of a loss on hippocampus: their folders."""
    root = tmp_path_factory.mktemp("longer")
    with tarfile.open(LONGER / "runs.tar.xz") as archive:
        archive.extractall(root, filter="data")
    return lambda loss: [root / f"runs/unet_{loss}_seed{seed}" for seed in range(3)]


def means(folders, column):
    """The mean over people, each of whom counts once, of each evaluation."""
    tables = (pd.read_csv(folder / "evaluation/cases.csv") for folder in folders)
    return [table.groupby("patient")[column].mean().mean() for table in tables]


def test_trainings_have_the_numbers_of_their_runs(trainings):
    """The mean of three trainings, each of them, and its best epoch; no loss is left out."""
    table = dict(rows(LONGER / "README.md", "as trained"))
    assert set(table) == set(LOSSES)
    for label, (*cells, epochs) in table.items():
        folders = trainings(LOSSES[label])
        for (column, digits), cell in zip(TRAINED.items(), cells, strict=True):
            each = means(folders, column)
            shown = ", ".join(text(value, digits) for value in each)
            assert cell == f"{text(sum(each) / len(each), digits)} ({shown})", column
        records = [json.loads((folder / "run.json").read_text()) for folder in folders]
        assert epochs == ", ".join(str(record["best_epoch"]) for record in records)


def test_temperatures_have_the_numbers_of_their_runs(trainings):
    """The mean of three trainings, each with its own temperature of either region."""
    table = dict(rows(LONGER / "README.md", "mean of three trainings"))
    regions = {"all voxels": "temperature_all", "prediction ∪ label": "temperature_union"}
    assert set(table) == {f"{label} + temperature, {name}" for label in LOSSES for name in regions}
    for row, cells in table.items():
        label, region = re.fullmatch(r"(.+) \+ temperature, (.+)", row).groups()
        folders = [folder / "calibrated" / regions[region] for folder in trainings(LOSSES[label])]
        for (column, digits), cell in zip(ERRORS.items(), cells, strict=True):
            each = means(folders, column)
            assert cell == text(sum(each) / len(each), digits), column


def test_calibrators_of_the_page_are_means_of_the_trainings():
    """Of the three of each loss, over people."""
    known = pd.read_csv(DOCS.parent / DISTANCE / "numbers.csv").groupby("method").mean()
    columns = {"nll_all": 4, "brier_all": 4, "ece_near": 3, "contour_misses": 3, "contour_size": 2}
    shown = list(rows(DOCS / "calibrate.md", "trained with | fitted | NLL, all voxels"))
    assert len(shown) == 8
    for loss, (calibrator, *cells) in shown:
        after = "" if calibrator == "nothing" else "+" + calibrator.strip("`")
        trained = known.loc[method_of(loss) + after]
        assert cells == [text(trained[column], digits) for column, digits in columns.items()]
