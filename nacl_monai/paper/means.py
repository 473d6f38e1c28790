"""The mean of every metric of every method, with its interval: what tables and figures show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from nacl_monai.paper.results import Results
from nacl_monai.reports.statistics import Estimate, cells_of, estimate, is_scored

KEYS = ["method", "network", "fraction"]


def mean_scores(results: Results, columns: Sequence[str]) -> pd.DataFrame:
    """Means over patients of columns of ``cases.csv``.

    Args:
        results: The runs; those that differ only by seed or fold are one experiment.
        columns: Those of ``cases.csv``; a dataset that lacks one, or has it nowhere defined, has no such
            row.

    Returns:
        One row per experiment and column: ``dataset``, ``method``, ``network``, ``fraction``,
        ``column``; ``mean``, and ``low`` and ``high``, the ends of its 95 % interval; ``patients`` in
        whom it is defined; ``seeds``, and ``seed_sd``, the standard deviation over them.
    """
    rows = []
    for dataset in results.datasets:
        cases = results.cases(dataset)
        defined = [name for name in columns if is_scored(cases, name)]
        rows += [
            {"dataset": dataset, **dict(zip(KEYS, key, strict=True)), **row}
            for key, group in cases.groupby(KEYS, sort=False)
            for row in _means(group, defined)
        ]
    return pd.DataFrame(rows)


def _means(cases: pd.DataFrame, columns: list[str]) -> Iterator[dict[str, Any]]:
    """The means of one experiment, a row per column."""
    scores = cases.groupby(["patient", "seed"])[columns].mean()
    over_seeds = scores.groupby("seed").mean()
    for column in columns:
        yield {
            "column": column,
            **mean_columns(estimate([cells_of(scores[column])])),
            "seed_sd": float(over_seeds[column].std()),
        }


def mean_columns(mean: Estimate) -> dict[str, float]:
    """The columns of a mean in a table, with the ends of its 95 % interval."""
    low, high = mean.interval()
    return {
        "mean": mean.mean,
        "low": low,
        "high": high,
        "patients": mean.patients,
        "seeds": mean.trainings,
    }
