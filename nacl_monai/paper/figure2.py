"""Figure 2: ranks by two rules, global and per metric, with their stability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nacl_monai.errors import InputError
from nacl_monai.paper.names import dataset_label, method_label
from nacl_monai.paper.ranking import GLOBAL, RULES, rank_methods
from nacl_monai.paper.results import Results
from nacl_monai.reports.columns import METRICS
from nacl_monai.reports.statistics import patient_scores
from nacl_monai.reports.style import WIDTH, add_caption, house_style, new_figure

#: As the paper's tables have them: some are ranked for every structure, the others once per dataset.
PER_STRUCTURE = ("dice", "hd95")
PER_DATASET = ("ece_foreground", "cece_foreground")
#: Light is a good rank; lightness falls evenly, so that gray print keeps the order.
COLORMAP = "Blues"


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """Draws the figure; returns it and its numbers."""
    ranks = rank_table(results)
    methods = list(dict.fromkeys(ranks["method"]))
    metrics = [GLOBAL, *(m for m in (*PER_STRUCTURE, *PER_DATASET) if m in set(ranks["metric"]))]
    datasets = ", ".join(map(dataset_label, results.datasets))
    with house_style():
        figure = new_figure(0.42 * len(methods) + 2.0, WIDTH)
        for axes, rule in zip(figure.subplots(1, len(RULES)), RULES, strict=True):
            _draw_heat_map(axes, ranks[ranks["rule"] == rule], methods, metrics)
            axes.set_title(rule.capitalize())
            if rule != RULES[0]:
                axes.set_yticks([])
        add_caption(
            figure,
            f"Mean rank (1 is best) over {datasets}, and below it how often the method is first when "
            "patients are resampled. Sum-rank: methods ranked by their means per dataset and "
            "structure; mean-case-rank: ranked in every patient.",
        )
    return figure, ranks


def rank_table(results: Results) -> pd.DataFrame:
    """`nacl_monai.paper.ranking.rank_methods` over all metrics and datasets.

    Only methods that were run on every dataset are ranked.

    Raises:
        InputError: If there is none.
    """
    scores = {
        (dataset, column): table
        for dataset in results.datasets
        for column, table in _defined_scores(results.cases(dataset)).items()
    }
    everywhere = [
        method.name
        for method in results.methods
        if all(method.name in table for table in scores.values())
    ]
    if not everywhere:
        raise InputError(
            f"figure2: no method was run on all of {', '.join(results.datasets)}; name runs of one "
            "dataset, or run a method on all"
        )
    return rank_methods({key: table[everywhere] for key, table in scores.items()})


def _defined_scores(cases: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The scores of patients in each ranked column that is defined anywhere."""
    return {
        column: patient_scores(cases, column)
        for column in _ranked_columns([str(name) for name in cases])
        if cases[column].notna().any()
    }


def _ranked_columns(columns: Sequence[str]) -> list[str]:
    """Those of every structure where there are any, then those of whole cases."""
    ranked = []
    for metric in PER_STRUCTURE:
        ranked += [name for name in columns if name.startswith(f"{metric}_")] or [metric]
    return [*ranked, *PER_DATASET]


def _draw_heat_map(
    axes: Axes, ranks: pd.DataFrame, methods: Sequence[str], metrics: Sequence[str]
) -> None:
    """Colors and prints the rank of each method (down) by each metric (across)."""
    by_key = ranks.set_index(["method", "metric"])
    table, wins = (
        np.array([[by_key.loc[(method, metric), name] for metric in metrics] for method in methods])
        for name in ("rank", "wins")
    )
    axes.imshow(table, cmap=COLORMAP, vmin=1, vmax=len(methods) + 1, aspect="auto")
    _name_rows_and_columns(axes, methods, metrics)
    _print_ranks(axes, table, wins)


def _name_rows_and_columns(axes: Axes, methods: Sequence[str], metrics: Sequence[str]) -> None:
    axes.grid(visible=False)
    axes.set_xticks(
        range(len(metrics)),
        [METRICS[name].label if name in METRICS else name.capitalize() for name in metrics],
    )
    axes.set_yticks(range(len(methods)), [method_label(name) for name in methods])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _print_ranks(axes: Axes, table: npt.NDArray[Any], wins: npt.NDArray[Any]) -> None:
    """Prints each rank and how often it is first, the best of a column in bold."""
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
            color="white" if rank > 0.72 * (len(table) + 1) else "black",
        )
