"""Resamplings of patients again, by loops and by listing all of them."""

import math

import numpy as np
import pytest

from nacl_monai.evaluations.statistics import (
    bootstrap_means,
    bootstrap_weights,
    percentile_interval,
    pooled_band,
)

#: What is undefined is NaN, and no warning tells so.
pytestmark = pytest.mark.filterwarnings("error")

RNG = np.random.default_rng(7)


class TestBootstrap:
    def test_every_resampling_draws_as_many_patients_as_there_are(self):
        """10,000 times unless asked otherwise."""
        weights = bootstrap_weights(3)

        assert weights.shape == (10_000, 3)
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

    def test_means_are_those_of_a_loop(self):
        """A resampling's mean is that of the patients drawn, each as often as it was drawn."""
        scores = RNG.random((6, 2))
        scores[4, 1] = np.nan
        weights = bootstrap_weights(6, 50)

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

        np.testing.assert_array_equal(frames, pooled_band(*sums, np.arange(6)))

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
        for weights in bootstrap_weights(4, 200, seed=2):
            times = dict(zip("abcd", weights, strict=True))
            right = sum(times[p] * row for p, row in zip(patients, positives, strict=True))
            voxels = sum(times[p] * row for p, row in zip(patients, counts, strict=True))
            accuracies.append(right / voxels)

        band = pooled_band(positives, counts, patients, resamples=200, coverage=0.7, seed=2)

        np.testing.assert_allclose(band, np.nanquantile(accuracies, [0.15, 0.85], axis=0))
