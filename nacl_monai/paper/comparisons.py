"""Paired tests of one method against each other one, and how they are printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from nacl_monai.paper.names import dataset_label, method_label
from nacl_monai.paper.results import Results
from nacl_monai.reports.columns import METRICS
from nacl_monai.reports.statistics import RESAMPLES, paired_tests, patient_scores
from nacl_monai.reports.tables import markdown_table

#: A test whose corrected p is below this tells two methods apart.
SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Comparison:
    """One method against each other one.

    Attributes:
        reference: The name of the method that the others are compared with.
        tests: The rows of `nacl_monai.reports.statistics.paired_tests` behind ``dataset`` and
            ``metric``; none for a dataset on which only one method was run.
    """

    reference: str
    tests: pd.DataFrame


def compare_methods(
    results: Results, metrics: Sequence[str], reference: str, *, resamples: int = RESAMPLES
) -> Comparison:
    """Tests a method against each other one, per dataset and metric.

    Args:
        results: The runs.
        metrics: Columns of ``cases.csv``.
        reference: The name of a method.
        resamples: Number of resamplings for the intervals.
    """
    parts = []
    for dataset in results.datasets:
        cases = results.cases(dataset)
        for metric in metrics:
            scores = patient_scores(cases, metric)
            if reference not in scores or len(scores.columns) < 2:
                continue
            tests = paired_tests(scores, reference, metric, resamples=resamples).reset_index()
            tests.insert(0, "metric", metric)
            tests.insert(0, "dataset", dataset)
            parts.append(tests)
    return Comparison(reference, pd.concat(parts, ignore_index=True) if parts else pd.DataFrame())


def comparison_to_markdown(comparison: Comparison) -> str:
    """The paired tests as one table; bold is significant after Holm's correction."""
    reference = method_label(comparison.reference)
    header = ["Dataset", "Metric", f"{reference} against", "Difference", "95 % interval"]
    header += ["p", "p (Holm)", "Effect", "Patients"]
    rows = []
    for row in comparison.tests.to_dict("records"):
        metric, p = METRICS[row["metric"]], _p_value(row["p_holm"])
        low, high = (metric.text(row[end], "+") for end in ("low", "high"))
        rows.append(
            [
                dataset_label(row["dataset"]),
                metric.heading,
                method_label(row["method"]),
                metric.text(row["difference"], "+"),
                f"[{low}, {high}]",
                _p_value(row["p"]),
                f"**{p}**" if row["p_holm"] < SIGNIFICANCE else p,
                f"{row['effect']:+.2f}",
                str(row["patients"]),
            ]
        )
    return (
        f"{markdown_table(header, rows, 'lllrrrrrr')}\n\n"
        "Wilcoxon's signed-rank test over patients, two-sided; Holm's correction for the methods of "
        f"a column; bold: below {SIGNIFICANCE}. Difference: {reference} minus the other, its interval "
        "by bootstrap over patients. Effect: matched-pairs rank-biserial correlation, positive where "
        f"{reference} is better.\n"
    )


def _p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
