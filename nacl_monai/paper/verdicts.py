"""What the numbers of a dataset say about NACL, in one sentence that the tests decide."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from nacl_monai.paper.names import LOSS_LABELS, dataset_label
from nacl_monai.paper.results import Results
from nacl_monai.paper.tables import label_of
from nacl_monai.reports.columns import METRICS as COLUMNS
from nacl_monai.reports.statistics import paired_tests, patient_scores

METRICS = ("ece_foreground", "cece_foreground", "ece_union", "dice", "hd95")
LEVEL = 0.05


def verdict(results: Results, dataset: str, reference: str = "nacl") -> str:
    """One sentence: NACL's place by each metric, and whom it is better or worse than.

    Better and worse are said only where Wilcoxon's test, Holm-corrected for the methods of a metric,
    is below 5 %.

    Args:
        results: of the main experiment.
        dataset: the one to speak of.
        reference: the method to speak of.
    """
    cases = results.cases(dataset)
    where = f"On {dataset_label(dataset)} ({_trials(cases)})"
    if reference not in set(cases["method"]):
        return f"{where} there is no run of {LOSS_LABELS[reference]} to judge."
    parts = []
    for metric in METRICS:
        if metric in cases and cases[metric].notna().any():
            parts.append(_part(patient_scores(cases, metric), reference, metric))
    return f"{where}, {LOSS_LABELS[reference]}'s {'; its '.join(parts)}."


def _trials(cases: pd.DataFrame) -> str:
    seeds = cases.groupby("method")["seed"].nunique()
    low, high = seeds.min(), seeds.max()
    times = f"{low}" if low == high else f"{low} to {high}"
    plural = "" if high == 1 else "s"
    return f"{cases['patient'].nunique()} test patients, {times} training{plural} per method"


def _part(scores: pd.DataFrame, reference: str, metric: str) -> str:
    means = scores.mean().round(COLUMNS[metric].decimals)
    place = int(means.rank(ascending=not COLUMNS[metric].higher_is_better, method="min")[reference])
    text = f"{COLUMNS[metric].label} of {COLUMNS[metric].text(means[reference])}"
    if len(means) == 1:
        return f"{text} has nothing beside it"
    tests = paired_tests(scores, reference, metric)
    sure = tests["p_holm"] < LEVEL
    groups = {
        "better than": tests.index[sure & (tests["effect"] > 0)],
        "worse than": tests.index[sure & (tests["effect"] < 0)],
        "not told apart from": tests.index[~sure],
    }
    said = [
        f"{words} {'any other' if 2 < len(names) == len(tests) else _listed(list(names))}"
        for words, names in groups.items()
        if len(names)
    ]
    return f"{text} is {_ordinal(place)} of {len(means)}: {', '.join(said)}"


def _listed(names: Sequence[str]) -> str:
    labels = [label_of(name) for name in names]
    return labels[0] if len(labels) == 1 else f"{', '.join(labels[:-1])} and {labels[-1]}"


def _ordinal(place: int) -> str:
    return {1: "the best", 2: "second", 3: "third"}.get(place, f"{place}th")
