"""The mean of every metric of every method, with its interval: what tables and figures show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd

from nacl_monai.paper.results import Results
from nacl_monai.reports.statistics import RESAMPLES, interval

KEYS = ["method", "network", "fraction"]


def mean_scores(
    results: Results, columns: Sequence[str], *, resamples: int = RESAMPLES
) -> pd.DataFrame:
    """Means over patients of columns of ``cases.csv``.

    Args:
        results: The runs; those that differ by seed or fold alone are one experiment.
        columns: Of ``cases.csv``; a dataset that lacks one, or has it nowhere defined, has no such
            row.
        resamples: Number of resamplings for the intervals.

    Returns:
        One row per experiment and column: ``dataset``, ``method``, ``network``, ``fraction``,
        ``column``; ``mean``, ``low``, ``high`` and ``patients`` as in
        `nacl_monai.reports.statistics.Interval`; ``seeds``, and ``seed_sd``, the standard deviation
        over the seeds of their means.
    """
    rows = []
    for dataset in results.datasets:
        cases = results.cases(dataset)
        defined = [name for name in columns if name in cases and cases[name].notna().any()]
        for key, group in cases.groupby(KEYS, sort=False):
            by_seed = group.groupby(["seed", "patient"], sort=False)[defined].mean()
            scores = by_seed.groupby("patient").mean()
            over_seeds = by_seed.groupby("seed").mean()
            for column in defined:
                mean = interval([scores[column].to_numpy(np.float64)], resamples=resamples)
                rows.append(
                    {
                        "dataset": dataset,
                        **dict(zip(KEYS, key, strict=True)),
                        "column": column,
                        **asdict(mean),
                        "seeds": len(over_seeds),
                        "seed_sd": float(over_seeds[column].std()),
                    }
                )
    return pd.DataFrame(rows)
