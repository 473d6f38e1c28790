"""The mean of every metric of every method, with its interval: what tables and figures show."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from nacl_monai.paper.results import Results
from nacl_monai.reports.statistics import Estimate, cells_of, estimate

KEYS = ["method", "network", "fraction"]


def mean_scores(results: Results, columns: Sequence[str]) -> pd.DataFrame:
    """Means over patients of columns of ``cases.csv``.

    Args:
        results: The runs; those that differ by seed or fold alone are one experiment.
        columns: Of ``cases.csv``; a dataset that lacks one, or has it nowhere defined, has no such
            row.

    Returns:
        One row per experiment and column: ``dataset``, ``method``, ``network``, ``fraction``,
        ``column``; ``mean``, and ``low`` and ``high``, the ends of its 95 % interval; ``patients`` in
        whom it is defined; ``seeds``, and ``seed_sd``, the standard deviation over them.
    """
    rows = []
    for dataset in results.datasets:
        cases = results.cases(dataset)
        defined = [name for name in columns if name in cases and cases[name].notna().any()]
        for key, group in cases.groupby(KEYS, sort=False):
            scores = group.groupby(["patient", "seed"])[defined].mean()
            over_seeds = scores.groupby("seed").mean()
            rows += [
                {
                    "dataset": dataset,
                    **dict(zip(KEYS, key, strict=True)),
                    "column": column,
                    **mean_columns(estimate([cells_of(scores[column])])),
                    "seed_sd": float(over_seeds[column].std()),
                }
                for column in defined
            ]
    return pd.DataFrame(rows)


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
