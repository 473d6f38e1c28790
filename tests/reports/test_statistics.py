"""Each statistic again, by another route: a loop, another library, or by hand."""

import math
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap, wilcoxon

from nacl_monai.errors import InputError
from nacl_monai.reports.statistics import (
    COVERAGE,
    RESAMPLES,
    bootstrap_means,
    bootstrap_ratios,
    bootstrap_weights,
    interval,
    paired_tests,
    patient_scores,
    percentile_interval,
    pooled_band,
    rank_biserial,
)

#: What is undefined is NaN, and no warning tells so.
pytestmark = pytest.mark.filterwarnings("error")

RNG = np.random.default_rng(7)


def table(rows):
    return pd.DataFrame(rows, columns=["method", "seed", "case", "patient", "dice"])


class TestPatientScores:
    def test_cases_are_averaged_within_a_run_then_the_runs(self):
        """Also where a seed lacks a case, so that a mean over all rows would be another number."""
        rows = [
            (method, seed, f"{patient}_{frame}", patient, RNG.random())
            for method in ("b", "a")
            for seed in range(3)
            for patient in ("p1", "p2", "p3")
            for frame in ("ed", "es")[: 1 + (patient != "p2" and seed != 1)]
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

    def test_every_run_weighs_the_same(self):
        """Seed 0 has two cases of the patient, seed 1 has one: ½ (½ (0.2 + 0.4) + 0.9) = 0.6."""
        rows = [("a", 0, "1", "p", 0.2), ("a", 0, "2", "p", 0.4), ("a", 1, "1", "p", 0.9)]

        assert patient_scores(table(rows), "dice").loc["p", "a"] == pytest.approx(0.6)

    def test_undefined_case_does_not_count(self):
        """A case without a score does not count; a patient without any is undefined."""
        rows = [("a", 0, "1", "p", np.nan), ("a", 0, "2", "p", 0.5), ("a", 0, "3", "q", np.nan)]
        scores = patient_scores(table(rows), "dice")["a"]

        assert scores["p"] == 0.5
        assert np.isnan(scores["q"])

    def test_run_without_a_score_does_not_count(self):
        """A seed in which the patient has no score leaves the mean to the others."""
        rows = [("a", 0, "1", "p", np.nan), ("a", 1, "1", "p", 0.3), ("a", 2, "1", "p", 0.5)]

        assert patient_scores(table(rows), "dice").loc["p", "a"] == pytest.approx(0.4)

    def test_patients_are_sorted_and_methods_keep_their_order(self):
        """Whatever the order of the rows."""
        rows = [(m, 0, p, p, 0.5) for m in ("z", "b", "y") for p in ("q", "r", "p")]
        scores = patient_scores(table(rows), "dice")

        assert scores.columns.tolist() == ["z", "b", "y"]
        assert scores.index.tolist() == ["p", "q", "r"]

    def test_methods_may_be_told_apart_by_another_column(self):
        """By networks, say."""
        cases = table([("a", 0, "1", "p", 0.5), ("a", 0, "1", "p", 0.7)]).assign(network=["u", "v"])

        scores = patient_scores(cases, "dice", by="network")

        assert scores.loc["p"].to_dict() == {"u": 0.5, "v": 0.7}

    def test_other_patients_are_refused(self):
        """Methods that were tested on different patients cannot be compared."""
        rows = [("a", 0, "1", "p", 0.5), ("b", 0, "1", "q", 0.5)]
        with pytest.raises(
            InputError, match=r"^b and a were not tested on the same patients; evaluate both on"
        ):
            patient_scores(table(rows), "dice")

    def test_patient_with_no_score_counts_as_tested(self):
        """A method that missed a patient is compared on the others."""
        rows = [(m, 0, p, p, 0.5) for m in "ab" for p in "pq"]
        rows[3] = ("b", 0, "q", "q", np.nan)

        assert patient_scores(table(rows), "dice")["b"].isna().tolist() == [False, True]

    def test_metric_that_no_run_has_is_refused(self):
        """A missing column and an empty one are the same."""
        cases = table([("a", 0, "1", "p", 0.5)])
        for frame in (cases, cases.assign(ece_union=np.nan)):
            with pytest.raises(InputError, match="^cases.csv: no column 'ece_union'; evaluate the"):
                patient_scores(frame, "ece_union")


class TestBootstrap:
    def test_every_resampling_draws_as_many_patients_as_there_are(self):
        """10,000 times unless asked otherwise."""
        weights = bootstrap_weights(3)

        assert weights.shape == (10_000, 3) == (RESAMPLES, 3)
        assert (weights.sum(axis=1) == 3).all()
        assert (weights == weights.round()).all()
        assert (weights >= 0).all()

    def test_patients_are_equally_likely(self):
        """Each is drawn once on average, and the number of draws is binomial (n, 1/n)."""
        weights = bootstrap_weights(4, 100_000)

        np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.02)
        expected = [math.comb(4, k) * 0.25**k * 0.75 ** (4 - k) for k in range(5)]
        for patient in weights.T:
            shares = np.bincount(patient.astype(int), minlength=5) / len(patient)
            np.testing.assert_allclose(shares, expected, atol=0.01)

    def test_seed_decides_the_draws(self):
        """The same seed, the same patients; 0 by default."""
        np.testing.assert_array_equal(bootstrap_weights(5, 20), bootstrap_weights(5, 20, seed=0))
        assert not np.array_equal(bootstrap_weights(5, 20), bootstrap_weights(5, 20, seed=1))

    def test_means_are_those_of_a_loop(self):
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

    def test_resampling_without_a_defined_score_has_no_mean(self):
        """Without a warning."""
        means = bootstrap_means(np.array([[np.nan], [0.5]]), np.array([[2.0, 0.0], [1.0, 1.0]]))

        assert np.isnan(means[0, 0])
        assert means[1, 0] == 0.5

    def test_ratios_are_those_of_sums(self):
        """Not means of ratios."""
        ratios = bootstrap_ratios([[1], [0]], [[2], [4]], np.array([[1.0, 1.0], [2.0, 0.0]]))

        assert ratios.tolist() == [[1 / 6], [2 / 4]]


class TestPercentileInterval:
    @pytest.mark.parametrize(
        ("coverage", "ends"), [(0.5, (25, 75)), (0.9, (5, 95)), (1.0, (0, 100))]
    )
    def test_ends_leave_equal_tails(self, coverage, ends):
        """Of the numbers 0 to 100, the percentiles are the numbers themselves."""
        assert percentile_interval(np.arange(101.0), coverage) == pytest.approx(ends)

    def test_coverage_is_95_percent_by_default(self):
        """Between the 2.5th and the 97.5th percentile."""
        assert COVERAGE == 0.95
        assert percentile_interval(np.arange(1001.0)) == pytest.approx((25, 975))

    def test_columns_are_apart_and_undefined_samples_do_not_count(self):
        """Each column has its ends."""
        samples = np.stack([np.arange(101.0), -np.arange(101.0)], axis=1)
        samples = np.vstack([samples, [np.nan, 0.0]])

        ends = percentile_interval(samples[:, :1], 0.9)

        assert ends.shape == (2, 1)
        assert ends[:, 0] == pytest.approx((5, 95))
        assert percentile_interval(samples[:-1], 0.9)[:, 1] == pytest.approx((-95, -5))


class TestInterval:
    def test_interval_is_scipys(self):
        """Up to the randomness of 10,000 resamplings."""
        scores = RNG.gamma(2, 0.05, 40)
        actual = interval([scores])
        expected = bootstrap((scores,), np.mean, method="percentile", n_resamples=20_000, rng=3)

        assert actual.mean == pytest.approx(scores.mean())
        assert actual.low == pytest.approx(expected.confidence_interval.low, abs=1e-3)
        assert actual.high == pytest.approx(expected.confidence_interval.high, abs=1e-3)

    def test_interval_of_three_patients_is_that_of_all_27_resamplings(self):
        """They can be listed; their quantiles are the interval."""
        scores = np.array([0.1, 0.4, 0.9])
        means = [np.mean(drawn) for drawn in product(scores, repeat=3)]
        actual = interval([scores], coverage=0.8, resamples=20_000)

        assert (actual.low, actual.high) == pytest.approx(np.quantile(means, [0.1, 0.9]))

    def test_undefined_scores_do_not_count(self):
        """Nor do they widen the interval."""
        scores = RNG.random(9)
        padded = np.append(scores, [np.nan, np.nan])

        assert interval([padded]) == interval([scores])
        assert interval([padded]).patients == 9

    def test_one_patient_has_no_interval(self):
        """A single patient gives a mean and no idea of how far it is off; no patient gives nothing."""
        one, none = interval([np.array([0.4])]), interval([np.array([np.nan])])

        assert one.mean == 0.4
        assert np.isnan([one.low, one.high, none.mean, none.low, none.high]).all()
        assert (one.patients, none.patients) == (1, 0)

    def test_datasets_weigh_the_same(self):
        """A small one as much as a large one; its patients are drawn within it."""
        small, large = np.array([0.0, 1.0]), np.full(50, 0.2)
        actual = interval([small, large])

        assert actual.mean == pytest.approx((0.5 + 0.2) / 2)
        assert (actual.low, actual.high) == pytest.approx((0.1, 0.6))
        assert actual.patients == 52

    def test_datasets_are_drawn_independently(self):
        """Two datasets {0, 1}: means 0, ¼, ½, ¾, 1 with 1, 4, 6, 4, 1 sixteenths; not 0, ½, 1."""
        pair = np.array([0.0, 1.0])
        actual = interval([pair, pair], coverage=0.8)

        assert (actual.low, actual.high) == (0.25, 0.75)
        assert interval([pair], coverage=0.8).low == 0.0

    @pytest.mark.parametrize("number", [2, 3])
    def test_independent_datasets_narrow_the_interval(self, number):
        """The mean of n datasets has 1/√n of the standard error of one."""
        scores = np.random.default_rng(3).normal(size=200)
        one, many = interval([scores]), interval([scores] * number)

        ratio = (many.high - many.low) / (one.high - one.low)
        assert ratio == pytest.approx(1 / math.sqrt(number), rel=0.05)

    def test_dataset_with_one_patient_or_none_has_no_interval(self):
        """Nothing can be drawn within it; without any patient there is no mean either."""
        pair = np.array([0.0, 1.0])
        one, none = interval([pair, np.array([0.2])]), interval([pair, np.array([np.nan])])

        assert one.mean == pytest.approx(0.35)
        assert np.isnan([one.low, one.high, none.mean, none.low, none.high]).all()
        assert (one.patients, none.patients) == (3, 2)

    def test_two_patients_have_an_interval(self):
        """The smallest number that can be drawn from: means 0, ½, ½, 1."""
        actual = interval([np.array([0.0, 1.0])])

        assert (actual.low, actual.mean, actual.high, actual.patients) == (0, 0.5, 1, 2)

    def test_defaults_are_those_of_the_module(self):
        """10,000 resamplings, 95 %, seed 0."""
        scores = [RNG.random(8)]

        assert interval(scores) == interval(scores, resamples=RESAMPLES, coverage=COVERAGE, seed=0)
        assert interval(scores) != interval(scores, seed=1)
        assert len({interval(scores), interval(scores)}) == 1
        assert interval(scores) != interval(scores, resamples=100)


class TestPooledBand:
    def test_band_of_two_patients_spans_their_resamplings(self):
        """aa, ab, ba and bb: the band spans the four pooled accuracies."""
        counts, positives = np.array([[10], [30]]), np.array([[10], [15]])

        lower, upper = pooled_band(positives, counts, np.array(["a", "b"]))

        assert (lower[0], upper[0]) == (15 / 30, 10 / 10)

    @pytest.mark.parametrize(("coverage", "expected"), [(0.4, (0.5, 0.5)), (0.8, (0.0, 1.0))])
    def test_coverage_says_which_accuracies_lie_inside(self, coverage, expected):
        """Pooled accuracies 0, ½, ½, 1 are equally likely."""
        counts, positives = np.array([[10], [10]]), np.array([[10], [0]])

        lower, upper = pooled_band(positives, counts, np.arange(2), coverage=coverage)

        assert (lower[0], upper[0]) == expected

    def test_band_of_many_patients_is_that_of_the_normal_distribution(self):
        """Mean ± 1.96 standard errors."""
        rng = np.random.default_rng(1)
        counts = np.full((200, 1), 100)
        positives = rng.binomial(100, rng.beta(8, 2, size=(200, 1)))

        lower, upper = pooled_band(positives, counts, np.arange(200), resamples=4000)

        accuracy = positives / 100
        error = 1.96 * accuracy.std() / math.sqrt(200)
        assert lower[0] == pytest.approx(accuracy.mean() - error, abs=0.1 * error)
        assert upper[0] == pytest.approx(accuracy.mean() + error, abs=0.1 * error)

    def test_cases_of_one_patient_are_drawn_together(self):
        """Two frames of each patient give the band of the patients' sums."""
        rng = np.random.default_rng(2)
        counts = rng.integers(5, 50, size=(12, 4))
        positives = rng.binomial(counts, 0.7)
        patients = np.repeat(np.arange(6), 2)

        frames = pooled_band(positives, counts, patients)
        summed = pooled_band(
            positives.reshape(6, 2, 4).sum(1), counts.reshape(6, 2, 4).sum(1), np.arange(6)
        )

        np.testing.assert_array_equal(frames, summed)

    def test_resampling_that_leaves_a_bin_empty_does_not_count(self):
        """A bin that one patient alone fills has that patient's accuracy; an empty bin has none."""
        counts, positives = np.array([[4, 0], [0, 0]]), np.array([[3, 0], [0, 0]])

        lower, upper = pooled_band(positives, counts, np.arange(2))

        assert (lower[0], upper[0]) == (0.75, 0.75)
        assert np.isnan([lower[1], upper[1]]).all()

    def test_single_voxel_makes_a_bin(self):
        """One voxel is enough for an accuracy."""
        lower, upper = pooled_band(np.array([[1, 0]]), np.array([[1, 0]]), ["a"])

        assert (lower[0], upper[0]) == (1, 1)
        assert np.isnan([lower[1], upper[1]]).all()

    def test_band_is_that_of_a_slow_loop(self):
        """The same draws, patient by patient and case by case."""
        rng = np.random.default_rng(5)
        counts = rng.integers(0, 9, size=(7, 3))
        positives = rng.binomial(counts, 0.6)
        patients = ["b", "a", "a", "c", "b", "d", "d"]
        accuracies = []
        for weights in bootstrap_weights(4, 200, seed=2):
            times = dict(zip("abcd", weights, strict=True))
            right = sum(times[p] * row for p, row in zip(patients, positives, strict=True))
            voxels = sum(times[p] * row for p, row in zip(patients, counts, strict=True))
            accuracies.append(right / voxels)

        band = pooled_band(positives, counts, patients, resamples=200, coverage=0.7, seed=2)

        np.testing.assert_allclose(band, np.nanquantile(accuracies, [0.15, 0.85], axis=0))

    def test_defaults_are_those_of_the_module(self):
        """10,000 resamplings, 95 %, seed 0."""
        counts = np.arange(1, 9)[:, None]
        positives, patients = counts // 2, np.arange(8)

        np.testing.assert_array_equal(
            pooled_band(positives, counts, patients),
            pooled_band(
                positives, counts, patients, resamples=RESAMPLES, coverage=COVERAGE, seed=0
            ),
        )


class TestRankBiserial:
    @given(st.lists(st.integers(-50, 50), min_size=1, max_size=12))
    def test_correlation_is_that_of_counted_ranks(self, values):
        """Ranks by counting smaller and equal values; signs by an if."""
        values = [value / 7 for value in values]
        kept = [value for value in values if value != 0]
        in_favor = against = 0.0
        for value in kept:
            smaller = sum(abs(other) < abs(value) for other in kept)
            equal = sum(abs(other) == abs(value) for other in kept)
            rank = smaller + (equal + 1) / 2
            in_favor, against = (
                (in_favor + rank, against) if value > 0 else (in_favor, against + rank)
            )
        expected = (in_favor - against) / (in_favor + against) if kept else 0.0

        assert rank_biserial(np.array(values)) == pytest.approx(expected)

    @given(st.lists(st.floats(-1, 1), min_size=1, max_size=20))
    def test_negated_differences_negate_it(self, values):
        """It lies between −1 and 1."""
        values = np.array(values)
        assert rank_biserial(-values) == pytest.approx(-rank_biserial(values))
        assert -1 <= rank_biserial(values) <= 1

    def test_zeros_are_dropped_before_ranking(self):
        """Ranks 1, 2, 3 of 0.1, −0.2, 0.3 give (1 − 2 + 3) / 6; with zeros they would be 3, 4, 5."""
        values = np.array([0.0, 0.1, -0.2, 0.0, 0.3])

        assert rank_biserial(values) == pytest.approx(2 / 6)

    def test_correlation_agrees_with_wilcoxons_statistic(self):
        """SciPy's smaller rank sum W, zeros dropped: |r| = 1 − 2 W / (n (n + 1) / 2)."""
        differences = np.array([0.0, 0.3, -0.1, 0.0, 0.25, 0.8, -0.6, 0.05])
        n = np.count_nonzero(differences)
        statistic = wilcoxon(differences, zero_method="wilcox").statistic

        expected = 1 - 2 * statistic / (n * (n + 1) / 2)
        assert abs(rank_biserial(differences)) == pytest.approx(expected)

    @pytest.mark.parametrize("differences", [[], [0.0, 0.0]])
    def test_nothing_but_zeros_gives_0(self, differences):
        """No difference is no effect, without a warning."""
        assert rank_biserial(np.array(differences)) == 0


def exact_wilcoxon(differences):
    """Two-sided p by listing the signs that 2ⁿ fair coins could have given."""
    order = np.argsort(np.argsort(np.abs(differences))) + 1
    observed = abs((np.sign(differences) * order).sum())
    sums = [abs(np.dot(signs, order)) for signs in product((-1, 1), repeat=len(order))]
    return np.mean(np.array(sums) >= observed)


class TestPairedTests:
    scores = pd.DataFrame(
        {
            name: RNG.normal(mean, 0.02, 9)
            for name, mean in zip("abcd", (0.8, 0.81, 0.9, 0.79), strict=True)
        }
    )

    def test_p_is_that_of_all_sign_patterns(self):
        """The share of sign patterns that are at least as uneven as the one observed."""
        tests = paired_tests(self.scores, "a", "dice", resamples=20)
        for other in "bcd":
            differences = (self.scores["a"] - self.scores[other]).to_numpy()
            assert tests.loc[other, "p"] == pytest.approx(exact_wilcoxon(differences))
            assert tests.loc[other, "difference"] == pytest.approx(differences.mean())

    def test_holm_is_that_of_its_definition(self):
        """The k-th smallest of m p-values times m − k + 1, never less than the one before, at most 1."""
        tests = paired_tests(self.scores, "a", "dice", resamples=20).sort_values("p")
        highest = 0.0
        for k, (p, holm) in enumerate(zip(tests["p"], tests["p_holm"], strict=True)):
            highest = max(highest, min(1.0, p * (len(tests) - k)))
            assert holm == pytest.approx(highest)

    def test_better_is_positive(self):
        """The effect is positive where the reference is better, whichever end is better."""
        scores = pd.DataFrame({"nacl": [0.1, 0.2, 0.1], "other": [0.3, 0.4, 0.5]})

        assert paired_tests(scores, "nacl", "ece_union", resamples=20).loc["other", "effect"] == 1
        assert paired_tests(scores, "nacl", "dice", resamples=20).loc["other", "effect"] == -1

    def test_equal_methods_differ_by_nothing(self):
        """Nor can any test tell them apart."""
        tests = paired_tests(pd.DataFrame({"a": [0.5] * 4, "b": [0.5] * 4}), "a", "dice").loc["b"]

        assert (tests["p"], tests["p_holm"], tests["effect"], tests["difference"]) == (1, 1, 0, 0)

    def test_patient_without_both_scores_is_no_pair(self):
        """The others are."""
        scores = self.scores.copy()
        scores.loc[0, "b"] = np.nan
        tests = paired_tests(scores, "a", "dice", resamples=20)

        assert tests["patients"].tolist() == [8, 9, 9]
        assert (
            tests.loc["b", "p"]
            == paired_tests(self.scores[1:], "a", "dice", resamples=20).loc["b", "p"]
        )

    def test_interval_is_that_of_the_differences(self):
        """With the resamplings and the seed of the caller."""
        differences = (self.scores["a"] - self.scores["c"]).to_numpy()

        for options in ({}, {"resamples": 50}, {"seed": 3}):
            row = paired_tests(self.scores, "a", "dice", **options).loc["c"]
            expected = interval([differences], **options)
            assert (row["low"], row["high"]) == (expected.low, expected.high)
            assert row["patients"] == expected.patients == 9

    def test_zero_differences_are_dropped(self):
        """P and effect are those of the other patients; the mean difference is that of all."""
        differences = np.array([0.0, 0.0, 0.3, -0.1, 0.2, 0.4, 0.5])
        scores = pd.DataFrame({"a": differences, "b": 0.0})

        row = paired_tests(scores, "a", "dice", resamples=20).loc["b"]

        assert row["p"] == pytest.approx(exact_wilcoxon(differences[2:]))
        assert row["effect"] == pytest.approx((15 - 2 * 1) / 15)
        assert row["difference"] == pytest.approx(differences.mean())
        assert row["patients"] == 7

    def test_metric_of_a_structure_has_its_better_end(self):
        """As the metric itself."""
        scores = pd.DataFrame({"a": [0.1, 0.2, 0.1], "b": [0.3, 0.4, 0.5]})

        assert paired_tests(scores, "a", "hd95_RV", resamples=20).loc["b", "effect"] == 1

    def test_columns_are_in_the_order_of_the_tables(self):
        """One row per other method, in the order of the scores."""
        tests = paired_tests(self.scores, "b", "dice", resamples=20)

        assert tests.index.tolist() == ["a", "c", "d"]
        assert tests.index.name == "method"
        assert tests.columns.tolist() == [
            *("patients", "difference", "low", "high", "p", "p_holm", "effect")
        ]

    def test_reference_alone_has_no_test(self):
        """An empty table, not an error."""
        assert paired_tests(self.scores[["a"]], "a", "dice").empty
