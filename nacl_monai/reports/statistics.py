"""How sure the numbers are: intervals, paired tests, effect sizes. The patient is the unit of all.

Cases of a patient belong together, and a training repeated with another seed meets the same
patients again. So each patient has one score per method: the mean over their cases within a run,
then over the runs. Seeds make that score steadier; they do not make more patients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import rankdata, wilcoxon
from statsmodels.stats.multitest import multipletests

from nacl_monai.errors import InputError
from nacl_monai.reports.columns import METRICS, metric_of

Array = npt.NDArray[np.float64]

RESAMPLES = 10_000
#: The share of the resamplings that lies inside an interval or a band.
COVERAGE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over patients, and how far it may be off.

    Attributes:
        mean: Over the patients in whom the score is defined.
        low: Lower end of the bootstrap interval; NaN with fewer than two patients.
        high: Its upper end.
        patients: Number of patients in whom the score is defined.
    """

    mean: float
    low: float
    high: float
    patients: int


def patient_scores(cases: pd.DataFrame, metric: str, by: str = "method") -> pd.DataFrame:
    """One score per patient and method: the mean over the patient's cases, then over the runs.

    Args:
        cases: One row per run and case, with the columns ``seed`` and ``patient``, the metrics, and
            one that tells the methods apart.
        metric: The column of the scores; NaN is undefined.
        by: The column that tells the methods apart.

    Returns:
        One row per patient, one column per method in the order of ``cases``; NaN is undefined.

    Raises:
        InputError: If no run has such a metric, or the methods were tested on different patients.
    """
    if metric not in cases or cases[metric].isna().all():
        raise InputError(f"cases.csv: no column {metric!r}; evaluate the runs again")
    _check_same_patients(cases, by)
    within = cases.groupby([by, "seed", "patient"])[metric].mean()
    scores = within.groupby([by, "patient"]).mean().unstack(by)
    return scores[list(dict.fromkeys(cases[by]))].sort_index()


def _check_same_patients(cases: pd.DataFrame, by: str) -> None:
    tested = cases.groupby(by)["patient"].agg(set)
    for name, patients in tested.items():
        if patients != tested.iloc[0]:
            raise InputError(
                f"{name} and {tested.index[0]} were not tested on the same patients; "
                "evaluate both on the same split"
            )


def bootstrap_weights(patients: int, resamples: int = RESAMPLES, seed: int = 0) -> Array:
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


def interval(
    scores: Sequence[Array],
    *,
    resamples: int = RESAMPLES,
    coverage: float = COVERAGE,
    seed: int = 0,
) -> Interval:
    """The mean over patients with its percentile interval by bootstrap.

    Args:
        scores: One array of patients' scores per dataset. The mean of several datasets is the
            mean of their means, and patients are drawn within each, independently of the others.
        resamples: Number of resamplings.
        coverage: Share of the resamplings inside the interval.
        seed: Of the random generator.

    Example:
        >>> dice = interval([np.array([0.7, 0.8, 0.9, 0.8])])
        >>> round(dice.mean, 2), dice.low < 0.8 < dice.high, dice.patients
        (0.8, True, 4)
    """
    defined = [values[~np.isnan(values)] for values in scores]
    sizes = [len(values) for values in defined]
    if min(sizes) == 0:
        return Interval(np.nan, np.nan, np.nan, sum(sizes))
    mean = float(np.mean([values.mean() for values in defined]))
    if min(sizes) == 1:
        return Interval(mean, np.nan, np.nan, sum(sizes))
    means = [
        bootstrap_means(values[:, None], bootstrap_weights(len(values), resamples, seed + k))
        for k, values in enumerate(defined)
    ]
    low, high = percentile_interval(np.mean(means, axis=0)[:, 0], coverage)
    return Interval(mean, float(low), float(high), sum(sizes))


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
        seed: Of the random generator.

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


def rank_biserial(differences: Array) -> float:
    """The matched-pairs rank-biserial correlation (Kerby 2014).

    The absolute differences are ranked; the share of the ranks that belongs to positive differences
    minus the share of the negative ones is the correlation: 1 if every difference is positive, −1 if
    every one is negative. Zeros are left out before ranking, as in Wilcoxon's test; 0 if none is left.

    Example:
        >>> rank_biserial(np.array([3.0, 2.0, -1.0]))  # (3 + 2 − 1) / 6
        0.6666666666666666
    """
    differences = differences[differences != 0]
    if not len(differences):
        return 0.0
    ranks = rankdata(np.abs(differences))
    return float((np.sign(differences) * ranks).sum() / ranks.sum())


def paired_tests(
    scores: pd.DataFrame, reference: str, metric: str, *, resamples: int = RESAMPLES, seed: int = 0
) -> pd.DataFrame:
    """Is the reference better than each other method, patient by patient?

    Wilcoxon's signed-rank test, two-sided, with Holm's correction (1979) for the number of other
    methods: the chance of a single false claim in the whole column stays below the level.

    Args:
        scores: From `patient_scores`.
        reference: The column that all others are compared with.
        metric: The metric or column of ``cases.csv`` of the scores: tells which end is better.
        resamples: Of the interval.
        seed: Of the interval.

    Returns:
        One row per other method: ``patients`` with both scores defined; ``difference``, the mean
        of reference minus other, ``low`` and ``high``; ``p`` and ``p_holm``; ``effect``, the
        rank-biserial correlation, positive where the reference is better.
    """
    rows = {}
    for other in scores.columns.drop(reference):
        pairs = scores[[reference, other]].dropna()
        differences = (pairs[reference] - pairs[other]).to_numpy()
        mean = interval([differences], resamples=resamples, seed=seed)
        rows[other] = {
            "patients": mean.patients,
            "difference": mean.mean,
            "low": mean.low,
            "high": mean.high,
            "p": float(wilcoxon(differences).pvalue) if differences.any() else 1.0,
            "effect": METRICS[metric_of(metric)].direction * rank_biserial(differences),
        }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")
    if len(table):
        table.insert(5, "p_holm", multipletests(table["p"], method="holm")[1])
    return table
