"""Paired tests of one method against each other one, and how they are printed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from nacl_monai.counting import counted
from nacl_monai.paper.grid import read_method
from nacl_monai.paper.names import dataset_label, method_label
from nacl_monai.paper.results import Results
from nacl_monai.reports.columns import METRICS
from nacl_monai.reports.paired_tests import SIGNIFICANCE, paired_tests
from nacl_monai.reports.statistics import is_scored, patient_scores
from nacl_monai.reports.tables import markdown_table


@dataclass(frozen=True)
class Comparison:
    """One method against each other one.

    Attributes:
        reference: The name of the method that the others are compared with.
        tests: The rows of `nacl_monai.reports.paired_tests.paired_tests` behind ``dataset`` and
            ``metric``; none for a dataset on which only one method was run.
        unpaired: Other methods that have no seed in common with it on a dataset.
    """

    reference: str
    tests: pd.DataFrame
    unpaired: Sequence[str] = ()


def compare_methods(results: Results, metrics: Sequence[str], reference: str) -> Comparison:
    """Tests a method against each other one, per dataset and metric.

    An ensemble is one result of all seeds: each training of the other method is compared with it.

    Args:
        results: The runs.
        metrics: Columns of ``cases.csv``; a dataset need not have all.
        reference: The name of a method.
    """
    parts = []
    unpaired: dict[str, None] = {}
    for dataset in results.datasets:
        cases = results.cases(dataset)
        for metric in (name for name in metrics if is_scored(cases, name)):
            scores = _with_ensembles(patient_scores(cases, metric))
            if reference not in scores or len(scores.columns) < 2:
                continue
            tests = paired_tests(scores, reference, metric).reset_index()
            unpaired |= dict.fromkeys(unpaired_methods(scores, reference))
            tests.insert(0, "metric", metric)
            tests.insert(0, "dataset", dataset)
            parts.append(tests)
    tests = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    return Comparison(reference, tests, list(unpaired))


def unpaired_methods(scores: pd.DataFrame, reference: str) -> list[str]:
    """The methods that have scores, and none of a seed of the reference.

    Args:
        scores: From `nacl_monai.reports.statistics.patient_scores`.
        reference: One of their columns.
    """
    seeds = {name: set(scores[name].dropna().index.unique("seed")) for name in scores}
    return [str(name) for name in seeds if seeds[name] and not seeds[name] & seeds[reference]]


def _with_ensembles(scores: pd.DataFrame) -> pd.DataFrame:
    """The scores of the patients, those of ensembles beside every seed."""
    joined = scores[_ensembles(scores.columns)]
    return scores.assign(**joined.groupby("patient").transform("first"))


def _ensembles(names: Iterable[str]) -> list[str]:
    """Those of some methods that are one result of all seeds."""
    return [name for name in names if read_method(name).joins_seeds]


def comparison_to_markdown(comparison: Comparison) -> str:
    """The paired tests as one table, and how to read it; bold is significant after correction."""
    reference = method_label(comparison.reference)
    header = ["Dataset", "Metric", f"{reference} against", "Difference", "95 % interval", "p"]
    header += ["p (Holm)", "p (equivalent)", "Effect", f"{reference} is"]
    rows = []
    for row in comparison.tests.to_dict("records"):
        metric, p = METRICS[row["metric"]], _p_value(row["p_holm"])
        rows.append(
            [
                dataset_label(row["dataset"]),
                metric.heading,
                method_label(row["method"]),
                metric.text(row["difference"], "+"),
                metric.interval(row["low"], row["high"]),
                _p_value(row["p"]),
                f"**{p}**" if row["p_holm"] < SIGNIFICANCE else p,
                _p_value(row["p_equivalent"]),
                f"{row['effect']:+.2f}",
                row["decision"],
            ]
        )
    return f"{markdown_table(header, rows, 'lllrrrrrrl')}\n\n{_notes(comparison)}\n"


def _notes(comparison: Comparison) -> str:
    """What the reader must know to read the tests rightly."""
    tests, reference = comparison.tests, method_label(comparison.reference)
    samples = [_sample(dataset, rows) for dataset, rows in tests.groupby("dataset", sort=False)]
    margins = [
        f"{METRICS[name].margin:g} of {METRICS[name].label}" for name in tests["metric"].unique()
    ]
    of_ensembles = (
        " An ensemble is one result of all trainings, with which each of them is compared."
        if _ensembles(tests["method"])
        else ""
    )
    return (
        f"{' '.join(samples)} Each p is two-sided; Holm's correction is for the other methods of one "
        f"dataset and metric; bold: below {SIGNIFICANCE}. Difference: {reference} minus the other. "
        f"Equivalent: closer than what matters ({', '.join(margins)}) by two one-sided t tests, with "
        "the same correction; slightly: significant and equivalent. Effect: matched-pairs "
        f"rank-biserial correlation over patients, positive where {reference} is better."
        f"{of_ensembles}{_note_on_unpaired(comparison)}"
    )


def _note_on_unpaired(comparison: Comparison) -> str:
    names = " and ".join(method_label(name) for name in comparison.unpaired)
    reference = method_label(comparison.reference)
    return (
        f" Not compared, for want of a seed in common with {reference}: {names}." if names else ""
    )


def _sample(dataset: object, rows: pd.DataFrame) -> str:
    """What was sampled, and by which test."""
    patients, trainings = int(rows["patients"].max()), int(rows["trainings"].max())
    label = f"{dataset_label(str(dataset))}: {counted(patients, 'patient')},"
    if trainings == 1:
        return (
            f"{label} one training per method; Wilcoxon's signed-rank test and t intervals over "
            "patients, which say nothing about another training."
        )
    return f"{label} {trainings} trainings per method; t tests and intervals over both."


def _p_value(p: float) -> str:
    if pd.isna(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
