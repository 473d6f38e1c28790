"""Figure 1: DSC and ECE of every method on one radar per dataset. The wider apart, the better."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from nacl_monai.paper.means import mean_scores
from nacl_monai.paper.names import dataset_label, method_label
from nacl_monai.paper.radar import Line, add_legend, draw_lines, new_radars
from nacl_monai.paper.results import Results
from nacl_monai.reports.columns import METRICS
from nacl_monai.reports.style import OKABE_ITO, add_caption, house_style

STYLES: dict[str, dict[str, Any]] = {
    "dice": {"color": OKABE_ITO["blue"], "marker": "o", "linestyle": "-"},
    "ece_foreground": {"color": OKABE_ITO["vermillion"], "marker": "s", "linestyle": "--"},
}


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """Draws the figure; returns it and its numbers."""
    means = mean_scores(results, list(STYLES))
    values = means.pivot_table(
        index=["dataset", "method"], columns="column", values="mean", sort=False
    )
    with house_style():
        radars = new_radars(len(results.datasets), kinds=1, height=3.6, margin=1.0)
        for k, dataset in enumerate(results.datasets):
            table = values.loc[dataset]
            axes = radars.add(k)
            draw_lines(
                axes,
                [method_label(name) for name in table.index],
                [Line(list(table[column]), style) for column, style in STYLES.items()],
            )
            axes.set_ylim(0, 1)
            axes.set_title(dataset_label(dataset), pad=14)
        add_legend(
            radars.figure, {METRICS[column].heading: style for column, style in STYLES.items()}
        )
        add_caption(
            radars.figure,
            "Mean over test patients. A good method lies far out in DSC and near the middle in ECE.",
        )
    return radars.figure, means
