"""Figure 10: DSC against ECE and CECE over prediction ∪ label, a pair of panels per dataset."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nacl_monai.paper.means import mean_scores
from nacl_monai.paper.names import dataset_label, loss_style
from nacl_monai.paper.results import Results
from nacl_monai.paper.scatter import add_loss_legend, draw_point, losses_of
from nacl_monai.reports.columns import METRICS
from nacl_monai.reports.style import WIDTH, add_caption, house_style, new_figure

COLUMNS = 4
#: The labels of the errors; the caption says the region.
ERRORS = {"ece_union": "ECE ↓", "cece_union": "CECE ↓"}


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """Draws the figure; returns it and its numbers."""
    means = mean_scores(results, ["dice", *ERRORS])
    losses = losses_of(results)
    with house_style():
        figure, panels = _new_panels(results.datasets)
        for (dataset, error), axes in panels.items():
            axes.set_axis_on()
            rows = means[means["dataset"] == dataset]
            for loss in losses:
                points = rows[rows["method"] == loss]
                if len(points):
                    draw_point(axes, points, "dice", error, **loss_style(loss))
            axes.set_title(dataset_label(dataset))
            axes.set_xlabel(METRICS["dice"].heading)
            axes.set_ylabel(ERRORS[error])
            axes.margins(0.12)
        add_loss_legend(figure, losses)
        add_caption(
            figure,
            "Calibration errors over the voxels of prediction ∪ label. Mean over test patients with "
            "95 % intervals. Better is down right.",
        )
    return figure, means


def _new_panels(datasets: list[str]) -> tuple[Figure, dict[tuple[str, str], Axes]]:
    """A panel per dataset and error: side by side for one dataset, else below each other."""
    single = len(datasets) == 1
    columns = min(len(datasets), COLUMNS)
    rows = 1 if single else len(ERRORS) * math.ceil(len(datasets) / columns)
    figure = new_figure(rows * (3.6 if single else 2.5) + 1.2, WIDTH)
    axes = figure.subplots(rows, len(ERRORS) if single else columns, squeeze=False)
    for panel in axes.flat:
        panel.set_axis_off()
    panels = {}
    for k, dataset in enumerate(datasets):
        block, column = divmod(k, columns)
        for row, error in enumerate(ERRORS):
            place = (0, row) if single else (len(ERRORS) * block + row, column)
            panels[dataset, error] = axes[place]
    return figure, panels
