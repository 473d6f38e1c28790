"""Radar plots: a spoke per method, as in the paper's figures 1 and 6."""

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

from nacl_monai.paper.grid import HYPER_PARAMETERS, method
from nacl_monai.paper.means import mean_scores
from nacl_monai.paper.names import LOSS_LABELS, SYMBOLS, dataset_label
from nacl_monai.paper.results import Results
from nacl_monai.reports.style import OKABE_ITO, WIDTH, add_caption, house_style, new_figure

COLUMNS = 3
DICE: dict[str, Any] = {"color": OKABE_ITO["blue"], "marker": "o", "linestyle": "-"}
ECE: dict[str, Any] = {"color": OKABE_ITO["vermillion"], "marker": "s", "linestyle": "--"}
HP: tuple[dict[str, Any], ...] = (
    {"color": OKABE_ITO["blue"], "marker": "o", "linestyle": "-"},
    {"color": OKABE_ITO["orange"], "marker": "s", "linestyle": "--"},
    {"color": OKABE_ITO["green"], "marker": "^", "linestyle": ":"},
)


def draw_tradeoff(results: Results) -> tuple[Figure, pd.DataFrame]:
    """DSC and ECE of every method on one radar per dataset (figure 1): the wider apart, the better.

    Returns:
        The figure and its numbers.
    """
    means = mean_scores(results, ["dice", "ece_foreground"])
    values = means.pivot_table(
        index=["dataset", "method"], columns="column", values="mean", sort=False
    )
    names = results.datasets
    columns = min(len(names), COLUMNS)
    lines = math.ceil(len(names) / columns)
    with house_style():
        figure = new_figure(lines * 3.6 + 1.0, WIDTH if columns > 1 else WIDTH * 0.6)
        for k, name in enumerate(names):
            axes = figure.add_subplot(lines, columns, k + 1, projection="polar")
            of = values.loc[name]
            spokes = [LOSS_LABELS[loss] for loss in of.index]
            _draw_spokes(
                axes,
                spokes,
                {"DSC": DICE, "ECE": ECE},
                [list(of["dice"]), list(of["ece_foreground"])],
            )
            axes.set_ylim(0, 1)
            axes.set_title(dataset_label(name), pad=14)
        figure.legend(
            handles=[Line2D([], [], **DICE, label="DSC ↑"), Line2D([], [], **ECE, label="ECE ↓")],
            loc="outside upper center",
            ncols=2,
        )
        add_caption(
            figure,
            "Mean over test patients. A good method lies far out in DSC and near the middle in ECE.",
        )
    return figure, means


def draw_hyper_parameters(results: Results) -> tuple[Figure, pd.DataFrame]:
    """DSC (top) and ECE (bottom) at three values of every loss's hyper-parameter (figure 6).

    Returns:
        The figure and its numbers.
    """
    means = mean_scores(results, ["dice", "ece_foreground"])
    names = results.datasets
    losses = [loss for loss in HYPER_PARAMETERS if loss in {m.loss for m in results.methods}]
    found = means.set_index(["column", "dataset", "method"])["mean"]
    columns = min(len(names), COLUMNS)
    blocks = math.ceil(len(names) / columns)
    with house_style():
        figure = new_figure(blocks * 7.0 + 1.4, WIDTH if columns > 1 else WIDTH * 0.6)
        for k, (row, column) in enumerate(
            (row, column) for row in ("dice", "ece_foreground") for column in names
        ):
            block, at = divmod(k % len(names), columns)
            line = 2 * block + (row == "ece_foreground")
            axes = figure.add_subplot(
                2 * blocks, columns, line * columns + at + 1, projection="polar"
            )
            lines = [
                [found.get((row, column, _hp(loss, hp)), np.nan) for loss in losses]
                for hp in range(3)
            ]
            styles = {f"HP{hp + 1}": HP[hp] for hp in range(3)}
            _draw_spokes(axes, [LOSS_LABELS[loss] for loss in losses], styles, lines)
            _zoom(axes, lines)
            axes.set_title(
                f"{dataset_label(column)}: {'DSC ↑' if row == 'dice' else 'ECE ↓'}", pad=14
            )
        figure.legend(
            handles=[Line2D([], [], **style, label=f"HP{k + 1}") for k, style in enumerate(HP)],
            loc="outside upper center",
            ncols=3,
        )
        settings = "; ".join(
            f"{LOSS_LABELS[loss]} {SYMBOLS[key]} = {', '.join(f'{value:g}' for value in values)}"
            for loss, (key, values) in HYPER_PARAMETERS.items()
            if loss in losses
        )
        add_caption(
            figure, f"Mean over test patients. HP1, HP2, HP3: {settings}. Axes differ per panel."
        )
    return figure, means


def _hp(loss: str, k: int) -> str:
    key, values = HYPER_PARAMETERS[loss]
    return method(loss, **{key: values[k]}).name


def _draw_spokes(
    axes: Axes,
    spokes: Sequence[str],
    styles: Mapping[str, dict[str, Any]],
    lines: Sequence[Sequence[float]],
) -> None:
    angles = np.linspace(0, 2 * np.pi, len(spokes), endpoint=False)
    for style, values in zip(styles.values(), lines, strict=True):
        radii = np.asarray(values, dtype=float)
        axes.plot(np.append(angles, angles[0]), np.append(radii, radii[0]), markersize=4, **style)
    axes.set_xticks(angles, spokes)
    axes.tick_params(axis="x", pad=6)
    axes.tick_params(axis="y", labelsize=8, labelcolor="0.3")


def _zoom(axes: Axes, lines: Sequence[Sequence[float]]) -> None:
    """The middle of the radar is a little below the smallest value, so that differences show."""
    values = np.asarray(lines, dtype=float)
    if np.isnan(values).all():
        return
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    margin = max(0.25 * (high - low), 0.005)
    axes.set_ylim(max(0, low - 2 * margin), high + margin)
    axes.yaxis.set_major_locator(MaxNLocator(4))
