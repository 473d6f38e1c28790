"""Segmentation against calibration as points, as in the paper's figures 3 and 10."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nacl_monai.paper.grid import LOSSES
from nacl_monai.paper.means import mean_scores
from nacl_monai.paper.names import LOSS_LABELS, dataset_label
from nacl_monai.paper.results import Results
from nacl_monai.reports.style import OKABE_ITO, WIDTH, add_caption, house_style, new_figure

COLUMNS = 4
COLORS = ("blue", "vermillion", "green", "orange", "purple", "sky", "black")
#: Of a loss, in all figures: color and, for gray print, marker.
LOSS_STYLES: dict[str, dict[str, Any]] = {
    loss: {"color": OKABE_ITO[color], "marker": marker}
    for loss, color, marker in zip(
        LOSSES,
        ("black", "sky", "orange", "yellow", "green", "purple", "blue", "vermillion"),
        ("x", "o", "s", "D", "^", "v", "P", "*"),
        strict=True,
    )
}


def draw_softmax(results: Results) -> tuple[Figure, pd.DataFrame]:
    """NACL with its penalty on the logits (circle) and on the softmax (cross): figure 3.

    Returns:
        The figure and its numbers.
    """
    means = mean_scores(results, ["dice", "ece_foreground"])
    with house_style():
        figure = new_figure(5.2, WIDTH * 0.75)
        axes = figure.subplots()
        for k, name in enumerate(results.datasets):
            color = OKABE_ITO[COLORS[k % len(COLORS)]]
            of = means[means["dataset"] == name]
            points = []
            for method, marker in (("nacl", "o"), ("nacl_space=softmax", "X")):
                if (of["method"] == method).any():
                    points.append(
                        _draw_point(axes, of, method, "ece_foreground", color=color, marker=marker)
                    )
            axes.plot(*zip(*points, strict=True), color=color, linewidth=1, linestyle=":")
            axes.annotate(
                dataset_label(name),
                points[0],
                xytext=(7, 7),
                textcoords="offset points",
                fontsize=9,
            )
        axes.set(xlabel="DSC ↑", ylabel="ECE ↓")
        axes.margins(0.15)
        key: dict[str, Any] = {"color": "0.3", "linestyle": "", "markersize": 8}
        figure.legend(
            handles=[
                Line2D([], [], marker="o", label="penalty on logits", **key),
                Line2D([], [], marker="X", label="penalty on softmax", **key),
            ],
            loc="outside upper center",
            ncols=2,
        )
        add_caption(
            figure,
            "Mean over test patients with 95 % intervals by bootstrap. Better is down right.",
        )
    return figure, means


def draw_union(results: Results) -> tuple[Figure, pd.DataFrame]:
    """DSC against ECE and CECE over prediction ∪ target, a panel per dataset (figure 10).

    Returns:
        The figure and its numbers.
    """
    means = mean_scores(results, ["dice", "ece_union", "cece_union"])
    names = results.datasets
    columns = max(min(len(names), COLUMNS), 1)
    blocks = math.ceil(len(names) / columns)
    single = len(names) == 1
    shape = (1, 2) if single else (2 * blocks, columns)
    losses = [way.loss for way in results.methods]
    with house_style():
        figure = new_figure(shape[0] * (3.6 if single else 2.5) + 1.2, WIDTH)
        panels = figure.subplots(*shape, squeeze=False)
        for ax in panels.flat:
            ax.set_axis_off()
        for k, name in enumerate(names):
            block, at = divmod(k, columns)
            for row, column in enumerate(("ece_union", "cece_union")):
                axes = panels[0, row] if single else panels[2 * block + row, at]
                axes.set_axis_on()
                of = means[means["dataset"] == name]
                for loss in losses:
                    if (of["method"] == loss).any():
                        _draw_point(axes, of, loss, column, **LOSS_STYLES[loss])
                axes.set_title(dataset_label(name))
                axes.set_xlabel("DSC ↑")
                axes.set_ylabel(f"{column.partition('_')[0].upper()} ↓")
                axes.margins(0.12)
        figure.legend(handles=loss_key(losses), loc="outside upper center", ncols=8)
        add_caption(
            figure,
            "Calibration errors over the voxels of prediction ∪ target. Mean over test patients with "
            "95 % intervals by bootstrap. Better is down right.",
        )
    return figure, means


def loss_key(losses: Sequence[str], **style: Any) -> list[Line2D]:
    """Legend entries of losses in their colors and markers."""
    style = {"linestyle": "", "markersize": 8, "markeredgecolor": "0.2", **style}
    return [
        Line2D([], [], label=LOSS_LABELS[loss], **{**style, **LOSS_STYLES[loss]}) for loss in losses
    ]


def _draw_point(
    axes: Axes, means: pd.DataFrame, method: str, error: str, **style: Any
) -> tuple[float, float]:
    """A mean with its intervals in both directions; returns where it is."""
    x, y = (
        means[(means["method"] == method) & (means["column"] == column)].iloc[0]
        for column in ("dice", error)
    )
    axes.errorbar(
        x["mean"],
        y["mean"],
        xerr=[[x["mean"] - x["low"]], [x["high"] - x["mean"]]],
        yerr=[[y["mean"] - y["low"]], [y["high"] - y["mean"]]],
        markersize=8,
        markeredgecolor="0.2",
        ecolor="0.7",
        elinewidth=0.8,
        **style,
    )
    return x["mean"], y["mean"]
