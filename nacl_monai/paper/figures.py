"""Figures 3 and 7 to 11, each by its function ``draw_figure3`` and so on.

Those of all datasets return the figure and its numbers; figure 11, of single runs, returns figures by
the stems of their files. Figures 1 and 6 are in `nacl_monai.paper.radars`, figure 2 is in
`nacl_monai.paper.ranking`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nacl_monai.evaluations import Run
from nacl_monai.menus import choose_loss
from nacl_monai.metrics.columns import METRICS
from nacl_monai.paper.grid import (
    PAPER_NETWORKS,
    Grid,
    Method,
    dataset_label,
    loss_label,
    method,
    network_label,
)
from nacl_monai.paper.results import NothingToShow, Results
from nacl_monai.paper.tables import mean_scores
from nacl_monai.reports.maps import draw_maps
from nacl_monai.reports.reliability import draw_reliability
from nacl_monai.reports.style import OKABE_ITO, WIDTH, add_caption, house_style, new_figure
from nacl_monai.runs import RunFolder

#: Columns of ``cases.csv``: one for segmentation and one for calibration.
SHOWN = ("dice", "ece_foreground")
LOOK: dict[str, Any] = {"markersize": 8, "markeredgecolor": "0.2"}
#: Figure 3: a color per dataset, a marker per space.
_COLORS = ("blue", "vermillion", "green", "orange", "purple", "sky", "black")
MARKERS = {"nacl": "o", "nacl_space=softmax": "X"}
#: Figure 7: the standard deviations of both priors.
SIGMAS = (1.0, 2.0, 3.0)
#: Figure 9: the shares of the training patients.
FRACTIONS = (0.25, 0.5, 0.75, 1.0)
#: Figure 10: the labels of the errors; the caption says the region.
UNION_ERRORS = {"ece_union": "ECE ↓", "cece_union": "CECE ↓"}
#: Figure 10: most datasets side by side.
_COLUMNS = 4


def loss_style(loss: str) -> dict[str, Any]:
    """The color of a loss in all figures and, for gray print, its marker.

    Raises:
        InputError: If there is no such loss.
    """
    description = choose_loss(loss).description
    color, marker = description.get("color", "black"), description.get("marker", ".")
    return {"color": OKABE_ITO[color], "marker": marker}


def losses_of(results: Results) -> list[str]:
    """The losses of all methods, each once."""
    return list(dict.fromkeys(method.loss for method in results.methods))


def draw_point(
    axes: Axes, means: pd.DataFrame, x: str, y: str, **style: Any
) -> tuple[float, float]:
    """Draws a point with its intervals in both directions.

    Args:
        axes: Where to draw.
        means: Rows of `nacl_monai.paper.tables.mean_scores`, of one experiment.
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


def new_panels(
    datasets: Sequence[str], height: float
) -> tuple[Figure, dict[tuple[str, str], Axes]]:
    """A figure with an empty panel for each dataset (down) and column of `SHOWN` (across).

    Args:
        datasets: A row each.
        height: Height of a row, in inches.

    Returns:
        The figure, and its panels by dataset and column.
    """
    figure = new_figure(height * len(datasets) + 1.0, WIDTH)
    axes = figure.subplots(len(datasets), len(SHOWN), squeeze=False)
    panels = dict(zip(product(datasets, SHOWN), axes.flat, strict=True))
    for (dataset, column), panel in panels.items():
        panel.set_title(f"{dataset_label(dataset)}: {METRICS[column].heading}")
    return figure, panels


def draw_figure3(results: Results) -> tuple[Figure, pd.DataFrame]:
    """NACL with its penalty on the logits (circle) and on the softmax (cross)."""
    means = mean_scores(results, SHOWN)
    with house_style():
        figure = new_figure(5.2, WIDTH * 0.75)
        axes = figure.subplots()
        for k, dataset in enumerate(results.datasets):
            style: dict[str, Any] = {"color": OKABE_ITO[_COLORS[k % len(_COLORS)]]}
            points = [
                draw_point(axes, rows, *SHOWN, marker=MARKERS[name], **style)
                for name in MARKERS
                if len(rows := means[(means["dataset"] == dataset) & (means["method"] == name)])
            ]
            axes.plot(*zip(*points, strict=True), linewidth=1, linestyle=":", **style)
            beside: dict[str, Any] = {"xytext": (7, 7), "textcoords": "offset points"}
            axes.annotate(dataset_label(dataset), points[0], **beside, fontsize=9)
        axes.set(xlabel=METRICS["dice"].heading, ylabel=METRICS["ece_foreground"].heading)
        axes.margins(0.15)
        gray: dict[str, Any] = {"color": "0.3", "linestyle": "", "markersize": 8}
        labels = ("penalty on logits", "penalty on softmax")
        handles = [
            Line2D([], [], marker=marker, label=label, **gray)
            for marker, label in zip(MARKERS.values(), labels, strict=True)
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=2)
        add_caption(figure, "Mean over test patients with 95 % intervals. Better is down right.")
    return figure, means


def figure7_grid() -> Grid:
    """The experiments of figure 7: both losses at every σ."""
    return Grid(tuple(loss for sigma in SIGMAS for loss in _same_sigma(sigma)))


def draw_figure7(results: Results) -> tuple[Figure, pd.DataFrame]:
    """By how many percent NACL with a Gaussian prior beats SVLS with the same σ."""
    table = compare_sigmas(results)
    with house_style():
        figure = new_figure(len(SIGMAS) * (0.32 * len(results.datasets) + 0.6) + 1.4, WIDTH)
        panels = figure.subplots(len(SIGMAS), len(SHOWN), sharex="col", sharey=True, squeeze=False)
        for axes, (sigma, column) in zip(panels.flat, product(SIGMAS, SHOWN), strict=True):
            _draw_bars(axes, table[(table["sigma"] == sigma) & (table["column"] == column)])
            axes.set_title(f"{METRICS[column].heading}, σ = {sigma:g}")
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
        names = (method.name for method in _same_sigma(sigma))
        svls, nacl = (means.get((dataset, column, name), np.nan) for name in names)
        percent = 100 * (METRICS[column].direction * (nacl - svls)) / svls
        rows.append((dataset, column, sigma, svls, nacl, percent))
    return pd.DataFrame(rows, columns=["dataset", "column", "sigma", "svls", "nacl", "percent"])


def _same_sigma(sigma: float) -> tuple[Method, Method]:
    return method("svls", sigma=sigma), method("nacl", prior="gaussian", sigma=sigma)


def _draw_bars(axes: Axes, rows: pd.DataFrame) -> None:
    """Draws a bar for every dataset; one that is not defined has no length and no number."""
    values = rows["percent"].to_numpy()
    bars = axes.barh(
        [dataset_label(name) for name in rows["dataset"]],
        np.nan_to_num(values),
        color=[OKABE_ITO["blue" if value >= 0 else "orange"] for value in values],
        edgecolor="0.2",
    )
    texts = ["" if np.isnan(value) else f"{value:+.1f} %" for value in values]
    axes.bar_label(bars, texts, padding=3, fontsize=8.5)
    axes.axvline(0, color="black", linewidth=1)
    axes.margins(x=0.3)


def draw_figure8(results: Results) -> tuple[Figure, pd.DataFrame]:
    """DSC and ECE of three losses for every network, a row of panels per dataset."""
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


def draw_figure9(results: Results) -> tuple[Figure, pd.DataFrame]:
    """DSC and ECE over the share of the training patients, a row of panels per dataset."""
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


def draw_figure10(results: Results) -> tuple[Figure, pd.DataFrame]:
    """DSC against ECE and CECE over prediction ∪ label, a pair of panels per dataset.

    Raises:
        NothingToShow: If no run has any of the errors.
    """
    means = mean_scores(results, ["dice", *UNION_ERRORS])
    scored = set(zip(means["dataset"], means["column"], strict=True))
    if not means["column"].isin(UNION_ERRORS).any():
        raise NothingToShow(
            f"figure10: no run has {' or '.join(UNION_ERRORS)}; evaluate the runs again"
        )
    losses = losses_of(results)
    with house_style():
        figure, panels = new_pairs(results.datasets)
        for (dataset, error), axes in panels.items():
            axes.set_axis_on() if (dataset, error) in scored else axes.set_axis_off()
            if not axes.axison:
                continue
            rows = means[means["dataset"] == dataset]
            for loss in losses:
                if len(points := rows[rows["method"] == loss]):
                    draw_point(axes, points, "dice", error, **loss_style(loss))
            axes.set_title(dataset_label(dataset))
            axes.set_xlabel(METRICS["dice"].heading)
            axes.set_ylabel(UNION_ERRORS[error])
            axes.margins(0.12)
        add_loss_legend(figure, losses)
        add_caption(
            figure,
            "Calibration errors over the voxels of prediction ∪ label. Mean over test patients with "
            "95 % intervals. Better is down right.",
        )
    return figure, means


def new_pairs(datasets: Sequence[str]) -> tuple[Figure, dict[tuple[str, str], Axes]]:
    """An empty panel per dataset and error: side by side for one dataset, else below each other."""
    if len(datasets) == 1:
        figure = new_figure(3.6 + 1.2, WIDTH)
        return figure, dict(
            zip(product(datasets, UNION_ERRORS), figure.subplots(1, len(UNION_ERRORS)), strict=True)
        )
    columns = min(len(datasets), _COLUMNS)
    rows = len(UNION_ERRORS) * math.ceil(len(datasets) / columns)
    figure = new_figure(2.5 * rows + 1.2, WIDTH)
    axes = figure.subplots(rows, columns, squeeze=False)
    for panel in axes.flat:
        panel.set_axis_off()
    return figure, {
        (dataset, error): axes[len(UNION_ERRORS) * (k // columns) + row, k % columns]
        for k, dataset in enumerate(datasets)
        for row, error in enumerate(UNION_ERRORS)
    }


def draw_figure11(runs: Sequence[Run]) -> dict[str, Figure]:
    """Predictions with their confidence, and reliability diagrams.

    Without kept slices, such as of images that may not be shown, there are no maps.
    """
    kept = any(RunFolder(run.folder).evaluation.maps.is_dir() for run in runs)
    maps = {"figure11_maps": draw_maps(runs)} if kept else {}
    return {**maps, "figure11_reliability": draw_reliability(runs, region="foreground")}
