"""The rank correlation of expected and true Dice."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

from nacl_monai.reports import rank_correlations


def test_correlation_is_pearson_s_of_the_ranks():
    """With ties, of each structure and of the means."""
    rng = np.random.default_rng(0)
    names = ["dice_a", "dice_b", "expected_dice_a", "expected_dice_b"]
    metrics = pd.DataFrame(rng.integers(0, 6, (20, 4)) / 5, columns=names)
    found = rank_correlations(metrics.assign(dice=0.5, expected_dice=0.5, ece_all=0.1))

    for name in ("a", "b"):
        ranks = [rankdata(metrics[f"{kind}_{name}"]) for kind in ("dice", "expected_dice")]
        assert found[name] == pytest.approx(np.corrcoef(*ranks)[0, 1])
    means = metrics[names[2:]].mean(axis=1), metrics[names[:2]].mean(axis=1)
    assert found["mean"] == pytest.approx(np.corrcoef(*map(rankdata, means))[0, 1])
    assert list(found) == ["a", "b", "mean"]


def test_structure_that_a_label_lacks_is_promised_in_vain():
    """What is expected of it counts neither for the structure nor in the mean of the case."""
    metrics = pd.DataFrame(
        {
            "dice_a": [0.2, 0.4, 0.6],
            "dice_b": [np.nan, 0.5, 0.7],
            "expected_dice_a": [0.3, 0.5, 0.9],
            "expected_dice_b": [1.0, 0.5, 0.9],
        }
    )
    found = rank_correlations(metrics)

    assert math.isnan(found["b"])  # of two cases
    assert (found["a"], found["mean"]) == (1, 1)


@pytest.mark.parametrize("dice", [[0.5] * 4, [np.nan] * 4, [0.1, 0.2, np.nan, np.nan]])
def test_nothing_to_rank_has_no_correlation(dice):
    """All alike, none defined, or fewer than three cases; without a warning."""
    metrics = pd.DataFrame({"dice_a": dice, "expected_dice_a": [0.1, 0.2, 0.3, 0.4]})

    assert all(map(math.isnan, rank_correlations(metrics).values()))


def test_evaluation_of_an_earlier_version_has_none():
    """It expects no Dice."""
    assert rank_correlations(pd.DataFrame({"dice_a": [0.5], "dice": [0.5]})) == {}
