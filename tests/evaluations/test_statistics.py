"""Scores, their errors and rank correlations again: by a loop, another library, or by simulation."""

import math
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata, ttest_1samp

from nacl_monai.evaluations import rank_correlations
from nacl_monai.evaluations.statistics import (
    cells_of,
    estimate,
    patient_scores,
)
from tests.conftest import refused

#: What is undefined is NaN, and no warning tells so.
pytestmark = pytest.mark.filterwarnings("error")

RNG = np.random.default_rng(7)


def table(rows):
    return pd.DataFrame(rows, columns=["method", "seed", "case", "patient", "dice"])


class TestPatientScores:
    def test_cases_are_averaged_within_a_training(self):
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
        assert scores.index.tolist() == list(product(["p1", "p2", "p3"], range(3)))
        for method, (patient, seed) in product("ab", scores.index):
            values = [row[4] for row in rows if row[:2] == (method, seed) and row[3] == patient]
            assert scores.loc[(patient, seed), method] == pytest.approx(sum(values) / len(values))

    def test_undefined_case_does_not_count(self):
        """A case without a score does not count; a patient without any is undefined."""
        rows = [("a", 0, "1", "p", np.nan), ("a", 0, "2", "p", 0.5), ("a", 0, "3", "q", np.nan)]
        scores = patient_scores(table(rows), "dice")["a"]

        assert scores["p", 0] == 0.5
        assert np.isnan(scores["q", 0])

    def test_methods_may_be_told_apart_by_another_column(self):
        """By networks, say."""
        cases = table([("a", 0, "1", "p", 0.5), ("a", 0, "1", "p", 0.7)]).assign(network=["u", "v"])

        scores = patient_scores(cases, "dice", by="network")

        assert scores.loc[("p", 0)].to_dict() == {"u": 0.5, "v": 0.7}

    def test_other_patients_are_refused(self):
        """Methods that were tested on different patients cannot be compared."""
        rows = [("a", 0, "1", "p", 0.5), ("b", 0, "1", "q", 0.5)]

        line = refused(patient_scores, table(rows), "dice")
        assert line.startswith("b and a were not tested on the same patients; evaluate both on")

    def test_patient_with_no_score_counts_as_tested(self):
        """A method that missed a patient is compared on the others."""
        rows = [(m, 0, p, p, 0.5) for m in "ab" for p in "pq"]
        rows[3] = ("b", 0, "q", "q", np.nan)

        assert patient_scores(table(rows), "dice")["b"].isna().tolist() == [False, True]

    def test_metric_that_no_run_has_is_refused(self):
        """A missing column and an empty one are the same."""
        cases = table([("a", 0, "1", "p", 0.5)])
        for frame in (cases, cases.assign(ece_union=np.nan)):
            line = refused(patient_scores, frame, "ece_union")
            assert line.startswith("cases.csv: no column 'ece_union'; evaluate the")

    def test_column_becomes_an_array_of_patients_and_trainings(self):
        """A training that lacks a patient leaves a hole."""
        rows = [("a", 0, "1", "p", 0.1), ("a", 1, "1", "p", 0.2), ("a", 1, "2", "q", 0.3)]
        cells = cells_of(patient_scores(table(rows), "dice")["a"])

        np.testing.assert_array_equal(cells, [[0.1, 0.2], [np.nan, 0.3]])


class TestEstimate:
    def test_one_training_gives_students_interval(self):
        """SciPy's, and its p-value."""
        scores = RNG.gamma(2, 0.05, 12)
        actual = estimate([scores[:, None]])
        expected = ttest_1samp(scores, 0)

        assert actual.mean == pytest.approx(scores.mean())
        assert actual.interval() == pytest.approx(tuple(expected.confidence_interval()))
        assert actual.p_different() == pytest.approx(expected.pvalue)
        assert actual.interval(0.8) == pytest.approx(tuple(expected.confidence_interval(0.8)))
        assert (actual.patients, actual.trainings, actual.freedom) == (12, 1, 11)

    def test_error_of_several_trainings_is_the_sum_of_both_parts(self):
        """The variance of patients' means over P, plus that of trainings' means over S."""
        cells = RNG.random((5, 3))
        patients, trainings = (
            np.var(cells.mean(axis=axis), ddof=1) / number for axis, number in ((1, 5), (0, 3))
        )
        total = patients + trainings
        actual = estimate([cells])

        assert actual.error**2 == pytest.approx(total)
        assert actual.freedom == pytest.approx(total**2 / (patients**2 / 4 + trainings**2 / 2))
        assert actual.mean == pytest.approx(cells.mean())
        assert (actual.patients, actual.trainings) == (5, 3)

    @pytest.mark.parametrize("seeds", [1, 3])
    def test_undefined_scores_do_not_count(self, seeds):
        """A patient or a training without any score is as if it were not there."""
        cells = RNG.random((9, seeds))
        padded = np.full((11, seeds + 1), np.nan)
        padded[:9, :seeds] = cells

        assert estimate([padded]) == estimate([cells])
        assert estimate([padded]).patients == 9

    def test_one_patient_has_no_interval(self):
        """A single patient gives a mean and no idea of how far it is off; no patient gives nothing."""
        one, none = estimate([np.array([[0.4]])]), estimate([np.array([[np.nan]])])

        assert one.mean == 0.4
        assert np.isnan([*one.interval(), one.p_different(), none.mean, *none.interval()]).all()
        assert (one.patients, none.patients) == (1, 0)

    def test_datasets_weigh_the_same(self):
        """A small one as much as a large one; their errors are independent."""
        small, large = np.array([[0.0], [1.0]]), RNG.random((50, 1))
        parts = [estimate([cells]) for cells in (small, large)]
        actual = estimate([small, large])

        assert actual.mean == pytest.approx((parts[0].mean + parts[1].mean) / 2)
        assert actual.error == pytest.approx(math.hypot(*(part.error for part in parts)) / 2)
        assert actual.patients == 52

    def test_dataset_with_one_patient_or_none_has_no_interval(self):
        """Nothing is known of how it varies; without any patient there is no mean either."""
        pair = np.array([[0.0], [1.0]])
        one, none = estimate([pair, np.array([[0.2]])]), estimate([pair, np.array([[np.nan]])])

        assert one.mean == pytest.approx(0.35)
        assert np.isnan([*one.interval(), none.mean, *none.interval()]).all()
        assert (one.patients, none.patients) == (3, 2)

    def test_scores_without_any_scatter_leave_no_doubt(self):
        """The interval is the mean; 0 is certain or excluded."""
        zero, one = estimate([np.zeros((4, 2))]), estimate([np.ones((4, 2))])

        assert zero.interval() == (0, 0)
        assert one.interval() == (1, 1)
        assert (zero.p_different(), one.p_different()) == (1, 0)
        assert (zero.p_equivalent(0.1), one.p_equivalent(0.1)) == (0, 1)

    @pytest.mark.parametrize("patients", [7, pytest.param(20, marks=pytest.mark.nightly)])
    @pytest.mark.parametrize(
        ("trainings", "spread"),
        [(1, (1, 0, 0.5)), (3, (1, 0, 0.5)), (3, (1, 0.2, 0.5)), (3, (0.2, 0.3, 1))],
        ids=["one", "patients", "both", "trainings"],
    )
    def test_interval_covers_the_truth_in_95_percent(self, patients, trainings, spread):
        """2000 samples whose mean is known: patients' effects, trainings' effects, and noise.

        Three standard errors of the simulation below 95 % are 93.5 %.
        """
        rng, n = np.random.default_rng(11), 2000
        cells = (
            spread[0] * rng.normal(size=(n, patients, 1))
            + spread[1] * rng.normal(size=(n, 1, trainings))
            + spread[2] * rng.normal(size=(n, patients, trainings))
        )
        intervals = np.array([estimate([sample]).interval() for sample in cells])

        covered = (intervals[:, 0] <= 0) & (intervals[:, 1] >= 0)
        assert covered.mean() >= 0.935


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
    true = {"dice_a": [0.2, 0.4, 0.6], "dice_b": [np.nan, 0.5, 0.7]}
    expected = {"expected_dice_a": [0.3, 0.5, 0.9], "expected_dice_b": [1.0, 0.5, 0.9]}

    correlations = rank_correlations(pd.DataFrame(true | expected))

    assert math.isnan(correlations["b"])  # of two cases
    assert (correlations["a"], correlations["mean"]) == (1, 1)


@pytest.mark.parametrize("dice", [[0.5] * 4, [np.nan] * 4, [0.1, 0.2, np.nan, np.nan]])
def test_nothing_to_rank_has_no_correlation(dice):
    """All alike, none defined, or fewer than three cases; without a warning."""
    metrics = pd.DataFrame({"dice_a": dice, "expected_dice_a": [0.1, 0.2, 0.3, 0.4]})

    assert all(map(math.isnan, rank_correlations(metrics).values()))


def test_evaluation_of_an_earlier_version_has_none():
    """It expects no Dice."""
    assert rank_correlations(pd.DataFrame({"dice_a": [0.5], "dice": [0.5]})) == {}
