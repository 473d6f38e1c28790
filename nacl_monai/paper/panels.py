"""Panels side by side: segmentation on the left and calibration on the right, a row per dataset."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nacl_monai.paper.names import dataset_label
from nacl_monai.reports.columns import METRICS
from nacl_monai.reports.style import WIDTH, new_figure

#: Columns of ``cases.csv``: one for segmentation and one for calibration.
SHOWN = ("dice", "ece_foreground")


def new_panels(
    datasets: Sequence[str], height: float
) -> tuple[Figure, dict[tuple[str, str], Axes]]:
    """A figure with an empty panel for each dataset and column of `SHOWN`.

    Args:
        datasets: A row each.
        height: Height of a row, in inches.

    Returns:
        The figure, and its panels by dataset and column.
    """
    figure = new_figure(height * len(datasets) + 1.0, WIDTH)
    axes = figure.subplots(len(datasets), len(SHOWN), squeeze=False)
    panels = {
        (dataset, column): axes[row, k]
        for row, dataset in enumerate(datasets)
        for k, column in enumerate(SHOWN)
    }
    for (dataset, column), panel in panels.items():
        panel.set_title(f"{dataset_label(dataset)}: {METRICS[column].heading}")
    return figure, panels
