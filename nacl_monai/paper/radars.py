"""Figures 1 and 6: radars with a spoke per method, and lines around them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from nacl_monai.menus import choose_loss
from nacl_monai.metrics.columns import METRICS
from nacl_monai.paper.figures import SHOWN
from nacl_monai.paper.grid import (
    PAPER_LOSSES,
    Grid,
    dataset_label,
    loss_label,
    method,
    method_label,
    symbol,
)
from nacl_monai.paper.results import Results
from nacl_monai.paper.tables import mean_scores
from nacl_monai.reports.style import OKABE_ITO, WIDTH, add_caption, house_style, new_figure

#: Most radars side by side.
_COLUMNS = 3
_Style = Mapping[str, Any]
#: The lines of figure 1.
METRIC_STYLES: dict[str, _Style] = {
    "dice": {"color": OKABE_ITO["blue"], "marker": "o", "linestyle": "-"},
    "ece_foreground": {"color": OKABE_ITO["vermillion"], "marker": "s", "linestyle": "--"},
}
#: The lines of figure 6, by the place of the value in the sweep.
SWEEP_STYLES: dict[str, _Style] = {
    "HP1": {"color": OKABE_ITO["blue"], "marker": "o", "linestyle": "-"},
    "HP2": {"color": OKABE_ITO["orange"], "marker": "s", "linestyle": "--"},
    "HP3": {"color": OKABE_ITO["green"], "marker": "^", "linestyle": ":"},
}


def new_radars(
    datasets: Sequence[str], kinds: Sequence[str], height: float, margin: float
) -> tuple[Figure, dict[tuple[str, str], Axes]]:
    """Empty radars in rows of at most `_COLUMNS`, the kinds of a dataset below each other.

    Args:
        datasets: One radar of each kind for each.
        kinds: Such as the metrics.
        height: Height of a row of radars, in inches.
        margin: For legend and caption, in inches.

    Returns:
        The figure, and its radars by dataset and kind.
    """
    columns = min(len(datasets), _COLUMNS)
    rows = len(kinds) * math.ceil(len(datasets) / columns)
    figure = new_figure(rows * height + margin, WIDTH if columns > 1 else WIDTH * 0.6)
    radars = {}
    for place, kind in enumerate(kinds):
        for k, dataset in enumerate(datasets):
            row = len(kinds) * (k // columns) + place
            radars[dataset, kind] = figure.add_subplot(
                rows, columns, row * columns + k % columns + 1, projection="polar"
            )
    return figure, radars


def draw_lines(
    axes: Axes, spokes: Sequence[str], lines: Sequence[tuple[Sequence[float], _Style]]
) -> None:
    """Draws closed lines, each of its values and its style, over spokes with labels."""
    angles = np.linspace(0, 2 * np.pi, len(spokes), endpoint=False)
    for values, style in lines:
        radii = np.asarray(values, dtype=float)
        closed = np.append(angles, angles[0]), np.append(radii, radii[0])
        axes.plot(*closed, markersize=4, **style)
    axes.set_xticks(angles, spokes)
    axes.tick_params(axis="x", pad=6)
    axes.tick_params(axis="y", labelsize=8, labelcolor="0.3")


def zoom(axes: Axes, lines: Sequence[Sequence[float]]) -> None:
    """Puts the middle of the radar a little below the smallest value, so that differences show."""
    values = np.asarray(lines, dtype=float)
    if np.isnan(values).all():
        return
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    margin = max(0.25 * (high - low), 0.005)
    axes.set_ylim(max(0, low - 2 * margin), high + margin)
    axes.yaxis.set_major_locator(MaxNLocator(4))


def add_legend(figure: Figure, styles: Mapping[str, _Style]) -> None:
    """Puts the styles of lines, by label, above the radars."""
    handles = [Line2D([], [], **style, label=label) for label, style in styles.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))


def draw_figure1(results: Results) -> tuple[Figure, pd.DataFrame]:
    """DSC and ECE of every method on one radar per dataset. The wider apart, the better."""
    means = mean_scores(results, SHOWN)
    keys = ["dataset", "method"]
    values = means.pivot_table(index=keys, columns="column", values="mean", sort=False)
    with house_style():
        figure, radars = new_radars(results.datasets, [""], height=3.6, margin=1.0)
        for (dataset, _), axes in radars.items():
            table = values.loc[dataset]
            labels = [method_label(name) for name in table.index]
            styles = METRIC_STYLES.items()
            draw_lines(axes, labels, [(list(table[column]), style) for column, style in styles])
            axes.set_ylim(0, 1)
            axes.set_title(dataset_label(dataset), pad=14)
        add_legend(figure, {METRICS[column].heading: style for column, style in styles})
        add_caption(
            figure,
            "Mean over test patients. A good method lies far out in DSC and near the middle in ECE.",
        )
    return figure, means


def sweep(loss: str) -> dict[str, list[float]]:
    """The hyper-parameter of a loss and its values; empty where it has none.

    For MbLS's margin the paper's caption says 3, 5, 10 and its text 5, 8, 10; the menu has the
    caption's, which include the value of the main tables.
    """
    return dict(choose_loss(loss).description.get("sweep", {}))


def figure6_grid() -> Grid:
    """The experiments of figure 6: the paper's losses that have a hyper-parameter, at its values."""
    swept = ((loss, *pair) for loss in PAPER_LOSSES for pair in sweep(loss).items())
    return Grid(tuple(method(loss, **{key: x}) for loss, key, values in swept for x in values))


def draw_figure6(results: Results) -> tuple[Figure, pd.DataFrame]:
    """DSC, and below it ECE, at three values of every loss's hyper-parameter."""
    means = mean_scores(results, SHOWN)
    present = {method.loss for method in results.methods}
    losses = list(filter(present.__contains__, PAPER_LOSSES))
    swept = [(loss, key, values) for loss in losses for key, values in sweep(loss).items()]
    with house_style():
        figure, radars = new_radars(results.datasets, SHOWN, height=3.5, margin=1.4)
        for (dataset, column), axes in radars.items():
            rows = means[(means["column"] == column) & (means["dataset"] == dataset)]
            by_method = rows.set_index("method")["mean"]
            lines = [
                [
                    by_method.get(method(loss, **{key: values[place]}).name, np.nan)
                    for loss, key, values in swept
                ]
                for place in range(len(SWEEP_STYLES))
            ]
            styled = list(zip(lines, SWEEP_STYLES.values(), strict=True))
            draw_lines(axes, [*map(loss_label, losses)], styled)
            zoom(axes, lines)
            axes.set_title(f"{dataset_label(dataset)}: {METRICS[column].heading}", pad=14)
        add_legend(figure, SWEEP_STYLES)
        settings = "; ".join(
            f"{loss_label(loss)} {symbol(loss, key)} = {', '.join(f'{x:g}' for x in values)}"
            for loss, key, values in swept
        )
        add_caption(
            figure, f"Mean over test patients. HP1, HP2, HP3: {settings}. Axes differ per panel."
        )
    return figure, means
