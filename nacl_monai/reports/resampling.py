"""Patients drawn with replacement: how steady a rank or a curve is where no formula says it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nacl_monai.reports.statistics import COVERAGE

Array = npt.NDArray[np.float64]

RESAMPLES = 10_000


def bootstrap_weights(
    patients: int, resamples: int = RESAMPLES, seed: int | Sequence[int] = 0
) -> Array:
    """How often each patient is drawn in each resampling with replacement, (resamples, patients)."""
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(patients, np.full(patients, 1 / patients), size=resamples)
    return drawn.astype(np.float64)


def bootstrap_ratios(
    numerators: npt.ArrayLike, denominators: npt.ArrayLike, weights: Array
) -> Array:
    """The ratio of two sums over patients in each resampling.

    Args:
        numerators: (patients, columns).
        denominators: (patients, columns).
        weights: From `bootstrap_weights`.

    Returns:
        (resamples, columns); NaN where both sums are 0.
    """
    with np.errstate(invalid="ignore"):
        ratios: Array = (weights @ np.asarray(numerators)) / (weights @ np.asarray(denominators))
    return ratios


def bootstrap_means(scores: Array, weights: Array) -> Array:
    """The mean of each column in each resampling, over the patients in whom it is defined.

    Args:
        scores: (patients, columns); NaN is undefined.
        weights: From `bootstrap_weights`.

    Returns:
        (resamples, columns); NaN where a resampling has no patient with a defined score.
    """
    defined = ~np.isnan(scores)
    return bootstrap_ratios(np.where(defined, scores, 0), defined, weights)


def percentile_interval(samples: Array, coverage: float = COVERAGE) -> Array:
    """The ends of the percentile interval (Efron 1979) of each column, (2, columns).

    Args:
        samples: (resamples, columns), or a single column; NaN does not count.
        coverage: Share of the samples inside the interval.

    Example:
        >>> percentile_interval(np.arange(101.0), coverage=0.9).round(6).tolist()
        [5.0, 95.0]
    """
    ends: Array = np.nanquantile(samples, [(1 - coverage) / 2, (1 + coverage) / 2], axis=0)
    return ends


def pooled_band(
    positives: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    patients: npt.ArrayLike,
    *,
    resamples: int = RESAMPLES,
    coverage: float = COVERAGE,
    seed: int = 0,
) -> tuple[Array, Array]:
    """The percentile band of the pooled accuracy per bin when patients are drawn with replacement.

    Voxels of a case, and cases of a patient, are right or wrong together; hence patients are the
    unit that is drawn. Resamplings that leave a bin empty do not count for that bin.

    Args:
        positives: Correct voxels per case and bin, (N, M).
        counts: Voxels per case and bin, (N, M).
        patients: The patient of each case, (N,).
        resamples: Number of resamplings.
        coverage: Share of the resamplings inside the band.
        seed: The seed of the random generator.

    Returns:
        Lower and upper end per bin, (M,); NaN where a bin has no voxels.
    """
    names, patient = np.unique(patients, return_inverse=True)
    member = np.arange(len(names))[:, None] == patient
    weights = bootstrap_weights(len(names), resamples, seed)
    accuracy = bootstrap_ratios(member @ positives, member @ counts, weights)
    used = counts.sum(axis=0) > 0
    band = np.full((2, counts.shape[1]), np.nan)
    band[:, used] = percentile_interval(accuracy[:, used], coverage)
    return band[0], band[1]
