"""Paired tests of one method against each other one, as a table and as a picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from nacl_monai.evaluations.statistics import (
    BETTER,
    ENOUGH_TRAININGS,
    EQUIVALENT,
    SIGNIFICANCE,
    SLIGHTLY,
    WORSE,
    is_scored,
    paired_tests,
    patient_scores,
    trainings_text,
)
from nacl_monai.evaluations.tables import markdown_table
from nacl_monai.metrics.columns import METRICS, margins_text
from nacl_monai.paper.grid import dataset_label, method_label, read_method
from nacl_monai.paper.results import Results
from nacl_monai.paper.trainings import first_heading
from nacl_monai.reports.style import (
    OKABE_ITO,
    WIDTH,
    add_caption,
    house_style,
    new_figure,
    panel_grid,
)
from nacl_monai.words import counted

#: Most panels side by side.
_COLUMNS = 3
#: The color and marker of each kind of decision; whatever is undecided is gray.
STYLES: dict[str, dict[str, Any]] = {
    BETTER: {"color": OKABE_ITO["blue"], "marker": "o"},
    WORSE: {"color": OKABE_ITO["vermillion"], "marker": "s"},
    EQUIVALENT: {"color": OKABE_ITO["green"], "marker": "D"},
    "not decided": {"color": "0.45", "marker": "x"},
}
_MARGIN: dict[str, Any] = {"color": "0.92", "zorder": 0}


@dataclass(frozen=True)
class Comparison:
    """One method against each other one.

    Attributes:
        reference: The name of the method that the others are compared with.
        tests: The rows of `nacl_monai.evaluations.statistics.paired_tests` behind ``dataset`` and
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
            scores = patient_scores(cases, metric)
            joined = scores[_ensembles(scores.columns)]  # one result beside every seed
            scores = scores.assign(**joined.groupby("patient").transform("first"))
            if reference not in scores or len(scores.columns) < 2:
                continue
            tests = paired_tests(scores, reference, metric).reset_index()
            unpaired |= dict.fromkeys(unpaired_methods(scores, reference))
            parts.append(pd.DataFrame({"dataset": dataset, "metric": metric, **tests}))
    tests = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    return Comparison(reference, tests, list(unpaired))


def unpaired_methods(scores: pd.DataFrame, reference: str) -> list[str]:
    """The methods that have scores, but none of a seed of the reference.

    Args:
        scores: From `nacl_monai.evaluations.statistics.patient_scores`.
        reference: One of their columns.
    """
    seeds = {name: set(scores[name].dropna().index.unique("seed")) for name in scores}
    return [str(name) for name in seeds if seeds[name] and not seeds[name] & seeds[reference]]


def _ensembles(names: Iterable[str]) -> list[str]:
    """Those of some methods that are one result of all seeds."""
    return [name for name in names if read_method(name).joins_seeds]


def comparison_to_markdown(comparison: Comparison, remarks: Sequence[str] = ()) -> str:
    """The paired tests as one table, and how to read it; bold is significant after correction.

    Args:
        comparison: The tests.
        remarks: Sentences on the trainings: `nacl_monai.paper.trainings.remarks`.
    """
    reference = method_label(comparison.reference)
    header = [first_heading("Dataset", remarks), "Metric", f"{reference} against", "Difference"]
    header += ["95 % interval", "p", "p (Holm)", "p (equivalent)", "Effect", f"{reference} is"]
    rows = []
    for row in comparison.tests.to_dict("records"):
        metric, p = METRICS[row["metric"]], _p_value(row["p_holm"])
        names = [dataset_label(row["dataset"]), metric.heading, method_label(row["method"])]
        cells = [metric.text(row["difference"], "+"), metric.interval(row["low"], row["high"])]
        cells += [_p_value(row["p"]), f"**{p}**" if row["p_holm"] < SIGNIFICANCE else p]
        cells += [_p_value(row["p_equivalent"]), f"{row['effect']:+.2f}", row["decision"]]
        rows.append([*names, *cells])
    return f"{markdown_table(header, rows, 'lllrrrrrrl')}\n\n{_notes(comparison)}\n"


def _notes(comparison: Comparison) -> str:
    """The caption that the tests need."""
    tests, reference = comparison.tests, method_label(comparison.reference)
    samples = [_sampled(dataset, rows) for dataset, rows in tests.groupby("dataset", sort=False)]
    margins = margins_text(tests["metric"], reference)
    notes = [
        *samples,
        "Each p is two-sided; Holm's correction is for the other methods of one dataset and metric; "
        f"bold: below {SIGNIFICANCE}. Difference: {reference} minus the other. Equivalent: closer "
        f"than what matters ({margins}) by two one-sided t tests, with the same "
        "correction; slightly: significant and equivalent. Effect: matched-pairs rank-biserial "
        f"correlation over patients, positive where {reference} is better.",
    ]
    if _ensembles(tests["method"]):
        notes.append(
            "An ensemble is one result of all trainings, with which each of them is compared."
        )
    if comparison.unpaired:
        names = " and ".join(map(method_label, comparison.unpaired))
        notes.append(f"Not compared, for want of a seed in common with {reference}: {names}.")
    return " ".join(notes)


def _sampled(dataset: object, rows: pd.DataFrame) -> str:
    """The sampled unit, and the test."""
    patients, trainings = int(rows["patients"].max()), int(rows["trainings"].max())
    label = f"{dataset_label(str(dataset))}: {counted(patients, 'patient')},"
    if trainings < ENOUGH_TRAININGS:
        return (
            f"{label} {trainings_text(trainings, trainings)} per method; Wilcoxon's signed-rank test "
            "and t intervals over patients, which say nothing about another training."
        )
    return (
        f"{label} {trainings} trainings per method; t tests and intervals over both, each method "
        "with the spread of its own trainings."
    )


def _p_value(p: float) -> str:
    if pd.isna(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def draw_forest(comparison: Comparison, metric: str) -> Figure:
    """The difference from each other method with its 95 % interval, and what the tests decide.

    Args:
        comparison: From `nacl_monai.paper.comparisons.compare_methods`.
        metric: One of its metrics.
    """
    tests = comparison.tests[comparison.tests["metric"] == metric]
    groups = list(tests.groupby("dataset", sort=False))
    methods = list(dict.fromkeys(tests["method"]))
    lines, columns = panel_grid(len(groups), _COLUMNS)
    reference = method_label(comparison.reference)
    shown, margin = METRICS[metric], margins_text([metric], reference)
    with house_style():
        width, entries = (WIDTH, 5) if columns > 1 else (6.5, 3)  # of the legend, side by side
        figure = new_figure(lines * (0.3 * len(methods) + 0.9) + 1.0 + 1.5 / entries, width)
        panels = figure.subplots(lines, columns, sharey=True, squeeze=False)
        for axes in panels.flat[len(groups) :]:
            axes.set_axis_off()
        for axes, (dataset, rows) in zip(panels.flat, groups, strict=False):
            _draw_panel(axes, rows, methods)
            axes.set_title(dataset_label(str(dataset)))
            axes.set_xlabel(f"Difference of {shown.label}")
        marks = [
            Line2D([], [], label=name, linestyle="-", linewidth=2, markersize=7, **style)
            for name, style in STYLES.items()
        ]
        figure.legend(
            handles=[*marks, Patch(label=f"less than {margin}", color=_MARGIN["color"])],
            loc="outside upper center",
            ncols=entries,
            columnspacing=1.2,
            handlelength=1.6,
        )
        better = "right" if shown.higher_is_better else "left"
        add_caption(
            figure,
            f"{shown.label} of {reference} minus that of each other method, with its 95 % interval; "
            f"further {better} is better for {reference}. Corrected for the methods of a panel.",
        )
    return figure


def _draw_panel(axes: Axes, rows: pd.DataFrame, methods: list[str]) -> None:
    """One dataset: a line per other method, the first at the top."""
    margin = rows["margin"].min()
    axes.axvspan(-margin, margin, **_MARGIN)
    axes.axvline(0, color="black", linewidth=1)
    for row in rows.to_dict("records"):
        decision = row["decision"].removeprefix(SLIGHTLY)  # drawn as a difference
        style = STYLES.get(decision, STYLES["not decided"])
        place = -methods.index(row["method"])
        axes.hlines(place, row["low"], row["high"], color=style["color"], linewidth=2)
        axes.plot(row["difference"], place, markersize=7, linestyle="", **style)
    axes.set_yticks([-k for k in range(len(methods))], [method_label(name) for name in methods])
    axes.set_ylim(-len(methods) + 0.4, 0.6)
    axes.grid(visible=False, axis="y")
