"""The paper's tables as Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from nacl_monai.paper.names import dataset_label, method_label
from nacl_monai.paper.summary import ALL, CORRELATION, MEAN
from nacl_monai.reports.columns import METRICS
from nacl_monai.reports.tables import best_places, markdown_table


@dataclass(frozen=True)
class _Marks:
    """How the best cell, the second best and the end of a line are written."""

    best: str
    second: str
    line_break: str

    def mark(self, text: str, place: int) -> str:
        return (self.best, self.second, "{}")[place].format(text)


MARKDOWN = _Marks("**{}**", "<u>{}</u>", "<br>")
LATEX = _Marks(r"\textbf{{{}}}", r"\underline{{{}}}", r"\\")
#: What LaTeX needs to print a character.
LATEX_CHARACTERS = {
    "γ": r"$\gamma$",
    "α": r"$\alpha$",
    "σ": r"$\sigma$",
    "λ": r"$\lambda$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "_": r"\_",
    "%": r"\%",
}


def to_markdown(summary: pd.DataFrame, remarks: Sequence[str] = ()) -> str:
    """A table per metric: rows are datasets and structures, columns are methods.

    Args:
        summary: From `nacl_monai.paper.summary.beside_paper`.
        remarks: Sentences on the trainings, for the note: `nacl_monai.paper.remarks.remarks`.
    """
    parts = []
    for metric in summary["metric"].unique():
        grid = _grid(summary, metric, MARKDOWN)
        header = ["Dataset", "Structure", *grid.columns]
        rows = [[*index, *row] for index, row in zip(grid.index, grid.to_numpy(), strict=True)]
        table = markdown_table(header, rows, "ll" + "r" * len(grid.columns))
        parts.append(f"**{METRICS[metric].heading}**\n\n{table}")
    return "\n\n".join([*parts, note(summary, remarks)]) + "\n"


def to_latex(summary: pd.DataFrame, remarks: Sequence[str] = ()) -> str:
    r"""The same as ``tabular`` environments, one per metric; needs no package."""
    parts = [f"% {note(summary, remarks)}"]
    for metric in summary["metric"].unique():
        grid = _grid(summary, metric, LATEX)
        header = [_tex(METRICS[metric].heading), "", *map(_tex, grid.columns)]
        body = [
            [*map(_tex, index), *(rf"\shortstack{{{cell}}}" for cell in row)]
            for index, row in zip(grid.index, grid.to_numpy(), strict=True)
        ]
        parts += [
            rf"\begin{{tabular}}{{ll{'r' * len(grid.columns)}}}",
            rf"\hline {' & '.join(header)} \\ \hline",
            *(rf"{' & '.join(row)} \\" for row in body),
            r"\hline",
            r"\end{tabular}",
        ]
    return "\n".join(parts) + "\n"


def methods_to_markdown(summary: pd.DataFrame, remarks: Sequence[str] = ()) -> str:
    """A table per dataset: rows are methods, columns are metrics; only means over structures.

    Args:
        summary: From `nacl_monai.paper.contents.MethodTable.summary`.
        remarks: As for `to_markdown`.
    """
    means = summary[summary["structure"] == MEAN]
    parts = []
    for dataset, rows in means.groupby("dataset", sort=False):
        grid = rows.pivot(index="method", columns="metric", values="mean")
        grid = grid.loc[rows["method"].unique(), rows["metric"].unique()]
        cells = {str(metric): _marked(values, str(metric)) for metric, values in grid.items()}
        header = ["Method", *(METRICS[metric].heading for metric in cells)]
        lines = zip(map(method_label, grid.index), *cells.values(), strict=True)
        table = markdown_table(header, list(lines), "l" + "r" * len(cells))
        parts.append(f"**{dataset_label(str(dataset))}**\n\n{table}")
    alone = "ECE and CECE alone: over the label's foreground. Intervals: in the CSV."
    return "\n\n".join([*parts, f"{note(means, remarks)} {alone}"]) + "\n"


def _marked(values: pd.Series[float], metric: str) -> list[str]:
    """The values of a column as text, the best and the second marked."""
    places = best_places(values, metric)
    return [
        "–" if np.isnan(value) else MARKDOWN.mark(METRICS[metric].text(value), place)
        for value, place in zip(values, places, strict=True)
    ]


def note(summary: pd.DataFrame, remarks: Sequence[str] = ()) -> str:
    """What the reader must know to read the numbers rightly."""
    patients = summary[summary["dataset"] != ALL].groupby("dataset", sort=False)["patients"].max()
    datasets = ", ".join(f"{dataset_label(str(name))} {n}" for name, n in patients.items())
    units = " HD95 in voxels." if "hd95" in set(summary["metric"]) else ""
    if CORRELATION in set(summary["metric"]):
        units += (
            " Rank correlation: Spearman's over test cases, mean over trainings, without interval."
        )
    paper = (
        " Below: the paper's number and, where both are measured alike, ours minus it."
        if summary["paper"].notna().any()
        else ""
    )
    trainings = "".join(f" {sentence}" for sentence in remarks)
    return (
        f"Mean over test patients ({datasets}) and its 95 % t interval over {_sample(summary)}."
        f"{trainings}{paper}{units} Best in bold, second underlined."
    )


def _sample(summary: pd.DataFrame) -> str:
    """What the intervals are over."""
    low, high = (int(summary["seeds"].agg(end)) for end in ("min", "max"))
    if high <= 1:
        return "patients; one training per method"
    number = f"{low}" if low == high else f"{low} to {high}"
    return f"patients and trainings; {number} trainings per method"


def _grid(summary: pd.DataFrame, metric: str, marks: _Marks) -> pd.DataFrame:
    """Cells as text; rows are (dataset, structure), columns are labels of methods."""
    part = summary[summary["metric"] == metric]
    methods = list(dict.fromkeys(part["method"]))
    rows = {}
    for (dataset, structure), group in part.groupby(["dataset", "structure"], sort=False):
        by_method = group.set_index("method").reindex(methods)
        places = best_places(by_method["mean"].tolist(), metric)
        rows[_row_label(str(dataset), str(structure))] = [
            _cell(row, metric, place, marks)
            for row, place in zip(by_method.to_dict("records"), places, strict=True)
        ]
    return pd.DataFrame.from_dict(rows, orient="index", columns=[method_label(m) for m in methods])


def _row_label(dataset: str, structure: str) -> tuple[str, str]:
    return (
        "Mean over datasets" if dataset == ALL else dataset_label(dataset),
        "Mean" if structure == MEAN else structure,
    )


def _cell(row: Mapping[Any, float], metric: str, place: int, marks: _Marks) -> str:
    """The mean, its interval below, and the paper's number with our difference from it."""
    if np.isnan(row["mean"]):
        return "–"
    text = METRICS[metric].text
    lines = [marks.mark(text(row["mean"]), place)]
    if not np.isnan(row["low"]):
        lines.append(f"[{text(row['low'])}, {text(row['high'])}]")
    if not np.isnan(row["paper"]):
        known = not np.isnan(row["difference"])
        difference = f" ({text(row['difference'], '+')})" if known else ""
        lines.append(f"{text(row['paper'])}{difference}")
    return marks.line_break.join(lines)


def _tex(text: str) -> str:
    return "".join(LATEX_CHARACTERS.get(character, character) for character in text)
