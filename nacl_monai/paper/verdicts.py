"""What the numbers of a dataset say about NACL, in one sentence that the tests decide."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from nacl_monai.paper.comparisons import SIGNIFICANCE
from nacl_monai.paper.grid import PROPOSED
from nacl_monai.paper.names import dataset_label, method_label
from nacl_monai.paper.results import Results
from nacl_monai.reports.columns import METRICS
from nacl_monai.reports.statistics import paired_tests, patient_scores

#: Metrics by which a method is judged, in the order of the sentence.
JUDGED = ("ece_foreground", "cece_foreground", "ece_union", "dice", "hd95")


def verdict(results: Results, dataset: str) -> str:
    """One sentence: NACL's place by each metric, and which losses it is better or worse than.

    It is called better or worse only where Wilcoxon's test, Holm-corrected for the methods of a
    metric, is below 5 %.

    Args:
        results: Of the main tables.
        dataset: The dataset that the sentence is about.
    """
    cases = results.cases(dataset)
    subject = method_label(PROPOSED)
    place = f"On {dataset_label(dataset)} ({_trials(cases)})"
    if PROPOSED not in set(cases["method"]):
        return f"{place} there is no run of {subject} to judge."
    parts = [
        _part(patient_scores(cases, metric), metric)
        for metric in JUDGED
        if metric in cases and cases[metric].notna().any()
    ]
    return f"{place}, {subject}'s {'; its '.join(parts)}."


def _trials(cases: pd.DataFrame) -> str:
    """How many patients and trainings there are."""
    seeds = cases.groupby("method")["seed"].nunique()
    low, high = seeds.min(), seeds.max()
    times = f"{low}" if low == high else f"{low} to {high}"
    plural = "" if high == 1 else "s"
    return f"{cases['patient'].nunique()} test patients, {times} training{plural} per method"


def _part(scores: pd.DataFrame, metric: str) -> str:
    """The part of the sentence about one metric."""
    shown = METRICS[metric]
    means = scores.mean().round(shown.decimals)
    place = int(means.rank(ascending=not shown.higher_is_better, method="min")[PROPOSED])
    text = f"{shown.label} of {shown.text(means[PROPOSED])}"
    if len(means) == 1:
        return f"{text} has nothing beside it"
    tests = paired_tests(scores, PROPOSED, metric)
    sure = tests["p_holm"] < SIGNIFICANCE
    groups = {
        "better than": tests.index[sure & (tests["effect"] > 0)],
        "worse than": tests.index[sure & (tests["effect"] < 0)],
        "not told apart from": tests.index[~sure],
    }
    clauses = [
        f"{words} {'any other' if 2 < len(names) == len(tests) else _listed(list(names))}"
        for words, names in groups.items()
        if len(names)
    ]
    return f"{text} is {_ordinal(place)} of {len(means)}: {', '.join(clauses)}"


def _listed(names: Sequence[str]) -> str:
    labels = [method_label(name) for name in names]
    return labels[0] if len(labels) == 1 else f"{', '.join(labels[:-1])} and {labels[-1]}"


def _ordinal(place: int) -> str:
    return {1: "the best", 2: "second", 3: "third"}.get(place, f"{place}th")
