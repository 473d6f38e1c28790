"""The paper's numbers: all of them, and they add up as far as the paper's do."""

from pathlib import Path

import pandas as pd
import pytest

from nacl_monai.paper import published
from nacl_monai.paper.grid import PAPER_DATASETS, PAPER_LOSSES
from nacl_monai.paper.published import KEYS, read_published

NUMBERS = read_published()
BY_KEY = NUMBERS.set_index(KEYS)["value"]


def test_no_number_is_missing_or_there_twice():
    """Tables 1 to 4 have 23 × 14, 6 × 14, 2 × 14 and 7 × 4 numbers."""
    assert NUMBERS.groupby("table").size().tolist() == [23 * 14, 6 * 14, 2 * 14, 7 * 4]
    assert not NUMBERS.duplicated(KEYS).any()
    assert set(NUMBERS["dataset"]) == {*PAPER_DATASETS, "all"}
    assert set(NUMBERS["method"]) == {*PAPER_LOSSES, "nacl_prior=gaussian", "nacl_penalty=l2"}
    assert NUMBERS.loc[NUMBERS["metric"] != "hd95", "value"].between(0, 1).all()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (("Table 1", "acdc", "RV", "dice", "dice_ce"), 0.799),
        (("Table 1", "mrbrains", "CSF", "hd95", "nacl"), 1.21),
        (("Table 1", "kits", "Tumor", "hd95", "svls"), 15.96),
        (("Table 2", "flare", "mean", "cece_foreground", "nacl"), 0.031),
        (("Table 2", "prostate", "mean", "ece_foreground", "focal"), 0.271),
        (("Table 3", "brats", "mean", "ece_foreground", "nacl_prior=gaussian"), 0.140),
        (("Table 4", "kits", "mean", "ece_foreground", "nacl_penalty=l2"), 0.106),
    ],
)
def test_numbers_from_all_corners_are_the_paper_s(key, value):
    """Read by eye."""
    assert BY_KEY[key] == value


@pytest.mark.parametrize("metric", ["dice", "hd95"])
def test_means_of_table_1_are_those_of_its_structures(metric):
    """Up to the rounding of both."""
    table = NUMBERS[(NUMBERS["table"] == "Table 1") & (NUMBERS["metric"] == metric)]
    unit = 0.001 if metric == "dice" else 0.01
    for _, part in table.groupby(["dataset", "method"]):
        values = part.set_index("structure")["value"]
        assert values["mean"] == pytest.approx(values.drop("mean").mean(), abs=unit + 1e-9)


@pytest.mark.parametrize("table", ["Table 3", "Table 4"])
def test_means_over_datasets_are_those_of_the_six(table):
    """Up to their rounding."""
    part = NUMBERS[NUMBERS["table"] == table]
    for _, group in part.groupby(["metric", "method"]):
        values = group.set_index("dataset")["value"]
        assert values["all"] == pytest.approx(values.drop("all").mean(), abs=0.0005 + 1e-9)


def test_tables_contradict_each_other_once():
    """NACL is in all four; they differ in one number, by rounding."""
    nacl = NUMBERS[(NUMBERS["method"] == "nacl") & (NUMBERS["structure"] == "mean")]
    spread = (
        nacl[nacl["dataset"] != "all"].groupby(["dataset", "metric"])["value"].agg(["min", "max"])
    )
    different = spread[spread["min"] < spread["max"]]

    assert different.to_dict("index") == {("flare", "dice"): {"min": 0.867, "max": 0.868}}


def test_numbers_have_the_printed_decimals():
    """Two or three, in a plain CSV file."""
    text = pd.read_csv(Path(published.__file__).with_suffix(".csv"), dtype=str)["value"]

    assert text.str.fullmatch(r"\d+\.\d{2,3}").all()
