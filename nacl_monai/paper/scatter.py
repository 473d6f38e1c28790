"""Points of mean scores with their intervals, one look per loss."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nacl_monai.paper.names import loss_label, loss_style
from nacl_monai.paper.results import Results

LOOK: dict[str, Any] = {"markersize": 8, "markeredgecolor": "0.2"}


def losses_of(results: Results) -> list[str]:
    """The losses of all methods, each once."""
    return list(dict.fromkeys(method.loss for method in results.methods))


def draw_point(
    axes: Axes, means: pd.DataFrame, x: str, y: str, **style: Any
) -> tuple[float, float]:
    """Draws a point with its intervals in both directions.

    Args:
        axes: Where to draw.
        means: Rows of `nacl_monai.paper.means.mean_scores`, of one experiment.
        x: The column of ``cases.csv`` along the first axis.
        y: The column along the second axis.
        style: Arguments of matplotlib's `Axes.errorbar`.

    Returns:
        Where the point is.
    """
    across, up = (means[means["column"] == column].iloc[0] for column in (x, y))
    axes.errorbar(
        across["mean"],
        up["mean"],
        xerr=[[across["mean"] - across["low"]], [across["high"] - across["mean"]]],
        yerr=[[up["mean"] - up["low"]], [up["high"] - up["mean"]]],
        ecolor="0.7",
        elinewidth=0.8,
        **{**LOOK, **style},
    )
    return across["mean"], up["mean"]


def add_loss_legend(
    figure: Figure, losses: Iterable[str], linestyle: Literal["", "-"] = ""
) -> None:
    """Puts the colors and markers of losses above the panels."""
    handles = [
        Line2D([], [], label=loss_label(loss), linestyle=linestyle, **LOOK, **loss_style(loss))
        for loss in losses
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=8)
