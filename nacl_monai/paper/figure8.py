"""Figure 8: DSC and ECE of three losses for every network, one row of panels per dataset."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nacl_monai.paper.grid import PAPER_NETWORKS
from nacl_monai.paper.means import mean_scores
from nacl_monai.paper.names import loss_style, network_label
from nacl_monai.paper.panels import SHOWN, new_panels
from nacl_monai.paper.results import Results
from nacl_monai.paper.scatter import LOOK, add_loss_legend, losses_of
from nacl_monai.reports.style import add_caption, house_style


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """Draws the figure; returns it and its numbers."""
    means = mean_scores(results, SHOWN)
    networks = [name for name in PAPER_NETWORKS if name in results.networks]
    losses = losses_of(results)
    with house_style():
        figure, panels = new_panels(results.datasets, height=3.0)
        for (dataset, column), axes in panels.items():
            rows = means[(means["dataset"] == dataset) & (means["column"] == column)]
            _draw_intervals(axes, rows, networks, losses)
            axes.set_xticks(range(len(networks)), [network_label(name) for name in networks])
            axes.set_xlim(-0.6, len(networks) - 0.4)
        add_loss_legend(figure, losses)
        add_caption(figure, "Mean over test patients with 95 % intervals.")
    return figure, means


def _draw_intervals(axes: Axes, rows: pd.DataFrame, networks: list[str], losses: list[str]) -> None:
    """Draws the losses side by side at each network."""
    width = 0.8 / len(losses)
    for k, loss in enumerate(losses):
        row = rows[rows["method"] == loss].set_index("network").reindex(networks)
        axes.errorbar(
            np.arange(len(networks)) + (k - (len(losses) - 1) / 2) * width,
            row["mean"],
            yerr=[row["mean"] - row["low"], row["high"] - row["mean"]],
            linestyle="",
            ecolor="0.5",
            **{**LOOK, "markersize": 9},
            **loss_style(loss),
        )
