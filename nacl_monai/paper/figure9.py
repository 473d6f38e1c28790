"""Figure 9: DSC and ECE over the share of the training patients, one row of panels per dataset."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from nacl_monai.paper.means import mean_scores
from nacl_monai.paper.names import loss_style
from nacl_monai.paper.panels import SHOWN, new_panels
from nacl_monai.paper.results import Results
from nacl_monai.paper.scatter import LOOK, add_loss_legend, losses_of
from nacl_monai.reports.style import add_caption, house_style

FRACTIONS = (0.25, 0.5, 0.75, 1.0)


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """Draws the figure; returns it and its numbers."""
    means = mean_scores(results, SHOWN)
    losses = losses_of(results)
    with house_style():
        figure, panels = new_panels(results.datasets, height=3.2)
        for (dataset, column), axes in panels.items():
            rows = means[(means["dataset"] == dataset) & (means["column"] == column)]
            for loss in losses:
                line = rows[rows["method"] == loss].sort_values("fraction")
                axes.plot(100 * line["fraction"], line["mean"], **LOOK, **loss_style(loss))
            axes.set_xticks(sorted(100 * rows["fraction"].unique()))
            axes.set_xlabel("Training patients (%)")
        add_loss_legend(figure, losses, linestyle="-")
        add_caption(figure, "Mean over test patients.")
    return figure, means
