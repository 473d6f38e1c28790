"""Who differs from whom, by how much: a forest plot of the paired tests, a panel per dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from nacl_monai.paper.comparisons import Comparison
from nacl_monai.paper.names import dataset_label, method_label
from nacl_monai.reports.columns import METRICS
from nacl_monai.reports.paired_tests import BETTER, EQUIVALENT, SLIGHTLY, WORSE
from nacl_monai.reports.style import (
    OKABE_ITO,
    WIDTH,
    add_caption,
    house_style,
    new_figure,
    panel_grid,
)

#: Most panels side by side.
COLUMNS = 3
#: The color and marker of each kind of decision; whatever is undecided is gray.
STYLES: dict[str, dict[str, Any]] = {
    BETTER: {"color": OKABE_ITO["blue"], "marker": "o"},
    WORSE: {"color": OKABE_ITO["vermillion"], "marker": "s"},
    EQUIVALENT: {"color": OKABE_ITO["green"], "marker": "D"},
    "not decided": {"color": "0.45", "marker": "x"},
}
MARGIN: dict[str, Any] = {"color": "0.92", "zorder": 0}


def draw_forest(comparison: Comparison, metric: str) -> Figure:
    """The difference from each other method with its 95 % interval, and what the tests decide.

    Args:
        comparison: From `nacl_monai.paper.comparisons.compare_methods`.
        metric: One of its metrics.
    """
    tests = comparison.tests[comparison.tests["metric"] == metric]
    groups = list(tests.groupby("dataset", sort=False))
    others = list(dict.fromkeys(tests["method"]))
    lines, columns = panel_grid(len(groups), COLUMNS)
    reference = method_label(comparison.reference)
    shown = METRICS[metric]
    with house_style():
        figure = new_figure(lines * (0.3 * len(others) + 0.9) + 1.3, WIDTH if columns > 1 else 6.5)
        panels = figure.subplots(lines, columns, sharey=True, squeeze=False)
        for axes in panels.flat[len(groups) :]:
            axes.set_axis_off()
        for axes, (dataset, rows) in zip(panels.flat, groups, strict=False):
            _draw_panel(axes, rows, others, shown.margin)
            axes.set_title(dataset_label(str(dataset)))
            axes.set_xlabel(f"Difference of {shown.label}")
        figure.legend(
            handles=_key(shown.margin),
            loc="outside upper center",
            ncols=5,
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


def _draw_panel(axes: Axes, rows: pd.DataFrame, others: list[str], margin: float) -> None:
    """One dataset: a line per other method, the first at the top."""
    axes.axvspan(-margin, margin, **MARGIN)
    axes.axvline(0, color="black", linewidth=1)
    for row in rows.to_dict("records"):
        style = _style(row)
        place = -others.index(row["method"])
        axes.hlines(place, row["low"], row["high"], color=style["color"], linewidth=2)
        axes.plot(row["difference"], place, markersize=7, linestyle="", **style)
    axes.set_yticks([-k for k in range(len(others))], [method_label(name) for name in others])
    axes.set_ylim(-len(others) + 0.4, 0.6)
    axes.grid(visible=False, axis="y")


def _style(row: Mapping[Any, Any]) -> dict[str, Any]:
    """The style of a decision; a slight difference is drawn as a difference."""
    return STYLES.get(row["decision"].removeprefix(SLIGHTLY), STYLES["not decided"])


def _key(margin: float) -> list[Line2D | Patch]:
    marks = [
        Line2D([], [], label=name, linestyle="-", linewidth=2, markersize=7, **style)
        for name, style in STYLES.items()
    ]
    return [*marks, Patch(label=f"less than {margin:g}", color=MARGIN["color"])]
