"""P(real): the truth where islands are drawn from it, and a file that is checked."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from nacl_monai.errors import InputError
from nacl_monai.inference.records import own_checksum
from nacl_monai.metrics.curves import curves_definition
from nacl_monai.metrics.islands import Islands
from nacl_monai.posthoc.islands import RealIslands, features, fit_real, read_real

TRUE = np.array([-3.0, 0.7, 0.6])


def drawn(number, floor, seed=0):
    """Scores, volumes, the true P(real) and what is drawn from it."""
    rng = np.random.default_rng(seed)
    score, mm3 = expit(rng.normal(1.5, 1.5, number)), np.exp(rng.normal(2, 1.5, number))
    true = floor + (1 - floor) * expit(TRUE[0] + TRUE[1] * logit(score) + TRUE[2] * np.log(mm3))
    return score, mm3, true, rng.uniform(size=number) < true


@pytest.mark.parametrize("floor", [0.0, 0.1, 0.3])
def test_fit_finds_the_truth(floor):
    score, mm3, true, real = drawn(20_000, floor)

    *beta, found = fit_real(score, mm3, real)

    assert beta == pytest.approx(TRUE, abs=0.25)  # chance, of 20,000 islands
    assert found == pytest.approx(floor, abs=0.03)  # chance, of 20,000 islands
    p = found + (1 - found) * expit(features(score, mm3) @ beta)
    assert abs(p - true).mean() < 0.01


def test_fit_without_a_floor_is_logistic_regression():
    score, mm3, _, real = drawn(4000, 0.0)
    theirs = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000)
    theirs.fit(features(score, mm3)[:, 1:], real)

    *beta, floor = fit_real(score, mm3, real)

    assert floor < 0.02
    assert beta == pytest.approx(
        [*theirs.intercept_, *theirs.coef_[0]], abs=0.25
    )  # ours has priors


def test_numbers_are_the_most_probable_ones():
    """Behind the priors, which count where islands are few; by another search, island by island."""
    score, mm3, _, real = drawn(40, 0.1)
    columns = np.stack([logit(score), np.log(mm3)], 1)
    mean, spread = columns.mean(0), columns.std(0)

    def doubt(numbers):
        total = (sum(numbers[:3] ** 2) + (numbers[3] + 4) ** 2) / 2 / 10
        for island, is_real in zip((columns - mean) / spread, real, strict=True):
            sure = expit(numbers[0] + numbers[1:3] @ island)
            p = sure + (1 - sure) * expit(numbers[3]) / 2
            total -= np.log(p if is_real else 1 - p)
        return total

    best = minimize(doubt, np.zeros(4), method="Powell", options={"xtol": 1e-8, "ftol": 1e-12}).x

    slopes = best[1:3] / spread
    expected = [best[0] - slopes @ mean, *slopes, expit(best[3]) / 2]
    assert fit_real(score, mm3, real) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("real", [[True] * 6, [False] * 6, [False, False, False, True, True, True]])
def test_islands_that_a_line_divides_have_finite_numbers(real):
    score, mm3 = [0.51, 0.55, 0.6, 0.9, 0.99, 1.0], [1, 2, 3, 100, 200, 300]

    numbers = fit_real(score, mm3, real)

    assert np.isfinite(numbers).all()
    assert abs(numbers).max() < 50


def test_no_island_says_nothing():
    *beta, floor = fit_real([], [], [])

    assert [*beta, floor] == [0, 0, 0, 0]


def test_what_was_fitted_is_read_as_it_was_written(tmp_path):
    fit = fitted()

    assert read_real(fit.write(tmp_path / "islands.json")) == fit
    assert read_real(tmp_path) == fit
    with pytest.raises(InputError, match="no such file; give the islands.json of calibrate"):
        read_real(tmp_path / "elsewhere")
    assert fit.probability("a", 0.9, 10.0) == pytest.approx(0.1 + 0.9 * expit(logit(0.9)))


def fitted():
    names = {"a": [1]}
    channels = {"outside": [0], **names}
    definition = curves_definition(channels, names, "softmax", "tool", known_by="table")
    definition["minimum_mm3"] = 0.0
    numbers = {"a": [0.0, 1.0, 0.0, 0.1]}
    return RealIslands(numbers, {"a": [5, 3]}, definition, ["p"], ["x"], "table")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("numbers", {"a": [1, 2]}),
        ("numbers", {"b": [0, 0, 0, 0]}),
        ("numbers", {"a": [0, 1, 0, 2]}),
        ("numbers", {"a": [0, 1, 0, -0.1]}),
        ("islands", {"b": [5, 3]}),
        ("cases", ["../x"]),
        ("definition", 5),
    ],
)
def test_edited_file_is_refused(key, value, tmp_path):
    file = fitted().write(tmp_path / "islands.json")
    record = {**json.loads(file.read_text()), key: value}
    for checksum in (record["checksum"], own_checksum(record)):
        file.write_text(json.dumps({**record, "checksum": checksum}))
        with pytest.raises(InputError, match="is not as it was written"):
            read_real(file)


def test_fit_of_all_islands_is_that_of_their_scores():
    score, mm3, _, real = drawn(300, 0.05)
    definition = fitted().definition
    rows = pd.DataFrame({"mm3": mm3, "score": score, "hit": real})
    rows = rows.assign(case=0, structure=0, labeled=False)
    found = RealIslands.fitted(Islands(rows, ["x"], ["a"], ["p"], definition))

    assert (found.definition, found.patients, found.cases) == (definition, ["p"], ["x"])
    assert (found.known_by, found.patient_pattern) == ("table", None)
    assert found.numbers["a"] == pytest.approx(fit_real(score, mm3, real).tolist())
    assert found.islands["a"] == [300, real.sum()]
