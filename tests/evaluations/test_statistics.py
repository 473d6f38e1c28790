"""Scores, errors, resamplings, ranks and groups again: by a loop, another library, or by simulation."""

import math
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata, ttest_1samp

from nacl_monai.errors import InputError
from nacl_monai.evaluations import rank_correlations
from nacl_monai.evaluations.statistics import (
    bootstrap_means,
    cells_of,
    estimate,
    patient_scores,
    percentile_interval,
    pooled_band,
    studentized_interval,
)
from nacl_monai.evaluations.tables import read_groups
from nacl_monai.metrics.pooled import draws
from tests.conftest import refused
from tests.same import same_bits

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

        same_bits(cells, [[0.1, 0.2], [np.nan, 0.3]], "they are copied")


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
        single, none = estimate([np.array([[0.4]])]), estimate([np.array([[np.nan]])])

        assert single.mean == 0.4
        numbers = [*single.interval(), single.p_different(), none.mean, *none.interval()]
        assert np.isnan(numbers).all()
        assert (single.patients, none.patients) == (1, 0)

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
        single, none = estimate([pair, np.array([[0.2]])]), estimate([pair, np.array([[np.nan]])])

        assert single.mean == pytest.approx(0.35)
        assert np.isnan([*single.interval(), none.mean, *none.interval()]).all()
        assert (single.patients, none.patients) == (3, 2)

    def test_scores_without_any_scatter_leave_no_doubt(self):
        """The interval is the mean; 0 is certain or excluded."""
        zero, ones = estimate([np.zeros((4, 2))]), estimate([np.ones((4, 2))])

        assert zero.interval() == (0, 0)
        assert ones.interval() == (1, 1)
        assert (zero.p_different(), ones.p_different()) == (1, 0)
        assert (zero.p_equivalent(0.1), ones.p_equivalent(0.1)) == (0, 1)

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


class TestBootstrap:
    def test_every_resampling_draws_as_many_patients_as_there_are(self):
        weights = draws(3, 10_000)

        assert weights.shape == (10_000, 3)
        assert (weights.sum(axis=1) == 3).all()
        assert not (weights % 1).any()
        assert (weights >= 0).all()

    def test_patients_are_equally_likely(self):
        """Each is drawn once on average, and the number of draws is binomial (n, 1/n)."""
        weights = draws(4, 100_000)

        np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.02)  # chance, of 100,000 draws
        expected = [math.comb(4, k) * 0.25**k * 0.75 ** (4 - k) for k in range(5)]
        for patient in weights.T:
            shares = np.bincount(patient.astype(int), minlength=5) / len(patient)
            np.testing.assert_allclose(shares, expected, atol=0.01)  # chance, of 100,000 draws

    def test_means_are_those_of_a_loop(self):
        """A resampling's mean is that of the patients drawn, each as often as it was drawn."""
        scores = RNG.random((6, 2))
        scores[4, 1] = np.nan
        weights = draws(6, 50)

        for times, row in zip(weights, bootstrap_means(scores, weights), strict=True):
            drawn = np.repeat(np.arange(6), times.astype(int))
            assert row == pytest.approx(np.nanmean(scores[drawn], axis=0))

    def test_resampling_without_a_defined_score_has_no_mean(self):
        """Without a warning."""
        means = bootstrap_means(np.array([[np.nan], [0.5]]), np.array([[2.0, 0.0], [1.0, 1.0]]))

        assert np.isnan(means[0, 0])
        assert means[1, 0] == 0.5


class TestPercentileInterval:
    @pytest.mark.parametrize(
        ("coverage", "ends"), [(0.5, (25, 75)), (0.9, (5, 95)), (1.0, (0, 100))]
    )
    def test_ends_leave_equal_tails(self, coverage, ends):
        """The percentiles of the numbers 0 to 100 are the numbers themselves."""
        assert percentile_interval(np.arange(101.0), coverage) == pytest.approx(ends)

    def test_coverage_is_95_percent_by_default(self):
        """Between the 2.5th and the 97.5th percentile."""
        assert percentile_interval(np.arange(1001.0)) == pytest.approx((25, 975))

    def test_columns_are_apart_and_undefined_samples_do_not_count(self):
        """Each column has its ends."""
        samples = np.stack([np.arange(101.0), -np.arange(101.0)], axis=1)
        samples = np.vstack([samples, [np.nan, 0.0]])

        ends = percentile_interval(samples[:, :1], 0.9)

        assert ends.shape == (2, 1)
        assert ends[:, 0] == pytest.approx((5, 95))
        assert percentile_interval(samples[:-1], 0.9)[:, 1] == pytest.approx((-95, -5))


class TestPooledBand:
    def test_band_of_two_patients_spans_their_resamplings(self):
        """aa, ab, ba and bb: the band spans the four pooled accuracies."""
        counts, positives = np.array([[10], [30]]), np.array([[10], [15]])

        lower, upper = pooled_band(positives, counts, np.array(["a", "b"]))

        assert (lower[0], upper[0]) == (15 / 30, 10 / 10)

    def test_cases_of_one_patient_are_drawn_together(self):
        """Two frames of each patient give the band of the patients' sums."""
        rng = np.random.default_rng(2)
        counts = rng.integers(5, 50, size=(12, 4))
        positives = rng.binomial(counts, 0.7)

        frames = pooled_band(positives, counts, np.repeat(np.arange(6), 2))
        sums = (part.reshape(6, 2, 4).sum(1) for part in (positives, counts))

        same_bits(frames, pooled_band(*sums, np.arange(6)), "the same sums of whole numbers")

    def test_resampling_that_leaves_a_bin_empty_does_not_count(self):
        """A bin that one patient alone fills has that patient's accuracy; an empty bin has none."""
        counts, positives = np.array([[4, 0], [0, 0]]), np.array([[3, 0], [0, 0]])

        lower, upper = pooled_band(positives, counts, np.arange(2))

        assert (lower[0], upper[0]) == (0.75, 0.75)
        assert np.isnan([lower[1], upper[1]]).all()

    def test_band_is_that_of_a_slow_loop(self):
        """The same draws, patient by patient and case by case."""
        rng = np.random.default_rng(5)
        counts = rng.integers(0, 9, size=(7, 3))
        positives = rng.binomial(counts, 0.6)
        patients = ["b", "a", "a", "c", "b", "d", "d"]
        accuracies = []
        for weights in draws(4, 200, seed=2):
            times = dict(zip("abcd", weights, strict=True))
            right = sum(times[p] * row for p, row in zip(patients, positives, strict=True))
            voxels = sum(times[p] * row for p, row in zip(patients, counts, strict=True))
            accuracies.append(right / voxels)

        band = pooled_band(positives, counts, patients, resamples=200, coverage=0.7, seed=2)

        np.testing.assert_allclose(band, np.nanquantile(accuracies, [0.15, 0.85], axis=0))


PATIENTS = {"a_left": "a", "a_right": "a", "b": "b"}


def groups_file(tmp_path, *lines):
    file = tmp_path / "groups.csv"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    "lines",
    [
        ("patient,site,sex", "b,X,f", "a,Y,", "c,Z,m"),
        ("case,site,patient,sex", "b,X,b,f", "a_left,Y,a,", "a_right,Y,a,"),
    ],
)
def test_a_patient_has_the_value_of_a_row_or_of_all_their_cases(tmp_path, lines):
    """An empty cell is unknown; who is not asked for is in no group."""
    found = read_groups(groups_file(tmp_path, *lines), PATIENTS)

    assert found == {"site": {"a": "Y", "b": "X"}, "sex": {"a": "unknown", "b": "f"}}
    assert [*found["site"]] == ["b", "a"]


def test_without_a_table_there_is_no_group():
    assert read_groups(None, PATIENTS) == {}


@pytest.mark.parametrize(
    ("lines", "line"),
    [
        ((), "is not a table of groups"),
        (("patient", "a", "b"), "write the column case or patient, and others"),
        (("name,site", "a,X"), "write the column case or patient, and others"),
        (("patient,site", "a,X"), "lacks the patient 'b'; add it"),
        (
            ("case,site", "a_left,X", "a_right,Y", "b,X"),
            "the patient 'a' has two values of site, 'X' and 'Y'",
        ),
        (("patient,site", "a,=1", "b,X"), "takes for a formula"),
        (("patient,site", "a,X", "b,X", "a,Y"), "has 2 rows of 'a'; leave one"),
        (("patient,site,site", "a,X,Y", "b,X,Y"), "has two columns 'site'; leave one"),
        (("patient, site", "a,X", "b,X"), "has blanks around ' site'; remove them"),
    ],
)
def test_table_that_tells_no_groups_is_refused(tmp_path, lines, line):
    with pytest.raises(InputError, match=line):
        read_groups(groups_file(tmp_path, *lines), PATIENTS)


def test_as_many_values_as_of_ages_are_no_groups(tmp_path):
    names = [f"p{k}" for k in range(21)]
    file = groups_file(tmp_path, "patient,age", *(f"{name},{k}" for k, name in enumerate(names)))

    with pytest.raises(InputError, match="age has more than 20 values"):
        read_groups(file, dict(zip(names, names, strict=True)))
    assert len({*read_groups(file, {name: name for name in names[:20]})["age"].values()}) == 20


def test_studentized_interval_is_that_of_a_loop():
    """Each draw of patients has its own mean and standard error; those that do not vary say nothing."""
    scores = np.random.default_rng(0).lognormal(0, 1, (12, 1))
    weights = draws(12, 300)
    mean, error = scores.mean(), scores.std(ddof=1) / 12**0.5
    t = []
    for times in weights.astype(int):
        drawn = np.repeat(scores, times)
        t.append((drawn.mean() - mean) / (drawn.std() / 11**0.5))
    ends = [mean - np.quantile(t, q) * error for q in (0.975, 0.025)]

    assert studentized_interval(scores, weights)[:, 0] == pytest.approx(ends)
    assert studentized_interval(np.full((12, 1), 1.1), weights)[:, 0] == pytest.approx([1.1, 1.1])
    assert np.isnan(studentized_interval(scores[:3], draws(3))).all()


@pytest.mark.slow  # two thousand samples
@pytest.mark.parametrize("patients", [19, 40, 60])
def test_studentized_interval_holds_the_mean_of_ratios_in_93_to_97_percent(patients):
    """Sizes above 1, with the longer tail to the right that those of contours have."""
    samples = 1 + np.random.default_rng(patients).lognormal(-1, 0.4, (2000, patients, 1))
    weights, mean = draws(patients, 2000), 1 + np.exp(-1 + 0.4**2 / 2)

    ends = np.array([studentized_interval(sample, weights)[:, 0] for sample in samples])

    assert 0.93 <= ((ends[:, 0] <= mean) & (mean <= ends[:, 1])).mean() <= 0.97


@pytest.mark.slow  # a thousand samples of each
@pytest.mark.parametrize(("patients", "ends"), [(34, (0.86, 0.92)), (20, (0.79, 0.89))])
def test_interval_of_skewed_people_covers_less_than_it_says(patients, ends):
    """As docs/reproduce.md has it: the people of a kept evaluation are the population."""
    folder = Path(__file__).parents[2] / "docs/results/hippocampus/distance"
    scores = patient_scores(pd.read_csv(folder / "cases.csv"), "nll_all")
    people, rng = cells_of(scores["dice_ce+distance_all"]).mean(1), np.random.default_rng(0)
    drawn = (rng.choice(people, (patients, 1)) for _ in range(1000))

    ends_of = (estimate([sample]).interval() for sample in drawn)
    covered = [low <= people.mean() <= high for low, high in ends_of]

    assert ends[0] < np.mean(covered) < ends[1]
