"""Figure 6: DSC and ECE at three values of every loss's hyper-parameter.

The values are those that the menu of losses sweeps. For MbLS's margin the paper's caption says 3, 5,
10 and its text 5, 8, 10; the caption's include the value of the main tables.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nacl_monai.menus import choose_loss
from nacl_monai.paper.grid import PAPER_LOSSES, Grid, method
from nacl_monai.paper.means import mean_scores
from nacl_monai.paper.names import dataset_label, loss_label, symbol
from nacl_monai.paper.radar import Line, add_legend, draw_lines, new_radars, zoom
from nacl_monai.paper.results import Results
from nacl_monai.reports.columns import METRICS
from nacl_monai.reports.style import OKABE_ITO, add_caption, house_style

SHOWN = ("dice", "ece_foreground")
#: By the place of the value in the sweep.
STYLES: dict[str, dict[str, Any]] = {
    "HP1": {"color": OKABE_ITO["blue"], "marker": "o", "linestyle": "-"},
    "HP2": {"color": OKABE_ITO["orange"], "marker": "s", "linestyle": "--"},
    "HP3": {"color": OKABE_ITO["green"], "marker": "^", "linestyle": ":"},
}


def grid() -> Grid:
    """The experiments: the paper's losses that have a hyper-parameter, at each of its values."""
    return Grid(
        tuple(
            method(loss, **{key: value})
            for loss in PAPER_LOSSES
            for key, values in sweep(loss).items()
            for value in values
        )
    )


def sweep(loss: str) -> dict[str, list[float]]:
    """The hyper-parameter of a loss and its values; empty where it has none."""
    return dict(choose_loss(loss).description.get("sweep", {}))


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """Draws the figure, DSC above ECE; returns it and its numbers."""
    means = mean_scores(results, SHOWN)
    present = {method.loss for method in results.methods}
    losses = [loss for loss in PAPER_LOSSES if loss in present]
    with house_style():
        radars = new_radars(len(results.datasets), kinds=len(SHOWN), height=3.5, margin=1.4)
        for kind, column in enumerate(SHOWN):
            for k, dataset in enumerate(results.datasets):
                axes = radars.add(k, kind)
                rows = means[(means["column"] == column) & (means["dataset"] == dataset)]
                _draw_panel(axes, losses, rows.set_index("method")["mean"])
                axes.set_title(f"{dataset_label(dataset)}: {METRICS[column].heading}", pad=14)
        add_legend(radars.figure, STYLES)
        settings = "; ".join(_setting(loss) for loss in losses)
        add_caption(
            radars.figure,
            f"Mean over test patients. HP1, HP2, HP3: {settings}. Axes differ per panel.",
        )
    return radars.figure, means


def _draw_panel(axes: Axes, losses: list[str], means: pd.Series[float]) -> None:
    """Draws a line for each place in the sweep; ``means`` are by the methods' names."""
    lines = [
        Line([means.get(name, np.nan) for name in names], style)
        for names, style in zip(_swept(losses), STYLES.values(), strict=True)
    ]
    draw_lines(axes, [loss_label(loss) for loss in losses], lines)
    zoom(axes, lines)


def _swept(losses: list[str]) -> list[list[str]]:
    """Names of methods: for each place in the sweep those of all losses."""
    return [
        [
            method(loss, **{key: values[place]}).name
            for loss in losses
            for key, values in sweep(loss).items()
        ]
        for place in range(len(STYLES))
    ]


def _setting(loss: str) -> str:
    """A loss, its hyper-parameter and the values: "NACL λ = 0.1, 0.2, 0.3"."""
    return "; ".join(
        f"{loss_label(loss)} {symbol(loss, key)} = {', '.join(f'{value:g}' for value in values)}"
        for key, values in sweep(loss).items()
    )
