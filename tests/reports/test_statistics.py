"""Each statistic again, by another route: a loop, another library, or by hand."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap

from nacl_monai.errors import InputError
from nacl_monai.reports.statistics import (
    bootstrap_means,
    bootstrap_weights,
    interval,
    paired_tests,
    patient_scores,
    rank_biserial,
)

RNG = np.random.default_rng(7)


def table(rows):
    return pd.DataFrame(rows, columns=["method", "seed", "case", "patient", "dice"])


class TestPatientScores:
    def test_by_a_loop(self):
        """Volumes of a patient are averaged within a run, then the runs; seeds add no patients."""
        rows = [
            (method, seed, f"{patient}_{frame}", patient, RNG.random())
            for method in ("b", "a")
            for seed in range(3)
            for patient in ("p1", "p2", "p3")
            for frame in ("ed", "es")[: 1 + (patient != "p2")]
        ]
        scores = patient_scores(table(rows), "dice")

        assert scores.columns.tolist() == ["b", "a"]
        assert scores.index.tolist() == ["p1", "p2", "p3"]
        for method, patient in product("ab", scores.index):
            runs = []
            for seed in range(3):
                values = [row[4] for row in rows if row[:2] == (method, seed) and row[3] == patient]
                runs.append(sum(values) / len(values))
            assert scores.loc[patient, method] == pytest.approx(sum(runs) / 3)

    def test_undefined(self):
        """A volume without a score does not count; a patient without any is undefined."""
        rows = [("a", 0, "1", "p", np.nan), ("a", 0, "2", "p", 0.5), ("a", 0, "3", "q", np.nan)]
        scores = patient_scores(table(rows), "dice")["a"]

        assert scores["p"] == 0.5
        assert np.isnan(scores["q"])

    def test_other_patients(self):
        """Methods that were tested on different patients cannot be compared."""
        rows = [("a", 0, "1", "p", 0.5), ("b", 0, "1", "q", 0.5)]
        with pytest.raises(InputError, match="not tested on the same patients"):
            patient_scores(table(rows), "dice")

    def test_no_such_metric(self):
        """A column that no run has is one line."""
        with pytest.raises(InputError, match="no column 'ece_union'"):
            patient_scores(table([("a", 0, "1", "p", 0.5)]), "ece_union")


class TestInterval:
    def test_scipy(self):
        """The percentile interval is SciPy's, up to the randomness of 10,000 resamplings."""
        scores = RNG.gamma(2, 0.05, 40)
        found = interval([scores])
        expected = bootstrap((scores,), np.mean, method="percentile", n_resamples=20_000, rng=3)

        assert found.mean == pytest.approx(scores.mean())
        assert found.low == pytest.approx(expected.confidence_interval.low, abs=1e-3)
        assert found.high == pytest.approx(expected.confidence_interval.high, abs=1e-3)

    def test_all_resamplings_of_three(self):
        """Of three patients all 27 resamplings can be listed; their quantiles are the interval."""
        scores = np.array([0.1, 0.4, 0.9])
        means = [np.mean(drawn) for drawn in product(scores, repeat=3)]
        found = interval([scores], level=0.8, resamples=20_000)

        assert (found.low, found.high) == pytest.approx(np.quantile(means, [0.1, 0.9]))

    def test_undefined_scores(self):
        """Patients without a score do not count, nor do they widen the interval."""
        scores = RNG.random(9)
        padded = np.append(scores, [np.nan, np.nan])

        assert interval([padded]) == interval([scores])
        assert interval([padded]).patients == 9

    def test_one_patient_has_no_interval(self):
        """A single patient gives a mean and no idea of how far it is off; none gives nothing."""
        one, none = interval([np.array([0.4])]), interval([np.array([np.nan])])

        assert one.mean == 0.4
        assert np.isnan([one.low, one.high, none.mean]).all()

    def test_several_datasets(self):
        """A small dataset weighs as much as a large one; its patients are drawn within it."""
        small, large = np.array([0.0, 1.0]), np.full(50, 0.2)
        found = interval([small, large])

        assert found.mean == pytest.approx((0.5 + 0.2) / 2)
        assert (found.low, found.high) == pytest.approx((0.1, 0.6))
        assert found.patients == 52


def test_bootstrap_means_by_a_loop():
    """A resampling's mean is that of the patients drawn, each as often as it was drawn."""
    scores = RNG.random((6, 2))
    scores[4, 1] = np.nan
    weights = bootstrap_weights(6, 50)
    means = bootstrap_means(scores, weights)

    assert (weights.sum(axis=1) == 6).all()
    for times, row in zip(weights, means, strict=True):
        drawn = np.repeat(np.arange(6), times.astype(int))
        assert row[0] == pytest.approx(scores[drawn, 0].mean())
        assert row[1] == pytest.approx(np.nanmean(scores[drawn, 1]))


class TestRankBiserial:
    @given(st.lists(st.integers(-50, 50), min_size=1, max_size=12))
    def test_by_counting(self, values):
        """Ranks by counting smaller and equal values; signs by an if."""
        values = [value / 7 for value in values]
        kept = [value for value in values if value != 0]
        favour = against = 0.0
        for value in kept:
            smaller = sum(abs(other) < abs(value) for other in kept)
            equal = sum(abs(other) == abs(value) for other in kept)
            rank = smaller + (equal + 1) / 2
            favour, against = (favour + rank, against) if value > 0 else (favour, against + rank)
        expected = (favour - against) / (favour + against) if kept else 0.0

        assert rank_biserial(np.array(values)) == pytest.approx(expected)

    @given(st.lists(st.floats(-1, 1), min_size=1, max_size=20))
    def test_sign(self, values):
        """Turned round it is its negative; it lies between −1 and 1."""
        values = np.array(values)
        assert rank_biserial(-values) == pytest.approx(-rank_biserial(values))
        assert -1 <= rank_biserial(values) <= 1


def exact_wilcoxon(differences):
    """Two-sided p by listing the signs that 2ⁿ fair coins could have given."""
    order = np.argsort(np.argsort(np.abs(differences))) + 1
    seen = abs((np.sign(differences) * order).sum())
    sums = [abs(np.dot(signs, order)) for signs in product((-1, 1), repeat=len(order))]
    return np.mean(np.array(sums) >= seen)


class TestPairedTests:
    scores = pd.DataFrame(
        {
            name: RNG.normal(mean, 0.02, 9)
            for name, mean in zip("abcd", (0.8, 0.81, 0.9, 0.79), strict=True)
        }
    )

    def test_p_by_listing_all_signs(self):
        """Wilcoxon's p is the share of sign patterns at least as uneven as the one seen."""
        found = paired_tests(self.scores, "a", "dice")
        for other in "bcd":
            differences = (self.scores["a"] - self.scores[other]).to_numpy()
            assert found.loc[other, "p"] == pytest.approx(exact_wilcoxon(differences))
            assert found.loc[other, "difference"] == pytest.approx(differences.mean())

    def test_holm_by_its_definition(self):
        """The k-th smallest of m p-values times m − k + 1, never less than the one before, at most 1."""
        found = paired_tests(self.scores, "a", "dice").sort_values("p")
        highest = 0.0
        for k, (p, holm) in enumerate(zip(found["p"], found["p_holm"], strict=True)):
            highest = max(highest, min(1.0, p * (len(found) - k)))
            assert holm == pytest.approx(highest)

    def test_better_is_positive(self):
        """The effect is positive where the reference is better, whichever way better is."""
        scores = pd.DataFrame({"nacl": [0.1, 0.2, 0.1], "other": [0.3, 0.4, 0.5]})

        assert paired_tests(scores, "nacl", "ece_union").loc["other", "effect"] == 1
        assert paired_tests(scores, "nacl", "dice").loc["other", "effect"] == -1

    def test_equal_methods(self):
        """Two methods with the same scores differ by nothing, for certain."""
        found = paired_tests(pd.DataFrame({"a": [0.5] * 4, "b": [0.5] * 4}), "a", "dice").loc["b"]

        assert (found["p"], found["p_holm"], found["effect"], found["difference"]) == (1, 1, 0, 0)

    def test_undefined_pairs(self):
        """A patient without both scores is no pair."""
        scores = self.scores.copy()
        scores.loc[0, "b"] = np.nan
        found = paired_tests(scores, "a", "dice")

        assert found["patients"].tolist() == [8, 9, 9]
        assert found.loc["b", "p"] == paired_tests(self.scores[1:], "a", "dice").loc["b", "p"]
