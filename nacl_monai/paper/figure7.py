"""Figure 7: by how many percent NACL with a Gaussian prior beats SVLS with the same σ."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nacl_monai.paper.grid import Grid, Method, method
from nacl_monai.paper.means import mean_scores
from nacl_monai.paper.names import dataset_label
from nacl_monai.paper.panels import SHOWN
from nacl_monai.paper.results import Results
from nacl_monai.reports.columns import METRICS
from nacl_monai.reports.style import OKABE_ITO, WIDTH, add_caption, house_style, new_figure

SIGMAS = (1.0, 2.0, 3.0)
BETTER, WORSE = OKABE_ITO["blue"], OKABE_ITO["orange"]


def grid() -> Grid:
    """The experiments: both losses at every σ."""
    return Grid(tuple(loss for sigma in SIGMAS for loss in (_svls(sigma), _nacl(sigma))))


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """Draws the figure; returns it and its numbers."""
    table = compare_sigmas(results)
    with house_style():
        figure = new_figure(len(SIGMAS) * (0.32 * len(results.datasets) + 0.6) + 1.4, WIDTH)
        panels = figure.subplots(len(SIGMAS), len(SHOWN), sharex="col", sharey=True, squeeze=False)
        for row, sigma in enumerate(SIGMAS):
            for k, column in enumerate(SHOWN):
                rows = table[(table["sigma"] == sigma) & (table["column"] == column)]
                _draw_bars(panels[row, k], rows)
                panels[row, k].set_title(f"{METRICS[column].heading}, σ = {sigma:g}")
        panels[0, 0].invert_yaxis()
        for axes in panels[-1]:
            axes.set_xlabel("NACL better by (%)")
        add_caption(
            figure,
            "Relative difference between NACL with a Gaussian prior and SVLS of the same σ; to the "
            "right NACL is better. Means over test patients.",
        )
    return figure, table


def compare_sigmas(results: Results) -> pd.DataFrame:
    """Means of both losses, and by how many percent of SVLS's NACL's is better.

    Returns:
        One row per ``dataset``, ``column`` and ``sigma``; ``svls``, ``nacl`` and ``percent`` are NaN
        where there is no run.
    """
    means = mean_scores(results, SHOWN).set_index(["dataset", "column", "method"])["mean"]
    rows = []
    for dataset, column, sigma in product(results.datasets, SHOWN, SIGMAS):
        svls = means.get((dataset, column, _svls(sigma).name), np.nan)
        nacl = means.get((dataset, column, _nacl(sigma).name), np.nan)
        percent = 100 * (METRICS[column].direction * (nacl - svls)) / svls
        rows.append((dataset, column, sigma, svls, nacl, percent))
    return pd.DataFrame(rows, columns=["dataset", "column", "sigma", "svls", "nacl", "percent"])


def _svls(sigma: float) -> Method:
    return method("svls", sigma=sigma)


def _nacl(sigma: float) -> Method:
    return method("nacl", prior="gaussian", sigma=sigma)


def _draw_bars(axes: Axes, rows: pd.DataFrame) -> None:
    """Draws a bar for every dataset; one that is not defined has no length and no number."""
    values = rows["percent"].to_numpy()
    bars = axes.barh(
        [dataset_label(name) for name in rows["dataset"]],
        np.nan_to_num(values),
        color=[BETTER if value >= 0 else WORSE for value in values],
        edgecolor="0.2",
    )
    texts = ["" if np.isnan(value) else f"{value:+.1f} %" for value in values]
    axes.bar_label(bars, texts, padding=3, fontsize=8.5)
    axes.axvline(0, color="black", linewidth=1)
    axes.margins(x=0.3)
