"""Which method is best over many scores at once, and how often chance would crown another.

Two rules of MICCAI challenges, as in the paper's figure 2. *Sum-rank* (Mendrik et al. 2015) ranks
the methods by their means, once per dataset, target and metric. *Mean-case-rank* (Maier et al.
2017) ranks them anew in every patient. Both average ranks; 1 is best, ties share theirs.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import rankdata

from nacl_monai.reports.columns import METRICS, metric_of
from nacl_monai.reports.statistics import bootstrap_means, bootstrap_weights

Array = npt.NDArray[np.float64]

RESAMPLES = 2000
RULES = ("sum-rank", "mean-case-rank")
GLOBAL = "global"

#: Patients' scores (patients, methods) of each (dataset, column of cases.csv).
Scores = Mapping[tuple[str, str], pd.DataFrame]


def rank_methods(scores: Scores, *, resamples: int = RESAMPLES, seed: int = 0) -> pd.DataFrame:
    """Mean ranks by both rules, per metric and over all metrics, with their stability.

    Patients are resampled within each dataset, the same ones for all its scores, and everything
    is ranked again. A metric weighs the same in the global rank however many targets it has.

    Args:
        scores: from `nacl_monai.reports.statistics.patient_scores`; the metric is the column's name
            before the first "_".
        resamples: number of resamplings.
        seed: of the random generator.

    Returns:
        One row per ``rule``, ``metric`` ("global" too) and ``method``: ``rank``; ``low`` and
        ``high``, its 95 % bootstrap interval; ``wins``, the share of the resamplings in which the
        method has the best rank, shared in a tie.
    """
    methods = list(next(iter(scores.values())).columns)
    datasets = dict.fromkeys(dataset for dataset, _ in scores)
    patients = {
        dataset: pd.Index(
            sorted(
                set().union(*(table.index for (of, _), table in scores.items() if of == dataset))
            )
        )
        for dataset in datasets
    }
    weights = {
        dataset: np.vstack(
            [np.ones(len(names)), bootstrap_weights(len(names), resamples, seed + k)]
        )
        for k, (dataset, names) in enumerate(patients.items())
    }
    ranks: dict[str, dict[str, list[Array]]] = {rule: {} for rule in RULES}
    for (dataset, column), table in scores.items():
        metric = metric_of(column)
        values = table.reindex(patients[dataset]).to_numpy(np.float64)
        if METRICS[metric].higher_is_better:
            values = -values
        of = weights[dataset]
        by_mean = rankdata(bootstrap_means(values, of), axis=1, nan_policy="omit")
        by_case = bootstrap_means(_case_ranks(values), of)
        for rule, found in zip(RULES, (by_mean, by_case), strict=True):
            ranks[rule].setdefault(metric, []).append(found)
    rows = []
    for rule, metrics in ranks.items():
        means = {metric: np.mean(found, axis=0) for metric, found in metrics.items()}
        for metric, found in {GLOBAL: np.mean(list(means.values()), axis=0), **means}.items():
            rows += _rows(rule, metric, methods, found)
    return pd.DataFrame(rows)


def _case_ranks(values: Array) -> Array:
    """Ranks within each patient; a patient in whom a method's score is undefined ranks nobody."""
    ranks = rankdata(np.nan_to_num(values), axis=1)
    ranks[np.isnan(values).any(axis=1)] = np.nan
    return np.asarray(ranks, dtype=np.float64)


def _rows(rule: str, metric: str, methods: list[str], ranks: Array) -> list[dict[str, object]]:
    """The first row of ``ranks`` is of the patients as they are, the others are resamplings.

    A resampling in which a method has no score at all crowns nobody.
    """
    drawn = ranks[1:]
    drawn = drawn[~np.isnan(drawn).any(axis=1)]
    best = np.isclose(drawn, drawn.min(axis=1, keepdims=True))
    wins = (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    return [
        {
            "rule": rule,
            "metric": metric,
            "method": method,
            "rank": float(ranks[0, k]),
            "low": float(low[k]),
            "high": float(high[k]),
            "wins": float(wins[k]),
        }
        for k, method in enumerate(methods)
    ]
