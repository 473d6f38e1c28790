"""Comparison tables: what each method scored on the same test volumes.

Every number is a mean over the volumes in which it is defined; where these are fewer than all,
their number stands beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from nacl_monai.reports.runs import Run


@dataclass(frozen=True)
class Column:
    """How one metric is shown: heading, decimals, and whether more is better."""

    heading: str
    decimals: int
    higher_is_better: bool


COLUMNS = {
    "dice": Column("DSC ↑", 3, True),
    "hd95": Column("HD95 ↓", 2, False),
    "ece_foreground": Column("ECE ↓", 3, False),
    "cece_foreground": Column("CECE ↓", 3, False),
}


def comparison_table(runs: Sequence[Run]) -> pd.DataFrame:
    """Every metric in ``cases.csv``, averaged over the cases in which it is defined.

    Returns:
        One row per method (the index), in the given order. Columns: ``cases``, the number of test
        volumes; then each metric, per class too, followed by ``<metric>_n``, the number of
        volumes in which it is defined.
    """
    rows = {}
    for run in runs:
        row: dict[str, float] = {"cases": len(run.metrics)}
        for metric in run.metrics.columns:
            row[metric] = float(run.metrics[metric].mean())
            row[f"{metric}_n"] = int(run.metrics[metric].count())
        rows[run.name] = row
    table = pd.DataFrame.from_dict(rows, orient="index")
    counts = [column for column in table.columns if column == "cases" or column.endswith("_n")]
    table[counts] = table[counts].fillna(0).astype(int)
    return table.rename_axis("method")


def to_csv(table: pd.DataFrame) -> str:
    """The whole table at full precision; an empty cell is undefined."""
    return str(table.to_csv())


def to_markdown(table: pd.DataFrame) -> str:
    """The four metrics as a Markdown table, the best of each in bold."""
    shown = _shown(table, "**{}**")
    cells = [
        ["Method", *shown.columns],
        [":---", *["---:"] * len(shown.columns)],
        *([_escaped(str(row[0])), *row[1:]] for row in shown.itertuples(name=None)),
    ]
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in cells]
    return "\n".join([*lines, "", *_notes(table, "Bold")]) + "\n"


def to_text(table: pd.DataFrame) -> str:
    """The four metrics aligned for a terminal, a star before the best of each."""
    shown = _shown(table, "*{}").rename_axis(None)
    return "\n".join([shown.to_string(), "", *_notes(table, "*")]) + "\n"


def _shown(table: pd.DataFrame, best: str) -> pd.DataFrame:
    """Cells as text. What is printed decides which is best, so that equal digits share it."""
    shown = pd.DataFrame(index=table.index)
    for metric, column in COLUMNS.items():
        values = table[metric].round(column.decimals)
        target = values.max() if column.higher_is_better else values.min()
        cells = []
        for value, n, cases in zip(values, table[f"{metric}_n"], table["cases"], strict=True):
            cell = "undefined" if pd.isna(value) else f"{value:.{column.decimals}f}"
            if value == target and len(values) > 1:
                cell = best.format(cell)
            cells.append(cell if n == cases else f"{cell} (n={n})")
        shown[column.heading] = cells
    return shown


def _notes(table: pd.DataFrame, mark: str) -> list[str]:
    """What the reader must know to read the numbers rightly."""
    notes = [f"Mean over {table['cases'].iloc[0]} test volumes; HD95 in voxels."]
    if len(table) > 1:
        notes[0] += f" {mark}: best of the column."
    partial = [
        column.heading.split()[0]
        for metric, column in COLUMNS.items()
        if (table[f"{metric}_n"] < table["cases"]).any()
    ]
    if partial:
        notes.append(
            f"n: volumes in which {' and '.join(partial)} could be computed, where not in all; "
            "such means may be over different volumes."
        )
    return notes


def _escaped(name: str) -> str:
    return name.replace("|", "\\|")
