"""What each control of a promise holds over divisions, and the tables of it that are kept."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from nacl_monai.promises.cases import curves_of_arrays
from nacl_monai.promises.control import Control, path_of
from nacl_monai.promises.rules import Rules
from studies.promises.__main__ import person_by_person
from studies.promises.controls import coverage, divided, sizes
from tests.same import same_bits
from tests.studies.pages import RESULTS


def curves_of_balls():
    """Of fourteen people, whose probabilities know their structure but for noise."""
    rng = np.random.default_rng(0)
    place = np.stack(np.meshgrid(*[np.arange(12)] * 2, indexing="ij"), -1) - 5.5
    away = rng.uniform(2, 5, (14, 1, 1)) - np.linalg.norm(place, axis=-1)
    labels = (away + rng.normal(0, 1, (14, 1, 1)) > 0).astype(int)
    inside = norm.cdf(away).astype(np.float32)
    names = [f"p{k:02d}" for k in range(14)]
    return curves_of_arrays(np.stack([1 - inside, inside], 1), labels, patients=names)


@pytest.mark.parametrize("file", ["hippocampus/promises/controls", "acdc/promises/controls"])
def test_kept_tables_are_those_of_the_kept_numbers(file):
    """And no risk is above its level; by "each" it is the share of patients who fail."""
    path = RESULTS / f"{file}.csv"
    table, page = pd.read_csv(path), path.with_name("README.md").read_text()

    assert coverage(table) in page
    assert sizes(table) in page
    assert (table["risk"][table["patients"] == table["patients"].max()] <= 0.1).all()
    assert (table["risk"] <= 0.11).all()  # of fewer people, by the chance of 200 divisions
    each = table[table["control"] == "each"]
    same_bits(each["risk"], each["fails"], "one number in two columns")


def test_divisions_ask_those_who_did_not_calibrate():
    """By thresholds, in a loop: the least that all who calibrate allow, of whom none may fail."""
    curves = curves_of_balls()
    rules = Rules(curves, 0, "outer", "threshold")
    rng, fails, found = np.random.default_rng(0), [], len(path_of("threshold"))
    for order in [rng.permutation(14) for _ in range(4)]:
        rule = next(k for k in range(found) if (rules.losses[order[:9], k] > 0.1).any()) - 1
        fails.append(np.mean(rules.losses[order[9:], rule] > 0.1))

    row = divided(rules, Control(0.1), 9, 4)

    assert row["risk"] == row["fails"] == np.mean(fails)


def test_kept_table_of_the_finished_training_is_that_of_its_numbers():
    """Half of twenty people calibrate."""
    folder = RESULTS / "acdc/promises"
    table = pd.read_csv(folder / "finished.csv")

    assert coverage(table) in (folder / "README.md").read_text()
    assert (table["risk"] <= 0.1).all()


def test_contour_of_a_person_is_the_mean_over_the_divisions_that_others_fit():
    """By a loop over people and divisions."""
    curves, control, draws = curves_of_balls(), Control(0.1), np.random.default_rng(0)
    rules = Rules(curves, 0, "outer", "within")
    orders = [draws.permutation(14) for _ in range(20)]

    _, (contours, structures) = person_by_person(curves, control, 9, 20)

    for person in range(14):
        rest = [order for order in orders if person in order[9:]]
        sizes = [rules.sizes[person, rules.fitted(control, order[:9])] for order in rest]
        assert contours[person, 0] == pytest.approx(np.mean(sizes))
        assert structures[person, 0] == rules.whole[person]
