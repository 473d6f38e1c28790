"""How sure the numbers are: intervals, paired tests, effect sizes. Patients are the unit of all.

Volumes of a patient belong together, and a training repeated with another seed meets the same
patients again. So each patient has one score per method: the mean over its volumes within a run,
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
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over patients, and how far it may be off.

    Attributes:
        mean: over the patients in whom the score is defined.
        low: lower end of the bootstrap interval; NaN with fewer than two patients.
        high: its upper end.
        patients: number of patients in whom the score is defined.
    """

    mean: float
    low: float
    high: float
    patients: int


def patient_scores(cases: pd.DataFrame, metric: str, by: str = "method") -> pd.DataFrame:
    """One score per patient and method: the mean over its volumes, then over the runs.

    Args:
        cases: from `nacl_monai.paper.results.Results.cases`.
        metric: one of its columns.
        by: the column that tells the methods apart.

    Returns:
        One row per patient, one column per method in the order of ``cases``; NaN is undefined.

    Raises:
        InputError: a run has no such metric, or the methods were tested on different patients.
    """
    if metric not in cases or cases[metric].isna().all():
        raise InputError(f"cases.csv: no column {metric!r}; evaluate the runs again")
    within = cases.groupby([by, "seed", "patient"], sort=False)[metric].mean()
    scores = within.groupby([by, "patient"], sort=False).mean().unstack(by)
    scores = scores[list(dict.fromkeys(cases[by]))].sort_index()
    tested = cases.groupby(by)["patient"].agg(set)
    for name, patients in tested.items():
        if patients != tested.iloc[0]:
            raise InputError(
                f"{name} and {tested.index[0]} were not tested on the same patients; "
                "evaluate both on the same split"
            )
    return scores


def bootstrap_weights(patients: int, resamples: int = RESAMPLES, seed: int = 0) -> Array:
    """How often each patient is drawn in each resampling with replacement, (resamples, patients)."""
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(patients, np.full(patients, 1 / patients), size=resamples)
    return drawn.astype(np.float64)


def bootstrap_means(scores: Array, weights: Array) -> Array:
    """The mean of each column in each resampling, over the patients in whom it is defined.

    Args:
        scores: (patients, columns); NaN is undefined.
        weights: from `bootstrap_weights`.

    Returns:
        (resamples, columns); NaN where a resampling has no patient with a defined score.
    """
    defined = ~np.isnan(scores)
    with np.errstate(invalid="ignore"):
        means: Array = (weights @ np.where(defined, scores, 0)) / (weights @ defined)
    return means


def interval(
    scores: Sequence[Array], *, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0
) -> Interval:
    """Mean over patients with its percentile interval by bootstrap (Efron 1979).

    Args:
        scores: one array of patients' scores per dataset. The mean of several datasets is the
            mean of their means, and patients are drawn within each.
        resamples: number of resamplings.
        level: probability inside the interval.
        seed: of the random generator.

    Example:
        >>> found = interval([np.array([0.7, 0.8, 0.9, 0.8])])
        >>> round(found.mean, 2), found.low < 0.8 < found.high, found.patients
        (0.8, True, 4)
    """
    kept = [values[~np.isnan(values)] for values in scores]
    n = sum(len(values) for values in kept)
    if not all(len(values) for values in kept):
        return Interval(np.nan, np.nan, np.nan, n)
    mean = float(np.mean([values.mean() for values in kept]))
    if min(len(values) for values in kept) < 2:
        return Interval(mean, np.nan, np.nan, n)
    means = np.mean(
        [
            bootstrap_means(values[:, None], bootstrap_weights(len(values), resamples, seed + k))
            for k, values in enumerate(kept)
        ],
        axis=0,
    )
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high), n)


def rank_biserial(differences: Array) -> float:
    """The matched-pairs rank-biserial correlation (Kerby 2014).

    Of all ranks of the absolute differences, the share of the positive minus that of the negative:
    1 if every difference is positive, −1 if every one is negative; zeros are left out, as in
    Wilcoxon's test, and 0 is what is left of nothing.

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
        scores: from `patient_scores`.
        reference: the column that all others are compared with.
        metric: tells whether more is better, by its name before the first "_".
        resamples: of the interval.
        seed: of the interval.

    Returns:
        One row per other method: ``patients`` with both scores defined; ``difference``, the mean
        of reference minus other, ``low`` and ``high``; ``p`` and ``p_holm``; ``effect``, the
        rank-biserial correlation, positive where the reference is better.
    """
    sign = 1 if METRICS[metric_of(metric)].higher_is_better else -1
    rows = {}
    for other in scores.columns.drop(reference):
        pairs = scores[[reference, other]].dropna()
        differences = (pairs[reference] - pairs[other]).to_numpy()
        found = interval([differences], resamples=resamples, seed=seed)
        rows[other] = {
            "patients": found.patients,
            "difference": found.mean,
            "low": found.low,
            "high": found.high,
            "p": float(wilcoxon(differences).pvalue) if differences.any() else 1.0,
            "effect": sign * rank_biserial(differences),
        }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")
    if len(table):
        table.insert(5, "p_holm", multipletests(table["p"], method="holm")[1])
    return table
