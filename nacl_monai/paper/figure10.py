"""Figure 10: DSC against ECE and CECE over prediction ∪ label, a pair of panels per dataset."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nacl_monai.paper.means import mean_scores
from nacl_monai.paper.names import dataset_label, loss_style
from nacl_monai.paper.results import NothingToShow, Results
from nacl_monai.paper.scatter import add_loss_legend, draw_point, losses_of
from nacl_monai.reports.columns import METRICS
from nacl_monai.reports.style import WIDTH, add_caption, house_style, new_figure

COLUMNS = 4
#: The labels of the errors; the caption says the region.
ERRORS = {"ece_union": "ECE ↓", "cece_union": "CECE ↓"}


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """Draws the figure of the errors that the datasets have; returns it and its numbers.

    Raises:
        NothingToShow: If no run has any.
    """
    means = mean_scores(results, ["dice", *ERRORS])
    scored = set(zip(means["dataset"], means["column"], strict=True))
    if not means["column"].isin(ERRORS).any():
        raise NothingToShow(f"figure10: no run has {' or '.join(ERRORS)}; evaluate the runs again")
    losses = losses_of(results)
    with house_style():
        figure, panels = _new_panels(results.datasets)
        for (dataset, error), axes in panels.items():
            if (dataset, error) not in scored:
                axes.set_axis_off()
                continue
            axes.set_axis_on()
            _draw_points(axes, means[means["dataset"] == dataset], losses, error)
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


def _draw_points(axes: Axes, means: pd.DataFrame, losses: Sequence[str], error: str) -> None:
    """Draws a point for each loss that has a run."""
    for loss in losses:
        points = means[means["method"] == loss]
        if len(points):
            draw_point(axes, points, "dice", error, **loss_style(loss))


def _new_panels(datasets: list[str]) -> tuple[Figure, dict[tuple[str, str], Axes]]:
    """A panel per dataset and error: side by side for one dataset, else below each other."""
    if len(datasets) == 1:
        figure = new_figure(3.6 + 1.2, WIDTH)
        axes = figure.subplots(1, len(ERRORS))
        return figure, {
            (datasets[0], error): panel for error, panel in zip(ERRORS, axes, strict=True)
        }
    columns = min(len(datasets), COLUMNS)
    rows = len(ERRORS) * math.ceil(len(datasets) / columns)
    figure = new_figure(2.5 * rows + 1.2, WIDTH)
    axes = figure.subplots(rows, columns, squeeze=False)
    for panel in axes.flat:
        panel.set_axis_off()
    panels = {
        (dataset, error): axes[len(ERRORS) * (k // columns) + row, k % columns]
        for k, dataset in enumerate(datasets)
        for row, error in enumerate(ERRORS)
    }
    return figure, panels
