"""Each test again, by another route: a loop, another library, or by hand."""

import math
from functools import partial
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student
from scipy.stats import ttest_1samp
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW

from nacl_monai.evaluations.statistics import (
    BETTER,
    CANNOT_TELL,
    EQUIVALENT,
    OUTCOMES,
    SLIGHTLY,
    TOO_FEW,
    WORSE,
    decided,
    difference,
    paired_tests,
    rank_biserial,
    smallest_p,
    undecided_tests,
)
from nacl_monai.metrics.columns import METRICS

#: What is undefined is NaN, and no warning tells so.
pytestmark = pytest.mark.filterwarnings("error")

RNG = np.random.default_rng(7)
at_night = partial(pytest.param, marks=pytest.mark.nightly)


def table(columns, seeds=1):
    """Scores of methods, (patients) or (patients, seeds), as `patient_scores` returns them."""
    arrays = {name: np.reshape(part, (-1, seeds)).astype(float) for name, part in columns.items()}
    patients = len(next(iter(arrays.values())))
    index = pd.MultiIndex.from_product([range(patients), range(seeds)], names=["patient", "seed"])
    return pd.DataFrame({name: values.ravel() for name, values in arrays.items()}, index)


class TestRankBiserial:
    @given(st.lists(st.integers(-50, 50), max_size=12))
    def test_correlation_is_that_of_counted_ranks(self, values):
        """Ranks by counting smaller and equal values; 0 where nothing is left without zeros."""
        kept = [value for value in values if value != 0]
        in_favor = against = 0.0
        for value in kept:
            smaller = sum(abs(other) < abs(value) for other in kept)
            equal = sum(abs(other) == abs(value) for other in kept)
            rank = smaller + (equal + 1) / 2
            in_favor += rank * (value > 0)
            against += rank * (value < 0)
        expected = (in_favor - against) / (in_favor + against) if kept else 0.0

        assert rank_biserial(np.array(values) / 7) == pytest.approx(expected)

    @given(st.lists(st.floats(-1, 1), min_size=1, max_size=20))
    def test_negated_differences_negate_it(self, values):
        """It is between −1 and 1."""
        values = np.array(values)
        assert rank_biserial(-values) == pytest.approx(-rank_biserial(values))
        assert -1 <= rank_biserial(values) <= 1


def exact_wilcoxon(differences):
    """Two-sided p by listing the signs that 2ⁿ fair coins could have given."""
    order = np.argsort(np.argsort(np.abs(differences))) + 1
    observed = abs((np.sign(differences) * order).sum())
    sums = [abs(np.dot(signs, order)) for signs in product((-1, 1), repeat=len(order))]
    return np.mean(np.array(sums) >= observed)


class TestPairedTests:
    scores = table(
        {
            name: RNG.normal(mean, 0.02, 9)
            for name, mean in zip("abcd", (0.8, 0.81, 0.9, 0.79), strict=True)
        }
    )

    def test_p_is_that_of_all_sign_patterns(self):
        """The share of sign patterns that are at least as uneven as the one observed."""
        tests = paired_tests(self.scores, "a", "dice")
        for other in "bcd":
            differences = (self.scores["a"] - self.scores[other]).to_numpy()
            assert tests.loc[other, "p"] == pytest.approx(exact_wilcoxon(differences))

    @pytest.mark.parametrize("metric", ["dice", "hd95"])
    def test_holm_is_that_of_statsmodels(self, metric):
        """Ties and rivals without a score among them, which decide nothing."""
        scores = self.scores.assign(tie=self.scores["b"], none=np.nan)
        tests = paired_tests(scores, "a", metric)
        expected = multipletests(tests["p"].fillna(1), method="holm")[1]

        np.testing.assert_allclose(tests["p_holm"], expected, rtol=1e-12)

    def test_several_references_are_one_family(self):
        """Each question is corrected over all comparisons that are decided together."""
        parts = [undecided_tests(self.scores, name, "dice").reset_index() for name in "ab"]
        tests = pd.concat(parts, ignore_index=True)
        found = decided(tests, "dice")

        assert len(found) == 6
        for corrected, raw in (("p_holm", "p"), ("p_equivalent", "p_equivalent")):
            expected = multipletests(tests[raw], method="holm")[1]
            np.testing.assert_allclose(found[corrected], expected, rtol=1e-12)

    def test_better_is_positive(self):
        """The effect is positive where the reference is better, whichever end is better."""
        scores = table({"nacl": [0.1, 0.2, 0.1], "other": [0.3, 0.4, 0.5]})

        assert paired_tests(scores, "nacl", "ece_union").loc["other", "effect"] == 1
        assert paired_tests(scores, "nacl", "dice").loc["other", "effect"] == -1

    def test_equal_methods_differ_by_nothing(self):
        """Nor can any test tell them apart."""
        tests = paired_tests(table({"a": [0.5] * 4, "b": [0.5] * 4}), "a", "dice").loc["b"]

        assert (tests["p"], tests["p_holm"], tests["effect"], tests["difference"]) == (1, 1, 0, 0)

    def test_patient_without_both_scores_is_no_pair(self):
        """The others are."""
        scores = self.scores.copy()
        scores.loc[0, "b"] = np.nan
        tests = paired_tests(scores, "a", "dice")

        assert tests["patients"].tolist() == [8, 9, 9]
        assert tests.loc["b", "p"] == paired_tests(self.scores[1:], "a", "dice").loc["b", "p"]

    def test_interval_is_students(self):
        """SciPy's t interval of the differences, with one training per method."""
        row = paired_tests(self.scores, "a", "dice").loc["c"]
        differences = (self.scores["a"] - self.scores["c"]).to_numpy()
        interval = ttest_1samp(differences, 0).confidence_interval()

        assert row["difference"] == pytest.approx(differences.mean())
        assert (row["low"], row["high"]) == pytest.approx(tuple(interval))
        assert (row["patients"], row["trainings"]) == (9, 1)

    def test_equivalence_is_two_one_sided_tests(self):
        """Statsmodels' TOST with the metric's margin, then its Holm's correction."""
        margin = METRICS["dice"].margin_at(0.8)
        raw = [
            DescrStatsW((self.scores["a"] - self.scores[other]).to_numpy()).ttost_mean(
                -margin, margin
            )[0]
            for other in "bcd"
        ]

        tests = paired_tests(self.scores, "a", "dice")

        expected = multipletests(raw, method="holm")[1]
        np.testing.assert_allclose(tests["p_equivalent"], expected, rtol=1e-9)

    def test_several_trainings_are_tested_by_both_samples(self):
        """A t test whose squared error is the patients' part plus that of each method's trainings.

        A method and the same behind a calibrator have the same trainings: the part of their difference.
        """
        cells = {name: RNG.normal(0.02, 0.03, (6, 3)) for name in "abc"}
        cells["a+temperature"] = cells["a"] / 2
        cells["c"] += np.array([0, 1, 0])
        tests = paired_tests(table(cells, 3), "a", "dice")

        for name in ("b", "c", "a+temperature"):
            difference = cells["a"] - cells[name]
            apart = [cells["a"], cells[name]] if name in cells and len(name) == 1 else [difference]
            parts = [(difference.mean(axis=1).var(ddof=1) / 6, 5)]
            parts += [(scores.mean(axis=0).var(ddof=1) / 3, 2) for scores in apart]
            total = sum(part for part, _ in parts)
            freedom = total**2 / sum(part**2 / df for part, df in parts)
            expected = 2 * student.sf(abs(difference.mean()) / np.sqrt(total), freedom)
            assert tests.loc[name, "p"] == pytest.approx(expected)
        assert tests[["patients", "trainings"]].to_numpy().tolist() == [[6, 3]] * 3

    def test_pair_has_the_patients_and_trainings_of_both(self):
        """What one of them lacks says nothing about the other."""
        cells = {name: RNG.normal(0.02, 0.03, (8, 4)) for name in "ab"}
        kept = {name: scores[1:, 1:] for name, scores in cells.items()}
        cells["a"][:, 0] = cells["b"][0] = np.nan

        pd.testing.assert_frame_equal(
            undecided_tests(table(cells, 4), "a", "dice"),
            undecided_tests(table(kept, 3), "a", "dice"),
        )

    def test_two_trainings_are_tested_over_patients_alone(self):
        """They say nothing about a third: the test is that of the patients' means."""
        cells = {"a": RNG.normal(0.02, 0.03, (8, 2)), "b": RNG.normal(0, 0.03, (8, 2))}
        means = {name: scores.mean(axis=1, keepdims=True) for name, scores in cells.items()}
        two = paired_tests(table(cells, 2), "a", "dice")
        single = paired_tests(table(means, 1), "a", "dice")

        columns = ["difference", "low", "high", "p", "p_equivalent", "effect"]
        np.testing.assert_allclose(two[columns], single[columns], atol=1e-6)

    @pytest.mark.parametrize("wide", [1, at_night(4), 16])
    @pytest.mark.parametrize("place", [0, 3], ids=["reference", "other"])
    @pytest.mark.parametrize(
        "spreads", [(1, 1, 0.5), at_night((1, 0, 0.5)), (1, 0.3, 0.5)], ids=str
    )
    def test_intervals_cover_and_tests_err_as_often_as_they_may(self, spreads, place, wide):
        """Four methods that are alike on average, 20 patients, three trainings, 1000 simulations.

        The trainings of one are up to 16 times as far apart as the others'. Of each pair 93 to 97 %
        of the intervals cover nothing, and Holm's first step errs in 5 %, by a half more where one
        method decides it; within three standard errors of the simulation.
        """
        rng, draws, (patient, training, noise) = np.random.default_rng(5), 1000, spreads
        apart = np.ones((4, 1, 1))
        apart[place] = wide
        found = []
        for _ in range(draws):
            cells = (
                patient * rng.normal(size=(4, 20, 1))
                + training * apart * rng.normal(size=(4, 1, 3))
                + noise * rng.normal(size=(4, 20, 3))
            )
            found.append([difference(cells[0], rival) for rival in cells[1:]])

        ends = 0.93 - 3 * math.sqrt(0.07 * 0.93 / draws), 0.97 + 3 * math.sqrt(0.03 * 0.97 / draws)
        for pair in zip(*found, strict=True):
            low, high = np.transpose([gap.interval() for gap in pair])
            assert ends[0] <= np.mean((low <= 0) & (high >= 0)) <= ends[1]
        smallest = [min(gap.p_different() for gap in gaps) for gaps in found]
        errors = np.mean(np.array(smallest) * 3 < 0.05)
        assert errors <= 0.075 + 3 * math.sqrt(0.075 * 0.925 / draws)

    def test_share_of_the_reference_s_value_is_what_matters(self):
        """An error of 0.4 may differ by 0.02, one of 0.04 by 0.002; DSC by 0.01, whatever it is."""
        gaps = 0.001 * np.array([1, -1, 2, -2, 1, -1, 2, -2, 1, 0])
        for value, decision in ((0.4, EQUIVALENT), (0.04, EQUIVALENT), (0.01, CANNOT_TELL)):
            scores = table({"a": value + gaps, "b": np.full(10, value)})
            tests = paired_tests(scores, "a", "nll_all").loc["b"]
            margin = 0.05 * (value + gaps.mean())
            expected = DescrStatsW(gaps).ttost_mean(-margin, margin)[0]

            assert tests["margin"] == pytest.approx(margin)
            assert tests["p_equivalent"] == pytest.approx(expected)
            assert tests["decision"] == decision
            assert paired_tests(scores, "a", "dice").loc["b", "margin"] == 0.01

    def test_what_differs_by_the_margin_is_rarely_equivalent(self):
        """5 % of an NLL that varies from person to person, and is itself only measured."""
        rng, draws = np.random.default_rng(3), 1000
        found = []
        for _ in range(draws):
            rival = 0.05 * rng.gamma(8, 1 / 8, (20, 1)) * np.exp(0.02 * rng.normal(size=(1, 3)))
            own = rival.mean(1, keepdims=True) / 0.95 * rng.gamma(300, 1 / 300, (20, 3))
            margin = METRICS["nll_all"].margin_at(own.mean())
            found.append(difference(own, rival).p_equivalent(margin) < 0.05)

        assert np.mean(found) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / draws)

    def test_zero_differences_are_dropped(self):
        """P and effect are those of the other patients; the mean difference is that of all."""
        differences = np.array([0.0, 0.0, 0.3, -0.1, 0.2, 0.4, 0.5])
        scores = table({"a": differences, "b": np.zeros(7)})

        row = paired_tests(scores, "a", "dice").loc["b"]

        assert row["p"] == pytest.approx(exact_wilcoxon(differences[2:]))
        assert row["effect"] == pytest.approx((15 - 2 * 1) / 15)
        assert row["difference"] == pytest.approx(differences.mean())
        assert row["patients"] == 7

    def test_columns_are_in_the_order_of_the_tables(self):
        """One row per other method, in the order of the scores."""
        tests = paired_tests(self.scores, "b", "dice")

        assert tests.index.tolist() == ["a", "c", "d"]
        assert tests.index.name == "method"
        assert tests.columns.tolist() == [
            *("patients", "trainings", "difference", "low", "high"),
            *("p", "p_holm", "margin", "p_equivalent", "effect", "decision"),
        ]

    def test_method_without_a_seed_in_common_is_left_out(self):
        """Nor is it one of the others for which p is corrected."""
        seeds = pd.MultiIndex.from_product([range(9), [1]], names=["patient", "seed"])
        later = pd.DataFrame({"later": RNG.normal(0.8, 0.02, 9)}, seeds)
        both = self.scores.join(later, how="outer")

        found, expected = (paired_tests(scores, "a", "dice") for scores in (both, self.scores))
        pd.testing.assert_frame_equal(found, expected)
        assert paired_tests(both[["a", "later"]], "a", "dice").empty

    def test_reference_alone_has_no_test(self):
        """An empty table, not an error."""
        assert paired_tests(self.scores[["a"]], "a", "dice").empty

    def test_rounding_does_not_break_ties(self):
        """Differences of 0.1 that differ in their last bit are one difference."""
        a = np.array([0.1 + 0.2, 0.3, 0.4, 0.9, 0.8])
        scores = table({"a": a, "b": a - np.array([0.1, 0.1, -0.1, 0.1, 0.1])})
        effect = paired_tests(scores, "a", "dice").loc["b", "effect"]

        assert effect == pytest.approx((4 - 1) / 5)


class TestDecision:
    """What is decided, case by case."""

    def decide(self, differences, metric="dice", rivals=1, seeds=1):
        """The decision on the first of several methods that differ alike."""
        differences = np.asarray(differences, dtype=float)
        flat = {f"b{k}": np.zeros(differences.shape) for k in range(rivals)}
        tests = paired_tests(table({"a": differences, **flat}, seeds), "a", metric)
        return tests.loc["b0", "decision"]

    @pytest.mark.parametrize(
        ("differences", "metric", "decision"),
        [
            (0.1 + 0.01 * np.arange(8), "dice", BETTER),
            (0.1 + 0.01 * np.arange(8), "ece_foreground", WORSE),
            (0.001 + 1e-5 * np.arange(8), "dice", SLIGHTLY + BETTER),
            # Equal scores, and scores that scatter by less than 0.01.
            (np.zeros(8), "dice", EQUIVALENT),
            (0.001 * np.array([1, -1, 2, -2, 1, -1, 2, -2]), "dice", EQUIVALENT),
            # An interval that includes both 0 and what would matter.
            (0.1 * np.array([1, -1, 2, -2, 1, -1, 2, -1.5]), "dice", CANNOT_TELL),
        ],
    )
    def test_interval_and_margin_decide(self, differences, metric, decision):
        """By the metric's direction; slightly, where the difference is below what matters."""
        assert self.decide(differences, metric) == decision

    def test_patients_too_few_for_any_significance(self):
        """Seven patients and seven rivals: p is at least 0.109, even if all agree; eight suffice."""
        all_agree = 0.1 + 0.01 * np.arange(7)
        assert smallest_p(7, 7) == pytest.approx(7 * exact_wilcoxon(all_agree))
        assert self.decide(all_agree, rivals=7) == TOO_FEW
        assert self.decide(all_agree, rivals=3) == BETTER
        assert self.decide(0.1 + 0.01 * np.arange(9), rivals=7) == BETTER

    def test_mean_and_ranks_that_disagree_decide_nothing(self):
        """One patient of 20 turns the mean round."""
        differences = np.append(0.1 + 0.01 * np.arange(19), -9.0)
        tests = paired_tests(table({"a": differences, "b": np.zeros(20)}), "a", "dice")

        assert tests.loc["b", "p_holm"] < 0.05
        assert tests.loc["b", "decision"] == CANNOT_TELL

    def test_other_trainings_that_disagree_decide_nothing(self):
        """Twenty patients agree in each training; the trainings contradict each other."""
        cells = np.array([0.2, -0.15, 0.1]) + 0.001 * RNG.normal(size=(20, 3))
        assert self.decide(cells[:, 0]) == BETTER
        assert self.decide(cells, seeds=3) == CANNOT_TELL

    @settings(max_examples=15)  # the exact test lists all signs
    @given(st.lists(st.floats(-1, 1), min_size=1, max_size=8))
    def test_opposite_scores_give_the_opposite_decision(self, differences):
        """And every decision is one of the list."""
        opposite = {BETTER: WORSE, SLIGHTLY + BETTER: SLIGHTLY + WORSE}
        opposite |= {worse: better for better, worse in opposite.items()}
        decision = self.decide(differences)

        assert decision in OUTCOMES
        assert self.decide(-np.array(differences)) == opposite.get(decision, decision)
