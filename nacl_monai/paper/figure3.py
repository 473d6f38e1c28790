"""Figure 3: NACL with its penalty on the logits (circle) and on the softmax (cross)."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nacl_monai.paper.means import mean_scores
from nacl_monai.paper.names import dataset_label
from nacl_monai.paper.results import Results
from nacl_monai.paper.scatter import draw_point
from nacl_monai.reports.columns import METRICS
from nacl_monai.reports.style import OKABE_ITO, WIDTH, add_caption, house_style, new_figure

COLORS = ("blue", "vermillion", "green", "orange", "purple", "sky", "black")
MARKERS = {"nacl": "o", "nacl_space=softmax": "X"}
LABELS = {"nacl": "penalty on logits", "nacl_space=softmax": "penalty on softmax"}


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """Draws the figure; returns it and its numbers."""
    means = mean_scores(results, ["dice", "ece_foreground"])
    with house_style():
        figure = new_figure(5.2, WIDTH * 0.75)
        axes = figure.subplots()
        for k, dataset in enumerate(results.datasets):
            style: dict[str, Any] = {"color": OKABE_ITO[COLORS[k % len(COLORS)]]}
            points = [
                draw_point(axes, rows, "dice", "ece_foreground", marker=MARKERS[name], **style)
                for name in MARKERS
                if len(rows := means[(means["dataset"] == dataset) & (means["method"] == name)])
            ]
            axes.plot(*zip(*points, strict=True), linewidth=1, linestyle=":", **style)
            axes.annotate(
                dataset_label(dataset),
                points[0],
                xytext=(7, 7),
                textcoords="offset points",
                fontsize=9,
            )
        axes.set(xlabel=METRICS["dice"].heading, ylabel=METRICS["ece_foreground"].heading)
        axes.margins(0.15)
        gray: dict[str, Any] = {"color": "0.3", "linestyle": "", "markersize": 8}
        figure.legend(
            handles=[
                Line2D([], [], marker=marker, label=LABELS[name], **gray)
                for name, marker in MARKERS.items()
            ],
            loc="outside upper center",
            ncols=2,
        )
        add_caption(
            figure,
            "Mean over test patients with 95 % intervals. Better is down right.",
        )
    return figure, means
