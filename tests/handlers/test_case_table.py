"""cases.csv has each case's own numbers; summary.json is the statistics of its columns."""

import json

import numpy as np
import pandas as pd
import pytest

from tests.handlers.conftest import STRUCTURES, probabilities_of
from tests.handlers.test_calibration import errors


@pytest.fixture
def table(evaluated):
    return pd.read_csv(evaluated[0] / "cases.csv").set_index("case")


def test_rows(table):
    """One row for each case, in alphabetical order, with the patient it is of."""
    assert list(table.index) == ["case0", "case1", "case2"]
    assert list(table["patient"]) == ["patient0", "patient0", "patient1"]


def test_dice(table, evaluated):
    """Dice is 2|A∩B| / (|A| + |B|) of each structure; one that is absent has an empty cell."""
    for case, volume in evaluated[2].items():
        probabilities, label = probabilities_of(volume)
        prediction = probabilities.argmax(axis=0)
        pairs = [(np.isin(prediction, of), np.isin(label, of)) for of in STRUCTURES.values()]
        expected = [
            2 * (found & true).sum() / (found.sum() + true.sum()) if true.any() else np.nan
            for found, true in pairs
        ]
        columns = [f"dice_{name}" for name in STRUCTURES]
        np.testing.assert_allclose(expected, table.loc[case, columns], atol=1e-6)
        np.testing.assert_allclose(np.nanmean(expected), table.loc[case, "dice"], atol=1e-6)
    assert np.isnan(table.loc["case1", ["dice_right", "hd95_right"]].astype(float)).all()


def test_hd95(table):
    """HD95 of the present structures is a distance inside the volume."""
    values = table.loc[["case0", "case2"], ["hd95_left", "hd95_right"]]

    assert ((values >= 0) & (values <= np.sqrt(6**2 + 5**2 + 6**2))).all(axis=None)


def test_calibration(table, evaluated):
    """Every error has a column per region, named after both."""
    for case, volume in evaluated[2].items():
        for region in ("foreground", "union"):
            columns = [f"ece_{region}", f"cece_{region}"]
            np.testing.assert_allclose(errors(volume, region), table.loc[case, columns], atol=2e-6)


def test_summary(table, evaluated):
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


def test_engine_agrees(table, evaluated):
    """The table's Dice is the one by which MONAI chooses the best model."""
    engine = evaluated[1]

    assert engine.state.key_metric_name == "dice"
    np.testing.assert_allclose(table["dice"].mean(), engine.state.metrics["dice"], atol=1e-6)
