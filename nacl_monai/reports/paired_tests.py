"""Is one method better than another, and by how much: paired tests and what they decide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import rankdata, wilcoxon

from nacl_monai.reports.columns import METRICS, metric_of
from nacl_monai.reports.statistics import Estimate, cells_of, estimate

Array = npt.NDArray[np.float64]

#: A test whose corrected p is below this decides.
SIGNIFICANCE = 0.05
#: Digits of a score that count in ranks: ``cases.csv`` has as many, and the rest is rounding.
DIGITS = 6

BETTER, WORSE = "better", "worse"
SLIGHTLY = "slightly "
EQUIVALENT = "equivalent"
TOO_FEW = "too few patients"
CANNOT_TELL = "cannot tell"
#: All that a test can decide about the reference.
DECISIONS = (
    *(BETTER, WORSE, SLIGHTLY + BETTER, SLIGHTLY + WORSE),
    *(EQUIVALENT, TOO_FEW, CANNOT_TELL),
)


def paired_tests(scores: pd.DataFrame, reference: str, metric: str) -> pd.DataFrame:
    """Is the reference better than each other method?

    With one training per method the question is whether other patients would say the same of these
    weights: Wilcoxon's signed-rank test over patients. With several it is whether other patients and
    other trainings would: a t test with the two-way error of `nacl_monai.reports.statistics`. Both
    are two-sided. Equivalence is tested by two one-sided t tests against `Metric.margin`. Decisions are
    those of `decided`; the family is the other methods.

    Args:
        scores: From `patient_scores`.
        reference: The column that all others are compared with.
        metric: The metric or column of ``cases.csv`` of the scores.

    Returns:
        One row per other method of which a score pairs with one of the reference, as none does where
        they have no seed in common: ``patients`` with both scores defined and ``trainings``;
        ``difference``, the mean of reference minus other, ``low`` and ``high``, the ends of its 95 %
        interval; ``p`` and ``p_holm``; ``p_equivalent``, corrected; ``effect``, the rank-biserial
        correlation over patients, positive where the reference is better; ``decision``, one of
        `DECISIONS`.
    """
    return decided(undecided_tests(scores, reference, metric), metric)


def undecided_tests(scores: pd.DataFrame, reference: str, metric: str) -> pd.DataFrame:
    """The rows of `paired_tests` with no p corrected, so that several references can be one family."""
    shown = METRICS[metric_of(metric)]
    rows = {}
    differing = (
        scores.drop(columns=reference).rsub(scores[reference], axis=0).dropna(axis=1, how="all")
    )
    for other in differing:
        cells = cells_of(differing[other])
        mean = estimate([cells])
        low, high = mean.interval()
        differences = _patients_differences(cells)
        rows[str(other)] = {
            "patients": mean.patients,
            "trainings": mean.trainings,
            "difference": mean.mean,
            "low": low,
            "high": high,
            "p": _p_value(mean, differences),
            "p_equivalent": mean.p_equivalent(shown.margin),
            "effect": shown.direction * rank_biserial(differences),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")


def decided(tests: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Tests with what they decide as one family.

    Holm's correction (1979) keeps the chance of a single false claim in a column below the level, for
    either question.

    Args:
        tests: Rows of `undecided_tests`, of any references.
        metric: The metric or column of ``cases.csv`` that they are of.
    """
    if tests.empty:
        return tests
    table = tests.copy()
    table.insert(list(table).index("p") + 1, "p_holm", _holm(table["p"]))
    table["p_equivalent"] = _holm(table["p_equivalent"])
    direction = METRICS[metric_of(metric)].direction
    better = np.sign(table["effect"]) * (table["effect"] * table["difference"] * direction > 0)
    table["decision"] = [
        _decision(row, int(sign), len(table))
        for sign, row in zip(better, table.to_dict("records"), strict=True)
    ]
    return table


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


def smallest_p(patients: int, rivals: int) -> float:
    """The smallest p that Wilcoxon's test can give after Holm's correction, whatever the scores.

    All differences have one sign in 2 of :math:`2^n` equally likely patterns.

    Example:
        >>> smallest_p(7, 7)
        0.109375
    """
    return min(1.0, rivals * 2.0 ** (1 - patients))


def _patients_differences(cells: Array) -> Array:
    """Each patient's mean over the trainings, so rounded that equal differences are ties."""
    defined = cells[~np.isnan(cells).all(axis=1)]
    means: Array = np.atleast_1d(np.nanmean(defined, axis=1)) if len(defined) else np.zeros(0)
    return means.round(DIGITS)


def _p_value(mean: Estimate, differences: Array) -> float:
    if mean.trainings > 1:
        return mean.p_different()
    return float(wilcoxon(differences).pvalue) if differences.any() else 1.0


def _holm(p: pd.Series[float]) -> Array:
    """Corrected p-values; a test that could not be made decides nothing.

    Of M values the k-th smallest is multiplied by M + 1 − k, and none is below a smaller one's. The
    well-known function for it collects Python's garbage at every call, which takes a third of a second
    beside MONAI: a minute for the claims of one dataset.
    """
    values = p.fillna(1.0).to_numpy()
    order = values.argsort()
    scaled = np.minimum(1.0, values[order] * np.arange(len(values), 0, -1))
    corrected: Array = np.maximum.accumulate(scaled)[order.argsort()]
    return corrected


def _decision(row: Mapping[Any, Any], sign: int, rivals: int) -> str:
    """What a row of the tests says about the reference; see `DECISIONS`.

    The sign is that of the difference, or 0 where the mean and the ranks disagree about it.
    """
    equivalent = row["p_equivalent"] < SIGNIFICANCE
    if sign and row["p_holm"] < SIGNIFICANCE:
        return (SLIGHTLY if equivalent else "") + (BETTER if sign > 0 else WORSE)
    if equivalent:
        return EQUIVALENT
    if row["trainings"] == 1 and smallest_p(int(row["patients"]), rivals) >= SIGNIFICANCE:
        return TOO_FEW
    return CANNOT_TELL
