"""What each control of a promise holds over divisions, and the tables of it that are kept."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from nacl_monai.promises.cases import curves_of_arrays
from nacl_monai.promises.control import Control, path_of
from nacl_monai.promises.fit import Rules
from studies.promises.controls import coverage, divided, sizes

RESULTS = Path(__file__).parents[2] / "docs/results"


@pytest.mark.parametrize("dataset", ["hippocampus", "acdc"])
def test_kept_tables_are_those_of_the_kept_numbers(dataset):
    """And no risk is above its level; by "each" it is the share of patients who fail."""
    folder = RESULTS / dataset / "promises"
    table, page = pd.read_csv(folder / "controls.csv"), (folder / "README.md").read_text()

    assert coverage(table) in page
    assert sizes(table) in page
    assert (table["risk"] <= 0.1).all()
    each = table[table["control"] == "each"]
    np.testing.assert_array_equal(each["risk"], each["fails"])


def test_divisions_ask_those_who_did_not_calibrate():
    """By thresholds, in a loop: the least that all who calibrate allow, of whom none may fail."""
    rng = np.random.default_rng(0)
    place = np.stack(np.meshgrid(*[np.arange(12)] * 2, indexing="ij"), -1) - 5.5
    away = rng.uniform(2, 5, (14, 1, 1)) - np.linalg.norm(place, axis=-1)
    labels = (away + rng.normal(0, 1, (14, 1, 1)) > 0).astype(int)
    inside = norm.cdf(away).astype(np.float32)
    names = [f"p{k:02d}" for k in range(14)]
    curves = curves_of_arrays(np.stack([1 - inside, inside], 1), labels, patients=names)
    rules = Rules(curves, 0, "outer", "threshold")
    rng, fails, found = np.random.default_rng(0), [], len(path_of("threshold"))
    for order in [rng.permutation(14) for _ in range(4)]:
        rule = next(k for k in range(found) if (rules.losses[order[:9], k] > 0.1).any()) - 1
        fails.append(np.mean(rules.losses[order[9:], rule] > 0.1))

    row = divided(rules, Control(0.1), 9, 4)

    assert row["risk"] == row["fails"] == np.mean(fails)
