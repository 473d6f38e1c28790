"""The page of the long trainings on hippocampus shows what its runs say."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from nacl_monai.paper.grid import MAIN_LOSSES
from nacl_monai.paper.names import method_label

FOLDER = Path(__file__).parents[1] / "docs/results/hippocampus/longer"
TEXT = (FOLDER / "README.md").read_text(encoding="utf-8")
LOSSES = {method_label(loss): loss for loss in MAIN_LOSSES}
SEEDS = range(3)
ERRORS = {"ece_foreground": 3, "ece_union": 3, "ece_boundary": 3, "ece_all": 4}
TRAINED = {"dice": 3, **ERRORS, "confidence_gap_foreground": 3}
REGIONS = {"all voxels": "temperature_all", "prediction ∪ label": "temperature_union"}


def rows(heading):
    """First cell → the other cells, of the table whose first heading that is."""
    table = TEXT.split(f"| {heading} |")[1].split("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in table]
    return {first: others for first, *others in cells}


def means(loss, seed, column, evaluated=""):
    """The mean over people, each of whom counts once."""
    file = FOLDER / f"runs/unet_{loss}_seed{seed}" / evaluated / "evaluation/cases.csv"
    return pd.read_csv(file).groupby("patient")[column].mean().mean()


def text(value, digits):
    return f"{value:.{digits}f}".replace("-", "−")


@pytest.mark.parametrize("label", LOSSES)
def test_trainings_have_the_numbers_of_their_runs(label):
    """The mean of three trainings, each of them, and its best epoch."""
    *cells, epochs = rows("as trained")[label]

    for (column, digits), cell in zip(TRAINED.items(), cells, strict=True):
        each = [means(LOSSES[label], seed, column) for seed in SEEDS]
        shown = ", ".join(text(value, digits) for value in each)
        assert cell == f"{text(sum(each) / len(each), digits)} ({shown})", column
    records = [FOLDER / f"runs/unet_{LOSSES[label]}_seed{seed}/run.json" for seed in SEEDS]
    assert epochs == ", ".join(str(json.loads(file.read_text())["best_epoch"]) for file in records)


def test_every_loss_is_shown_with_both_temperatures():
    """None is left out, and none is there that was not trained."""
    assert set(rows("as trained")) == set(LOSSES)
    expected = {f"{label} + temperature, {region}" for label in LOSSES for region in REGIONS}
    assert set(rows("mean of three trainings")) == expected


@pytest.mark.parametrize("row", rows("mean of three trainings"))
def test_temperatures_have_the_numbers_of_their_runs(row):
    """The mean of three trainings, each with its own temperature."""
    label, region = re.fullmatch(r"(.+) \+ temperature, (.+)", row).groups()

    for (column, digits), cell in zip(
        ERRORS.items(), rows("mean of three trainings")[row], strict=True
    ):
        evaluated = f"calibrated/{REGIONS[region]}"
        each = [means(LOSSES[label], seed, column, evaluated) for seed in SEEDS]
        assert cell == text(sum(each) / len(each), digits), column
