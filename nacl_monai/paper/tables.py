"""The paper's tables anew: our mean and its interval, the paper's number, and the difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from nacl_monai.paper.grid import read_name
from nacl_monai.paper.means import mean_scores
from nacl_monai.paper.names import dataset_label, method_label
from nacl_monai.paper.published import KEYS, read_published
from nacl_monai.paper.results import Results
from nacl_monai.reports.columns import METRICS, metric_of, structure_of
from nacl_monai.reports.statistics import RESAMPLES, interval, paired_tests, patient_scores

MEAN = "mean"
ALL = "all"
SUMMARY = ["dataset", "structure", "metric", "method", "mean", "low", "high", "patients", "seeds"]
SUMMARY += ["seed_sd"]


@dataclass(frozen=True)
class Layout:
    """What a table of the paper shows: its metrics, of every structure too or of their mean alone."""

    number: str
    metrics: tuple[str, ...]
    per_structure: bool
    mean_over_datasets: bool


LAYOUTS = {
    "table1": Layout("Table 1", ("dice", "hd95"), per_structure=True, mean_over_datasets=False),
    "table2": Layout(
        "Table 2",
        ("ece_foreground", "cece_foreground"),
        per_structure=False,
        mean_over_datasets=False,
    ),
    "table3": Layout(
        "Table 3", ("dice", "ece_foreground"), per_structure=False, mean_over_datasets=True
    ),
    "table4": Layout(
        "Table 4", ("dice", "ece_foreground"), per_structure=False, mean_over_datasets=True
    ),
}


def summarize(results: Results, table: str, *, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Every number of one of the paper's tables, as measured.

    Args:
        results: selected for that table.
        table: a key of `LAYOUTS`.
        resamples: of the intervals.

    Returns:
        One row per number. ``dataset`` ("all" is the mean over datasets), ``structure`` ("mean" is
        the mean over a case's structures), ``metric``, ``method``; ``mean`` over patients, ``low`` and
        ``high`` of its 95 % interval; ``patients`` in whom it is defined; ``seeds``, and
        ``seed_sd``, the standard deviation of the mean over them; ``paper``, and ``difference`` of
        our mean from it, empty where the paper has no such number.
    """
    layout = LAYOUTS[table]
    means = mean_scores(results, _columns(results, layout), resamples=resamples)
    means["metric"] = means["column"].map(metric_of)
    means["structure"] = means["column"].map(structure_of).replace("", MEAN)
    summary = means[SUMMARY]
    if layout.mean_over_datasets and len(results.datasets) > 1:
        summary = pd.concat(
            [summary, _over_datasets(results, layout, resamples)], ignore_index=True
        )
    return _beside_paper(summary, layout.number)


def compare_methods(
    results: Results, columns: Sequence[str], reference: str = "nacl", *, resamples: int = RESAMPLES
) -> pd.DataFrame:
    """Paired tests of a method against each other one, per dataset and metric.

    Returns:
        The rows of `nacl_monai.reports.statistics.paired_tests` behind ``dataset`` and ``metric``;
        none for a dataset on which only one method was run.
    """
    parts = []
    for dataset in results.datasets:
        cases = results.cases(dataset)
        for metric in columns:
            scores = patient_scores(cases, metric)
            if reference not in scores or len(scores.columns) < 2:
                continue
            tests = paired_tests(scores, reference, metric, resamples=resamples).reset_index()
            tests.insert(0, "metric", metric)
            tests.insert(0, "dataset", dataset)
            parts.append(tests)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def to_csv(table: pd.DataFrame) -> str:
    """Six digits; an empty cell is undefined."""
    return str(table.to_csv(index=False, float_format="%.6f", lineterminator="\n"))


def to_markdown(summary: pd.DataFrame) -> str:
    """A table per metric: rows are datasets and structures, columns are methods."""
    marks = _Marks("**{}**", "<u>{}</u>", "<br>")
    parts = []
    for metric in summary["metric"].unique():
        grid = _grid(summary, metric, marks)
        head = ["Dataset", "Structure", *grid.columns]
        rule = [":---", ":---", *["---:"] * len(grid.columns)]
        body = [[*index, *row] for index, row in zip(grid.index, grid.to_numpy(), strict=True)]
        lines = [f"| {' | '.join(row)} |" for row in (head, rule, *body)]
        parts.append("\n".join([f"**{METRICS[metric].heading}**", "", *lines]))
    return "\n\n".join([*parts, note(summary)]) + "\n"


def to_latex(summary: pd.DataFrame) -> str:
    r"""The same as ``tabular`` environments, one per metric; needs no package."""
    marks = _Marks(r"\textbf{{{}}}", r"\underline{{{}}}", r"\\")
    arrow = {"↑": r"$\uparrow$", "↓": r"$\downarrow$"}
    parts = [f"% {note(summary)}"]
    for metric in summary["metric"].unique():
        grid = _grid(summary, metric, marks)
        heading = METRICS[metric].heading
        for character, command in arrow.items():
            heading = heading.replace(character, command)
        head = [heading, "", *map(_tex, grid.columns)]
        body = [
            [*map(_tex, index), *(rf"\shortstack{{{cell}}}" for cell in row)]
            for index, row in zip(grid.index, grid.to_numpy(), strict=True)
        ]
        parts += [
            rf"\begin{{tabular}}{{ll{'r' * len(grid.columns)}}}",
            rf"\hline {' & '.join(head)} \\ \hline",
            *(rf"{' & '.join(row)} \\" for row in body),
            r"\hline",
            r"\end{tabular}",
        ]
    return "\n".join(parts) + "\n"


def comparisons_to_markdown(tests: pd.DataFrame, reference: str = "NACL") -> str:
    """The paired tests as one table; bold is significant at 5 % after Holm's correction."""
    head = ["Dataset", "Metric", f"{reference} against", "Difference", "95 % interval"]
    head += ["p", "p (Holm)", "Effect", "Patients"]
    lines = [head, [":---"] * 3 + ["---:"] * 6]
    for row in tests.to_dict("records"):
        d = METRICS[row["metric"]].decimals
        p = _p_value(row["p_holm"])
        lines.append(
            [
                dataset_label(row["dataset"]),
                METRICS[row["metric"]].heading,
                label_of(row["method"]),
                f"{row['difference']:+.{d}f}",
                f"[{row['low']:+.{d}f}, {row['high']:+.{d}f}]",
                _p_value(row["p"]),
                f"**{p}**" if row["p_holm"] < 0.05 else p,
                f"{row['effect']:+.2f}",
                str(row["patients"]),
            ]
        )
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return (
        f"{text}\n\nWilcoxon's signed-rank test over patients, two-sided; Holm's correction for the "
        f"methods of a column; bold: below 0.05. Difference: {reference} minus the other, its "
        f"interval by bootstrap over patients. Effect: matched-pairs rank-biserial correlation, "
        f"positive where {reference} is better.\n"
    )


def note(summary: pd.DataFrame) -> str:
    """What the reader must know to read the numbers rightly."""
    patients = summary[summary["dataset"] != ALL].groupby("dataset", sort=False)["patients"].max()
    sets = ", ".join(f"{dataset_label(name)} {n}" for name, n in patients.items())
    low, high = (int(summary["seeds"].agg(end)) for end in ("min", "max"))
    trainings = f"{low}" if low == high else f"{low} to {high}"
    trainings += " trainings with different seeds, averaged first" if high > 1 else " training"
    units = " HD95 in voxels." if "hd95" in set(summary["metric"]) else ""
    paper = (
        " Below: the paper's number, and ours minus it." if summary["paper"].notna().any() else ""
    )
    return (
        f"Mean over test patients ({sets}) and its 95 % interval by bootstrap over patients; of each "
        f"method {trainings}.{paper}{units} "
        "Best in bold, second underlined."
    )


def label_of(method: str) -> str:
    """The label of a method by its name in the tables' CSV files."""
    return method_label(read_name("", f"unet_{method}_seed0").method)


def marked(values: Sequence[float], metric: str) -> list[int]:
    """0 for the best of the printed values, 1 for the second, else 2; equal digits share a place."""
    printed = np.round(np.asarray(values, dtype=float), METRICS[metric].decimals)
    order = np.unique(printed[~np.isnan(printed)])
    if METRICS[metric].higher_is_better:
        order = order[::-1]
    places = {value: min(place, 2) for place, value in enumerate(order)}
    return [places.get(value, 2) if len(order) > 1 else 2 for value in printed]


@dataclass(frozen=True)
class _Marks:
    best: str
    second: str
    line_break: str

    def __call__(self, text: str, place: int) -> str:
        return (self.best, self.second, "{}")[place].format(text)


def _grid(summary: pd.DataFrame, metric: str, marks: _Marks) -> pd.DataFrame:
    """Cells as text; rows are (dataset, structure), columns are methods."""
    part = summary[summary["metric"] == metric]
    methods = list(dict.fromkeys(part["method"]))
    rows = {}
    for (dataset, structure), group in part.groupby(["dataset", "structure"], sort=False):
        of = group.set_index("method").reindex(methods)
        places = marked(of["mean"].tolist(), metric)
        label = "Mean over datasets" if dataset == ALL else dataset_label(dataset)
        rows[label, "Mean" if structure == MEAN else structure] = [
            _cell(row, METRICS[metric].decimals, place, marks)
            for row, place in zip(of.to_dict("records"), places, strict=True)
        ]
    return pd.DataFrame.from_dict(rows, orient="index", columns=[label_of(m) for m in methods])


def _cell(row: Mapping[Any, float], d: int, place: int, marks: _Marks) -> str:
    if np.isnan(row["mean"]):
        return "–"
    lines = [marks(f"{row['mean']:.{d}f}", place)]
    if not np.isnan(row["low"]):
        lines.append(f"[{row['low']:.{d}f}, {row['high']:.{d}f}]")
    if not np.isnan(row["paper"]):
        lines.append(f"{row['paper']:.{d}f} ({row['difference']:+.{d}f})")
    return marks.line_break.join(lines)


def _columns(results: Results, layout: Layout) -> list[str]:
    """Columns of cases.csv: for each metric those of its structures, then their mean."""
    columns: dict[str, None] = {}
    for metric in layout.metrics:
        for dataset in results.datasets if layout.per_structure else ():
            names = (str(name) for name in results.cases(dataset))
            columns |= dict.fromkeys(name for name in names if name.startswith(f"{metric}_"))
        columns[metric] = None
    return list(columns)


def _over_datasets(results: Results, layout: Layout, resamples: int) -> pd.DataFrame:
    """The mean of the datasets' means, of the methods that were run on all of them."""
    rows = []
    for metric in layout.metrics:
        scores = [patient_scores(results.cases(name), metric) for name in results.datasets]
        for method in scores[0]:
            if all(method in of for of in scores):
                parts = [of[method].to_numpy(np.float64) for of in scores]
                found = asdict(interval(parts, resamples=resamples))
                rows.append(
                    {"dataset": ALL, "structure": MEAN, "metric": metric, "method": method, **found}
                )
    return pd.DataFrame(rows)


def _beside_paper(summary: pd.DataFrame, number: str) -> pd.DataFrame:
    paper = read_published()
    paper = paper[paper["table"] == number].rename(columns={"value": "paper"})
    keys = KEYS[1:]
    by_case = {key: summary[key] for key in keys}
    known = paper.assign(structure=paper["structure"].str.casefold()).set_index(keys)["paper"]
    wanted = pd.MultiIndex.from_frame(
        pd.DataFrame({**by_case, "structure": summary["structure"].str.casefold()})
    )
    summary["paper"] = known.reindex(wanted).to_numpy()
    summary["difference"] = summary["mean"] - summary["paper"]
    return summary


def _p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _tex(text: str) -> str:
    for letter, name in {"γ": "gamma", "α": "alpha", "σ": "sigma", "λ": "lambda"}.items():
        text = text.replace(letter, rf"$\{name}$")
    return text.replace("_", r"\_").replace("%", r"\%")
