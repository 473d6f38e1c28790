"""The numbers of the paper's tables: our mean and its interval, the paper's number, the difference."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from nacl_monai.paper.conventions import CONVENTIONS, PROJECT
from nacl_monai.paper.grid import PAPER_DATASETS
from nacl_monai.paper.means import mean_columns, mean_scores
from nacl_monai.paper.published import KEYS, read_published
from nacl_monai.paper.results import Results
from nacl_monai.reports import rank_correlations
from nacl_monai.reports.columns import metric_of, structure_of
from nacl_monai.reports.statistics import cells_of, estimate, patient_scores

#: In the column ``structure``: the mean over those of a case.
MEAN = "mean"
#: In the column ``dataset``: the mean over all.
ALL = "all"
#: The metric that is not a column of ``cases.csv``.
CORRELATION = "rank_correlation"
COLUMNS = ["dataset", "structure", "metric", "method", "mean", "low", "high", "patients", "seeds"]
COLUMNS += ["seed_sd"]


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
            columns |= dict.fromkeys(_structures(results, metric))
        columns[metric] = None
    means = mean_scores(results, list(columns))
    means["metric"] = means["column"].map(metric_of)
    means["structure"] = means["column"].map(structure_of).replace("", MEAN)
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
    if set(summary["dataset"]) - {ALL} != set(PAPER_DATASETS):
        published = published[published["dataset"] != ALL]
    keys = KEYS[1:]
    known = published.assign(structure=published["structure"].str.casefold())
    wanted = summary[keys].assign(structure=summary["structure"].str.casefold())
    paper = known.set_index(keys)["value"].reindex(pd.MultiIndex.from_frame(wanted)).to_numpy()
    alike = summary["metric"].isin(CONVENTIONS[conventions].alike)
    return summary.assign(paper=paper, difference=(summary["mean"] - paper).where(alike))


def _structures(results: Results, metric: str) -> list[str]:
    """The columns of a metric that are of one structure, in any dataset."""
    names = (str(name) for dataset in results.datasets for name in results.cases(dataset))
    return [name for name in names if name.startswith(f"{metric}_")]


def _over_datasets(results: Results, metric: str) -> pd.DataFrame:
    """The mean of the datasets' means, of the methods that were run on all of them."""
    scores = [patient_scores(results.cases(name), metric) for name in results.datasets]
    rows = []
    for method in scores[0]:
        if all(method in table for table in scores):
            mean = estimate([cells_of(table[method]) for table in scores])
            key = {"dataset": ALL, "structure": MEAN, "metric": metric, "method": method}
            rows.append({**key, **mean_columns(mean)})
    return pd.DataFrame(rows)
