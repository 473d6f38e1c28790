"""The numbers of the paper's tables, beside the paper's own, as Markdown.

``published.csv`` is transcribed from tables 1 to 4 of *Neighbor-aware calibration of segmentation
networks with penalty-based constraints* (Murugesan et al., 2024), https://arxiv.org/abs/2401.14487.
One row per number: ``table``; ``dataset``, or "all" for a mean over the six; ``structure``, or "mean"
over a dataset's; ``metric``; ``method``, as `nacl_monai.paper.grid.Method` names it; ``value``.

The paper's means agree with its parts to what rounding allows. Its one contradiction: NACL's DSC on
FLARE is 0.867 in table 1, and 0.868 in tables 3 and 4.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd

from nacl_monai.evaluations import rank_correlations
from nacl_monai.evaluations.statistics import (
    ENOUGH_TRAININGS,
    Estimate,
    cells_of,
    estimate,
    is_scored,
    patient_scores,
    trainings_text,
)
from nacl_monai.evaluations.tables import best_places, markdown_table
from nacl_monai.metrics.columns import METRICS, metric_of, structure_of
from nacl_monai.paper.grid import PAPER_DATASETS, dataset_label, method_label
from nacl_monai.paper.results import CONVENTIONS, PROJECT, Results
from nacl_monai.paper.trainings import first_heading

#: The columns that identify the experiments of a mean.
EXPERIMENT = ["method", "network", "fraction"]
#: What says which number of the paper one is.
PUBLISHED = ["table", "dataset", "structure", "metric", "method"]
#: In the column ``structure``: the mean over those of a case.
AVERAGE = "mean"
#: In the column ``dataset``: the mean over all.
OVERALL = "all"
#: The metric that is not a column of ``cases.csv``.
CORRELATION = "rank_correlation"
COLUMNS = ["dataset", "structure", "metric", "method", "mean", "low", "high", "patients", "seeds"]
COLUMNS += ["seed_sd"]


#: How the best cell, the second best and any other are written.
MARKS = ("**{}**", "<u>{}</u>", "{}")


def read_published() -> pd.DataFrame:
    """All 462 numbers of the paper, in its order.

    Example:
        >>> numbers = read_published().set_index(PUBLISHED)["value"]
        >>> float(numbers["Table 2", "acdc", "mean", "ece_foreground", "nacl"])
        0.048
    """
    with files("nacl_monai.paper").joinpath("published.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file)


def mean_scores(results: Results, columns: Sequence[str]) -> pd.DataFrame:
    """Means over patients of columns of ``cases.csv``.

    Args:
        results: The runs; those that differ only by seed or fold are one experiment.
        columns: Those of ``cases.csv``; a dataset that lacks one, or has it nowhere defined, has no such
            row.

    Returns:
        One row per experiment and column: ``dataset``, ``method``, ``network``, ``fraction``,
        ``column``; ``mean``, and ``low`` and ``high``, the ends of its 95 % interval; ``patients`` in
        whom it is defined; ``seeds``, and ``seed_sd``, the standard deviation over them.
    """
    rows = []
    for dataset in results.datasets:
        cases = results.cases(dataset)
        defined = [name for name in columns if is_scored(cases, name)]
        rows += [
            {"dataset": dataset, **dict(zip(EXPERIMENT, key, strict=True)), **row}
            for key, group in cases.groupby(EXPERIMENT, sort=False)
            for row in _means(group, defined)
        ]
    return pd.DataFrame(rows)


def _means(cases: pd.DataFrame, columns: list[str]) -> Iterator[dict[str, Any]]:
    """The means of one experiment, a row per column."""
    scores = cases.groupby(["patient", "seed"])[columns].mean()
    over_seeds = scores.groupby("seed").mean()
    for column in columns:
        yield {
            "column": column,
            **mean_columns(estimate([cells_of(scores[column])])),
            "seed_sd": float(over_seeds[column].std()),
        }


def mean_columns(mean: Estimate) -> dict[str, float]:
    """The columns of a mean in a table, with the ends of its 95 % interval."""
    values = (mean.mean, *mean.interval(), mean.patients, mean.trainings)
    return dict(zip(("mean", "low", "high", "patients", "seeds"), values, strict=True))


def summarize(
    results: Results,
    metrics: Sequence[str],
    *,
    per_structure: bool = False,
    over_datasets: bool = False,
) -> pd.DataFrame:
    """Every number of a table, as measured.

    Args:
        results: The experiments of that table.
        metrics: Columns of ``cases.csv``.
        per_structure: With the numbers of every structure above their mean.
        over_datasets: With the mean over the datasets at the end, where there are several.

    Returns:
        One row per number. ``dataset`` ("all" is the mean over datasets), ``structure`` ("mean" is
        the mean over a case's structures), ``metric``, ``method``; ``mean`` over patients, ``low`` and
        ``high`` of its 95 % interval; ``patients`` in whom it is defined; ``seeds``, and
        ``seed_sd``, the standard deviation of the mean over them.
    """
    columns: dict[str, None] = {}
    for metric in metrics:
        if per_structure:
            names = [str(name) for dataset in results.datasets for name in results.cases(dataset)]
            columns |= dict.fromkeys(name for name in names if name.startswith(f"{metric}_"))
        columns[metric] = None
    means = mean_scores(results, list(columns))
    means["metric"] = means["column"].map(metric_of)
    means["structure"] = means["column"].map(structure_of).replace("", AVERAGE)
    if over_datasets and len(results.datasets) > 1:
        overall = [_over_datasets(results, metric) for metric in metrics]
        return pd.concat([means[COLUMNS], *overall], ignore_index=True)
    return means[COLUMNS]


def correlate(results: Results) -> pd.DataFrame:
    """How well the expected Dice orders the test cases by their true Dice.

    Args:
        results: The experiments of a table.

    Returns:
        Rows as `summarize` returns them, of the metric "rank_correlation": Spearman's, over the cases of
        a run, mean over the seeds; no interval. None where no Dice is expected.
    """
    rows = []
    for dataset in results.datasets:
        cases = results.cases(dataset)
        for method, group in cases.groupby("method", sort=False):
            by_seed = pd.DataFrame([rank_correlations(run) for _, run in group.groupby("seed")])
            for structure in by_seed:
                row = {"dataset": dataset, "structure": structure, "metric": CORRELATION}
                row |= {"method": method, "mean": by_seed[structure].mean()}
                row |= {"patients": group["patient"].nunique(), "seeds": len(by_seed)}
                rows.append({**row, "seed_sd": by_seed[structure].std()})
    return pd.DataFrame(rows, columns=COLUMNS)


def beside_paper(summary: pd.DataFrame, number: str, conventions: str = PROJECT) -> pd.DataFrame:
    """The summary with the paper's numbers.

    Args:
        summary: From `summarize`.
        number: The number of the paper's table: "Table 1".
        conventions: By which it was measured, a key of `CONVENTIONS`.

    Returns:
        The same rows with ``paper``, and ``difference`` of our mean from it; both are empty where the
        paper has no such number, the latter also where its conventions are other ones. The paper's
        mean over datasets is that of its own, and no other is set beside it.
    """
    published = read_published()
    published = published[published["table"] == number]
    if set(summary["dataset"]) - {OVERALL} != set(PAPER_DATASETS):
        published = published[published["dataset"] != OVERALL]
    keys = PUBLISHED[1:]
    known = published.assign(structure=published["structure"].str.casefold())
    wanted = summary[keys].assign(structure=summary["structure"].str.casefold())
    paper = known.set_index(keys)["value"].reindex(pd.MultiIndex.from_frame(wanted)).to_numpy()
    alike = summary["metric"].isin(CONVENTIONS[conventions].alike)
    return summary.assign(paper=paper, difference=(summary["mean"] - paper).where(alike))


def _over_datasets(results: Results, metric: str) -> pd.DataFrame:
    """The mean of the datasets' means, of the methods that were run on all of them."""
    scores = [patient_scores(results.cases(name), metric) for name in results.datasets]
    rows = []
    for method in scores[0]:
        if all(method in table for table in scores):
            mean = estimate([cells_of(table[method]) for table in scores])
            key = {"dataset": OVERALL, "structure": AVERAGE, "metric": metric, "method": method}
            rows.append({**key, **mean_columns(mean)})
    return pd.DataFrame(rows)


def to_markdown(summary: pd.DataFrame, remarks: Sequence[str] = ()) -> str:
    """A table per metric: rows are datasets and structures, columns are methods.

    Args:
        summary: From `nacl_monai.paper.tables.beside_paper`.
        remarks: Sentences on the trainings, for the note: `nacl_monai.paper.trainings.remarks`.
    """
    parts = []
    for metric in summary["metric"].unique():
        grid = _grid(summary, metric)
        header = [first_heading("Dataset", remarks), "Structure", *grid.columns]
        rows = [[*index, *row] for index, row in zip(grid.index, grid.to_numpy(), strict=True)]
        table = markdown_table(header, rows, "ll" + "r" * len(grid.columns))
        parts.append(f"**{METRICS[metric].heading}**\n\n{table}")
    return "\n\n".join([*parts, table_caption(summary, remarks)]) + "\n"


def methods_to_markdown(summary: pd.DataFrame, remarks: Sequence[str] = ()) -> str:
    """A table per dataset: rows are methods, columns are metrics; only means over structures.

    Args:
        summary: From `nacl_monai.paper.exhibits.MethodTable.summary`.
        remarks: As for `to_markdown`.
    """
    means = summary[summary["structure"] == AVERAGE]
    parts = []
    for dataset, rows in means.groupby("dataset", sort=False):
        grid = rows.pivot(index="method", columns="metric", values="mean")
        grid = grid.loc[rows["method"].unique(), rows["metric"].unique()]
        cells = {str(metric): _marked(values, str(metric)) for metric, values in grid.items()}
        header = [first_heading("Method", remarks), *(METRICS[metric].heading for metric in cells)]
        lines = zip(map(method_label, grid.index), *cells.values(), strict=True)
        table = markdown_table(header, list(lines), "l" + "r" * len(cells))
        parts.append(f"**{dataset_label(str(dataset))}**\n\n{table}")
    alone = "ECE and CECE alone: over the label's foreground. Intervals: in the CSV."
    return "\n\n".join([*parts, f"{table_caption(means, remarks)} {alone}"]) + "\n"


def _marked(values: pd.Series[float], metric: str) -> list[str]:
    """The values of a column as text, the best and the second marked."""
    places = best_places(values, metric)
    return [
        "–" if np.isnan(value) else MARKS[place].format(METRICS[metric].text(value))
        for value, place in zip(values, places, strict=True)
    ]


def table_caption(summary: pd.DataFrame, remarks: Sequence[str] = ()) -> str:
    """The caption that the numbers need."""
    alone = summary[summary["dataset"] != OVERALL]
    patients = alone.groupby("dataset", sort=False)["patients"].max()
    datasets = ", ".join(f"{dataset_label(str(name))} {n}" for name, n in patients.items())
    units = " HD95 in voxels." if "hd95" in set(summary["metric"]) else ""
    if CORRELATION in set(summary["metric"]):
        units += (
            " Rank correlation: Spearman's over test cases, mean over trainings, without interval."
        )
    paper = (
        " Below: the paper's number and, where both are measured alike, ours minus it; "
        "the paper's network is `unet_authors`, which `unet` is not."
        if summary["paper"].notna().any()
        else ""
    )
    trainings = "".join(f" {sentence}" for sentence in remarks)
    return (
        f"Mean over test patients ({datasets}) and its 95 % t interval over {_sample(summary)}."
        f"{trainings}{paper}{units} Best in bold, second underlined."
    )


def _sample(summary: pd.DataFrame) -> str:
    """The unit of the intervals."""
    low, high = (int(summary["seeds"].agg(end)) for end in ("min", "max"))
    also = " and trainings" if high >= ENOUGH_TRAININGS else ""
    fewer = ", with fewer than three over patients" if low < ENOUGH_TRAININGS <= high else ""
    return f"patients{also}{fewer}; {trainings_text(low, high)} per method"


def _grid(summary: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Cells as text; rows are (dataset, structure), columns are labels of methods."""
    part = summary[summary["metric"] == metric]
    methods = list(dict.fromkeys(part["method"]))
    rows = {}
    for (dataset, structure), group in part.groupby(["dataset", "structure"], sort=False):
        by_method = group.set_index("method").reindex(methods)
        places = best_places(by_method["mean"].tolist(), metric)
        label = "Mean over datasets" if dataset == OVERALL else dataset_label(str(dataset))
        rows[label, "Mean" if structure == AVERAGE else str(structure)] = [
            _cell(row, metric, place)
            for row, place in zip(by_method.to_dict("records"), places, strict=True)
        ]
    return pd.DataFrame.from_dict(rows, orient="index", columns=[method_label(m) for m in methods])


def _cell(row: Mapping[Any, float], metric: str, place: int) -> str:
    """The mean, its interval below, and the paper's number with our difference from it."""
    if np.isnan(row["mean"]):
        return "–"
    text = METRICS[metric].text
    lines = [MARKS[place].format(text(row["mean"]))]
    if not np.isnan(row["low"]):
        lines.append(f"[{text(row['low'])}, {text(row['high'])}]")
    if not np.isnan(row["paper"]):
        difference = "" if np.isnan(row["difference"]) else f" ({text(row['difference'], '+')})"
        lines.append(f"{text(row['paper'])}{difference}")
    return "<br>".join(lines)
