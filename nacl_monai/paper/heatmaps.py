"""Ranks as heat maps, as in the paper's figure 2."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nacl_monai.paper.names import LOSS_LABELS, dataset_label
from nacl_monai.paper.ranking import GLOBAL, RULES, rank_methods
from nacl_monai.paper.results import Results
from nacl_monai.reports.columns import METRICS as COLUMNS
from nacl_monai.reports.statistics import patient_scores
from nacl_monai.reports.style import WIDTH, add_caption, house_style, new_figure

METRICS = ("dice", "hd95", "ece_foreground", "cece_foreground")
#: Light is a good rank; lightness falls evenly, so that gray print keeps the order.
RANKS = "Blues"


def rank_table(results: Results) -> pd.DataFrame:
    """`nacl_monai.paper.ranking.rank_methods` of all metrics and datasets.

    DSC and HD95 are ranked per target, the calibration errors once per dataset, as the paper's
    tables have them. Only methods that were run on every dataset are ranked.
    """
    scores = {}
    for dataset in results.datasets:
        cases = results.cases(dataset)
        for metric in METRICS:
            targets = [name for name in map(str, cases) if name.startswith(f"{metric}_")]
            columns = [name for name in targets if metric in ("dice", "hd95")] or [metric]
            for column in columns:
                if cases[column].notna().any():
                    scores[dataset, column] = patient_scores(cases, column)
    everywhere = [
        way.name for way in results.methods if all(way.name in table for table in scores.values())
    ]
    return rank_methods({key: table[everywhere] for key, table in scores.items()})


def draw_ranks(results: Results) -> tuple[Figure, pd.DataFrame]:
    """Sum-rank and mean-case-rank, global and per metric (figure 2), with their stability.

    Returns:
        The figure and its numbers.
    """
    ranks = rank_table(results)
    methods = list(dict.fromkeys(ranks["method"]))
    metrics = [GLOBAL, *(m for m in METRICS if m in set(ranks["metric"]))]
    names = ", ".join(map(dataset_label, results.datasets))
    with house_style():
        figure = new_figure(0.42 * len(methods) + 2.0, WIDTH)
        for axes, rule in zip(figure.subplots(1, 2), RULES, strict=True):
            of = ranks[ranks["rule"] == rule]
            _draw_map(axes, of, methods, metrics)
            axes.set_title(rule.capitalize())
            if rule != RULES[0]:
                axes.set_yticks([])
        add_caption(
            figure,
            f"Mean rank (1 is best) over {names}, and below it how often the method is first when "
            "patients are resampled. Sum-rank: methods ranked by their means per dataset and target; "
            "mean-case-rank: ranked in every patient.",
        )
    return figure, ranks


def _draw_map(
    axes: Axes, ranks: pd.DataFrame, methods: Sequence[str], metrics: Sequence[str]
) -> None:
    of = ranks.set_index(["method", "metric"])
    table, wins = (
        np.array([[of.loc[(method, metric), name] for metric in metrics] for method in methods])
        for name in ("rank", "wins")
    )
    axes.imshow(table, cmap=RANKS, vmin=1, vmax=len(methods) + 1, aspect="auto")
    axes.grid(visible=False)
    axes.set_xticks(
        range(len(metrics)),
        [COLUMNS[name].label if name in COLUMNS else name.capitalize() for name in metrics],
    )
    axes.set_yticks(range(len(methods)), [LOSS_LABELS[name] for name in methods])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    best = table == table.min(axis=0)
    for (row, column), rank in np.ndenumerate(table):
        axes.text(
            column,
            row,
            f"{rank:.1f}\n{wins[row, column]:.0%}",
            ha="center",
            va="center",
            fontsize=8,
            fontweight="bold" if best[row, column] else "normal",
            color="white" if rank > 0.72 * (len(methods) + 1) else "black",
        )
