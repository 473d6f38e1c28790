"""cases.csv has each case's own numbers; summary.json is the statistics of its columns."""

import json

import numpy as np
import pandas as pd
import pytest

from tests.training.conftest import STRUCTURES, probabilities_of
from tests.training.test_calibration_error import errors


@pytest.fixture
def table(evaluated):
    return pd.read_csv(evaluated[0] / "cases.csv").set_index("case")


def test_rows_are_cases_in_alphabetical_order(table):
    """One row for each case, in alphabetical order, with its patient."""
    assert list(table.index) == ["case0", "case1", "case2"]
    assert list(table["patient"]) == ["patient0", "patient0", "patient1"]


def test_dice_of_each_structure_and_their_mean(table, evaluated):
    """Dice is 2|A∩B| / (|A| + |B|) of each structure; one that is absent has an empty field."""
    for case, volume in evaluated[2].items():
        probabilities, label = probabilities_of(volume)
        prediction = probabilities.argmax(axis=0)
        pairs = [
            (np.isin(prediction, classes), np.isin(label, classes))
            for classes in STRUCTURES.values()
        ]
        expected = [
            2 * (one & other).sum() / (one.sum() + other.sum()) if other.any() else np.nan
            for one, other in pairs
        ]
        columns = [f"dice_{name}" for name in STRUCTURES]
        np.testing.assert_allclose(expected, table.loc[case, columns].astype(float), atol=1e-6)
        np.testing.assert_allclose(np.nanmean(expected), table.loc[case, "dice"], atol=1e-6)
    assert np.isnan(table.loc["case1", ["dice_right", "hd95_right"]].astype(float)).all()


def test_hd95_is_a_distance_inside_the_volume(table):
    """HD95 of the present structures is a distance inside the volume."""
    values = table.loc[["case0", "case2"], ["hd95_left", "hd95_right"]]

    assert ((values >= 0) & (values <= np.sqrt(6**2 + 5**2 + 6**2))).all(axis=None)


def test_errors_have_a_column_per_region(table, evaluated):
    """Every error has a column per region, named after both."""
    for case, volume in evaluated[2].items():
        for region in ("foreground", "union"):
            columns = [f"ece_{region}", f"cece_{region}"]
            measured = table.loc[case, columns].astype(float)
            np.testing.assert_allclose(errors(volume, region), measured, atol=2e-6)


def test_summary_leaves_undefined_values_out(table, evaluated):
    """Mean, standard deviation and count leave undefined values out."""
    summary = json.loads((evaluated[0] / "summary.json").read_text())

    assert summary["cases"] == 3
    assert summary["num_bins"] == 15
    assert set(summary["metrics"]) == set(table.columns) - {"patient"}
    for name, statistics in summary["metrics"].items():
        defined = table[name].dropna()
        assert statistics["count"] == len(defined)
        np.testing.assert_allclose(statistics["mean"], defined.sum() / len(defined), atol=2e-6)
        np.testing.assert_allclose(statistics["std"], defined.std(ddof=1), atol=2e-6)


def test_mean_of_the_table_is_the_metric_of_the_engine(table, evaluated):
    """The table's Dice is the one by which MONAI chooses the best model."""
    engine = evaluated[1]

    assert engine.state.key_metric_name == "dice"
    np.testing.assert_allclose(table["dice"].mean(), engine.state.metrics["dice"], atol=1e-6)


def test_summary_names_the_dataset(evaluated):
    """And holds nothing that reports do not compare with the cases, but for the number of bins."""
    summary = json.loads((evaluated[0] / "summary.json").read_text())

    assert summary["dataset"] == "synthetic"
    assert set(summary) == {"dataset", "cases", "num_bins", "metrics"}


def test_numbers_have_six_digits(evaluated):
    """Six digits after the point in the table and at most six in the summary."""
    lines = (evaluated[0] / "cases.csv").read_text().splitlines()
    summary = json.loads((evaluated[0] / "summary.json").read_text())

    assert lines[0].startswith("case,patient,dice_left,dice_right,dice_both,dice,hd95_left")
    assert all(len(field.partition(".")[2]) in (0, 6) for field in lines[1].split(",")[2:])
    assert all(round(one["mean"], 6) == one["mean"] for one in summary["metrics"].values())
