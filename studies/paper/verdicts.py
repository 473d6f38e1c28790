"""The tests on each dataset, in three sentences."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from nacl_monai.evaluations.statistics import (
    BETTER,
    CANNOT_TELL,
    ENOUGH_TRAININGS,
    EQUIVALENT,
    SLIGHTLY,
    TOO_FEW,
    WORSE,
    is_scored,
    paired_tests,
    patient_scores,
    trainings_text,
)
from nacl_monai.metrics.columns import METRICS
from nacl_monai.paper.comparisons import unpaired_methods
from nacl_monai.paper.grid import PROPOSED, dataset_label, method_label
from nacl_monai.paper.results import Results
from nacl_monai.words import counted

#: Metrics by which a method is judged, a sentence each; the forest plots show the others.
JUDGED = ("ece_foreground", "dice")
#: The words for the methods in each kind of decision.
WORDS = {
    BETTER: "better than {}",
    WORSE: "worse than {}",
    EQUIVALENT: "as good as {}",
    CANNOT_TELL: "not told apart from {}",
    TOO_FEW: "with too few patients to tell it from {}",
}
ORDINALS = {1: "best", 2: "second", 3: "third"}
#: Up to so many methods are named; more are counted.
NAMED = 2


def verdict(results: Results, dataset: str) -> str:
    """NACL's place by calibration and by segmentation, and what the data are.

    It is called better, worse or as good only where a test decides so, corrected for the methods of
    a metric; see `nacl_monai.evaluations.statistics`.

    Args:
        results: The results of the main tables.
        dataset: The dataset that the sentences are about.
    """
    cases = results.cases(dataset)
    subject, place = method_label(PROPOSED), f"On {dataset_label(dataset)}"
    if PROPOSED not in set(cases["method"]):
        return f"{place} there is no run of {subject} to judge."
    sentences = [
        f"{whose} {_place(patient_scores(cases, metric), metric)}."
        for whose, metric in zip((f"{place}, {subject}'s", "Its"), JUDGED, strict=True)
        if is_scored(cases, metric)
    ]
    return " ".join([*sentences, f"The data: {_sample(cases)}."])


def _sample(cases: pd.DataFrame) -> str:
    """How many patients and trainings there are, and what follows from few."""
    seeds = cases.groupby("method")["seed"].nunique()
    low, high = seeds.min(), seeds.max()
    patients = counted(cases["patient"].nunique(), "test patient")
    few = ", so another training may differ" if high < ENOUGH_TRAININGS else ""
    return f"{patients}, {trainings_text(low, high)} per method{few}"


def _place(scores: pd.DataFrame, metric: str) -> str:
    """NACL's value and place by one metric, and whom it is better than."""
    shown = METRICS[metric]
    means = scores.groupby("patient").mean().mean().round(shown.decimals)
    place = int(means.rank(ascending=not shown.higher_is_better, method="min")[PROPOSED])
    text = f"{shown.label} is {shown.text(means[PROPOSED])}"
    if len(means) == 1:
        return f"{text}, with nothing beside it"
    tests = paired_tests(scores, PROPOSED, metric)
    if tests.empty:
        return f"{text}, and nothing beside it was trained with the same seed"
    decisions = tests["decision"].str.removeprefix(SLIGHTLY)
    named = {
        text: [str(name) for name in decisions.index[decisions == decision]]
        for decision, text in WORDS.items()
    }
    named["not compared with {}"] = unpaired_methods(scores, PROPOSED)
    clauses = [
        text.format(_listed(names, len(means) - 1)) for text, names in named.items() if names
    ]
    return f"{text}, {ORDINALS.get(place, f'{place}th')} of {len(means)}: {', '.join(clauses)}"


def _listed(names: Sequence[str], rest: int) -> str:
    """Few methods by name, many by number."""
    if len(names) == rest > 1:
        return "every other method"
    if len(names) > NAMED:
        return f"{len(names)} methods"
    return " and ".join(method_label(name) for name in names)
