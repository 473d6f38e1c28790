"""Figure 2: which method is best over many scores at once, and how often chance would crown another.

Two rules of MICCAI challenges, as in the paper's figure 2. *Sum-rank* (Mendrik et al. 2015) ranks
the methods by their means, once per dataset, structure and metric. *Mean-case-rank* (Maier et al.
2017) ranks them anew in every patient and training. Both average ranks; 1 is best, and ties share
theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import rankdata

from nacl_monai.errors import InputError
from nacl_monai.evaluations.statistics import DIGITS, bootstrap_means, patient_scores
from nacl_monai.metrics.columns import METRICS, metric_of
from nacl_monai.metrics.pooled import draws
from nacl_monai.paper.grid import dataset_label, method_label
from nacl_monai.paper.results import Results
from nacl_monai.reports.style import WIDTH, add_caption, house_style, new_figure
from nacl_monai.tensors import Floats

_RESAMPLES = 2000
#: Ends of the 95 % interval.
QUANTILES = (0.025, 0.975)
SUM_RANK, MEAN_CASE_RANK = RULES = ("sum-rank", "mean-case-rank")
GLOBAL = "global"
#: As the paper's tables have them: some are ranked for every structure, the others once per dataset.
PER_STRUCTURE = ("dice", "hd95")
PER_DATASET = ("ece_foreground", "cece_foreground")
#: Light is a good rank; lightness falls evenly, so that gray print keeps the order.
COLORMAP = "Blues"

#: Scores per patient and seed (rows) and method of each (dataset, column of cases.csv).
Scores = Mapping[tuple[str, str], pd.DataFrame]


def rank_methods(scores: Scores, *, resamples: int = _RESAMPLES) -> pd.DataFrame:
    """Mean ranks by both rules, per metric and over all metrics, with their stability.

    Patients are resampled within each dataset, and so are its trainings where there are several: the
    same ones for all its scores. Then everything is ranked again. Dataset number k draws with the
    seed k. A metric weighs the same in the global rank however many structures it has.

    Args:
        scores: From `nacl_monai.evaluations.statistics.patient_scores`, of the same methods.
        resamples: Number of resamplings.

    Returns:
        One row per ``rule``, ``metric`` (or "global") and ``method``: ``rank``; ``low`` and
        ``high``, its 95 % bootstrap interval; ``wins``, the share of the resamplings in which the
        method has the best rank, shared in a tie.
    """
    ranks = _resampled_ranks(scores, resamples)
    methods = [str(name) for name in next(iter(scores.values()))]
    tables = [
        pd.DataFrame({"rule": rule, "metric": metric, "method": methods, **_summary(drawn)})
        for rule, of_metrics in ranks.items()
        for metric, drawn in _mean_ranks(of_metrics).items()
    ]
    return pd.concat(tables, ignore_index=True)


def _resampled_ranks(scores: Scores, resamples: int) -> dict[str, dict[str, list[Floats]]]:
    """The ranks (1 + resamples, methods) by each score of a metric, by rule and metric."""
    cells = _cells(scores)
    weights = {
        dataset: _weights(index, resamples, seed)
        for seed, (dataset, index) in enumerate(cells.items())
    }
    ranks: dict[str, dict[str, list[Floats]]] = {rule: {} for rule in RULES}
    for (dataset, column), table in scores.items():
        metric = metric_of(column)
        values = table.reindex(cells[dataset]).to_numpy(np.float64).round(DIGITS)
        errors = -values if METRICS[metric].higher_is_better else values
        for rule, drawn in _ranks(errors, weights[dataset]).items():
            ranks[rule].setdefault(metric, []).append(drawn)
    return ranks


def _mean_ranks(ranks: Mapping[str, Sequence[Floats]]) -> dict[str, Floats]:
    """The mean over the scores of each metric, behind that over all metrics."""
    means = {metric: np.mean(parts, axis=0) for metric, parts in ranks.items()}
    return {GLOBAL: np.mean(list(means.values()), axis=0), **means}


def _cells(scores: Scores) -> dict[str, pd.MultiIndex]:
    """The patients and seeds of each dataset in any of its scores: all pairs, sorted."""
    names: dict[str, tuple[set[Any], set[Any]]] = {}
    for (dataset, _), table in scores.items():
        patients, seeds = names.setdefault(dataset, (set(), set()))
        patients.update(table.index.get_level_values("patient"))
        seeds.update(table.index.get_level_values("seed"))
    return {
        dataset: pd.MultiIndex.from_product([sorted(patients), sorted(seeds)])
        for dataset, (patients, seeds) in names.items()
    }


def _weights(cells: pd.MultiIndex, resamples: int, seed: int) -> Floats:
    """How often each cell counts, (1 + resamples, cells): once, then as often as drawn.

    A cell is drawn as often as its patient times as often as its training.
    """
    patients, seeds = map(len, cells.levels)
    drawn = draws(patients, resamples, seed)
    trained = draws(seeds, resamples, (seed, 1))
    weights = (drawn[:, :, None] * trained[:, None, :]).reshape(resamples, -1)
    return np.vstack([np.ones(patients * seeds), weights])


def _ranks(errors: Floats, weights: Floats) -> dict[str, Floats]:
    """Ranks (1 + resamples, methods) by each rule; NaN where nothing is defined."""
    means = bootstrap_means(errors, weights).round(DIGITS)
    # A row in which a method's score is undefined ranks nobody.
    by_case = np.asarray(rankdata(errors, axis=1, nan_policy="propagate"), dtype=np.float64)
    return {
        SUM_RANK: rankdata(means, axis=1, nan_policy="omit"),
        MEAN_CASE_RANK: bootstrap_means(by_case, weights),
    }


def _summary(ranks: Floats) -> dict[str, Floats]:
    """The first row of ``ranks`` is of the patients as they are, the others are resamplings.

    A resampling in which a method has no score at all crowns nobody.
    """
    drawn = ranks[1:]
    defined = ~np.isnan(drawn).any(axis=1)
    drawn = drawn[defined] if defined.any() else np.full((1, ranks.shape[1]), np.nan)
    best = np.isclose(drawn, drawn.min(axis=1, keepdims=True))
    with np.errstate(invalid="ignore"):
        wins = (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
    low, high = np.quantile(drawn, QUANTILES, axis=0)
    return {"rank": ranks[0], "low": low, "high": high, "wins": wins}


def draw_figure2(results: Results) -> tuple[Figure, pd.DataFrame]:
    """Ranks by both rules, global and per metric, with their stability, and their numbers."""
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
    """The scores of patients in each ranked column that is defined anywhere.

    Some metrics are ranked for every structure where there are any, the others for whole cases.
    """
    ranked: list[str] = []
    for metric in PER_STRUCTURE:
        ranked += [name for name in map(str, cases) if name.startswith(f"{metric}_")] or [metric]
    return {
        column: patient_scores(cases, column)
        for column in (*ranked, *PER_DATASET)
        if cases[column].notna().any()
    }


def _draw_heat_map(
    axes: Axes, ranks: pd.DataFrame, methods: Sequence[str], metrics: Sequence[str]
) -> None:
    """Colors and prints the rank of each method (down) by each metric (across), the best in bold."""
    by_key = ranks.set_index(["method", "metric"])
    table, wins = (
        np.array([[by_key.loc[(method, metric), name] for metric in metrics] for method in methods])
        for name in ("rank", "wins")
    )
    axes.imshow(table, cmap=COLORMAP, vmin=1, vmax=len(methods) + 1, aspect="auto")
    axes.grid(visible=False)
    axes.set_xticks(
        range(len(metrics)),
        [METRICS[name].label if name in METRICS else name.capitalize() for name in metrics],
    )
    axes.set_yticks(range(len(methods)), [method_label(name) for name in methods])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
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
