"""The main numbers of audits with their intervals, for a terminal, a notebook or a program."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from nacl_monai.counting import counted
from nacl_monai.evaluations.evaluated import Run, by_rater, human_run
from nacl_monai.evaluations.groups import Groups
from nacl_monai.evaluations.tables import uncounted
from nacl_monai.metrics.columns import (
    AUDITED_ERRORS,
    POOLED_ERRORS,
    shown_scores,
)

_BY_GROUP = ("dice", "hd95", "hd95_mm", "ece_near", "contour_misses", "expected_volume_error")


def audit_table(audits: Sequence[Run]) -> str:
    """The main numbers of audits for a terminal."""
    return "\n".join(
        [*_lines(audits), "", *dict.fromkeys(averaging_note(audit) for audit in audits)]
    )


def rater_table(audit: Run) -> str:
    """An audit of several raters: against the share of them, against each, and the raters themselves."""
    human = human_run(audit)
    return "\n".join(
        [
            "",
            f"{audit.name}, rater by rater:",
            *_lines([*by_rater(audit), *([human] if human else ())]),
            "",
            "Share: a probability of 0.6 is right where three of five raters mark the voxel; its DSC is "
            "over the voxels on which all agree.",
            "Each by the others: the share of the other raters, taken as a probability, against each.",
        ]
    )


def text_table(audits: Sequence[Run], only: Sequence[str] = ()) -> pd.DataFrame:
    """A row for each number that an audit has, a column for each audit; text with the interval."""
    rows = {}
    for column, (label, decimals) in _columns(audits[0]).items():
        numbers = [audit.number(column) for audit in audits]
        if any(numbers) and column in (only or [column]):
            rows[label] = [
                number.text(decimals, "undefined") if number else "–" for number in numbers
            ]
    return pd.DataFrame.from_dict(rows, orient="index", columns=[audit.name for audit in audits])


def group_tables(audit: Run, groups: Groups) -> tuple[str, pd.DataFrame]:
    """An audit of the patients of each value of each group.

    Returns:
        The leading numbers for a terminal; and a row for each number of each value, with its interval.
    """
    lines, tables = [], []
    for name, of_patient in groups.items():
        values = audit.patients.map(of_patient)
        known = [value for value in dict.fromkeys(of_patient.values()) if (values == value).any()]
        parts = [
            replace(audit.ordered([*values.index[values == value]]), name=value) for value in known
        ]
        lines += ["", f"By {name}:", *_lines(parts, _BY_GROUP)]
        for part in parts:
            table = number_table(part).rename_axis("number").reset_index()
            table.insert(0, "patients", part.patients.nunique())
            table.insert(0, "value", part.name)
            table.insert(0, "group", name)
            tables.append(table)
    return "\n".join(lines), pd.concat(tables)


def number_table(audit: Run) -> pd.DataFrame:
    """The same numbers of one audit: mean, and the ends of its interval."""
    rows = {}
    for column, (label, _) in _columns(audit).items():
        number = audit.number(column)
        if number:
            rows[label] = (number.mean, *number.interval())
    return pd.DataFrame.from_dict(rows, orient="index", columns=["mean", "low", "high"])


def _lines(audits: Sequence[Run], only: Sequence[str] = ()) -> list[str]:
    """A line per row of the table, its cells as wide as the widest of their column."""
    table = text_table(audits, only)
    rows = [["", *table.columns], *([label, *cells] for label, *cells in table.itertuples())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _columns(audit: Run) -> dict[str, tuple[str, int]]:
    """The columns that are shown, with label and digits: those led with first, the paper's last."""
    shown: dict[str, tuple[str, int]] = {}
    scores = shown_scores(map(str, audit.metrics), audit.bins.decided)
    for name, metric, *parts in (*scores, *_errors(audit)):
        label = ", ".join(filter(None, [metric.label, *parts]))
        shown.setdefault(name, (label, metric.decimals))
    return shown


def _errors(audit: Run) -> Iterator[tuple[Any, ...]]:
    """Of every region; of those that are pooled, not the mean over cases."""
    for region in audit.bins.whole_regions:
        pooled = f"ece_{region}" in audit.bins.pooled_numbers
        for error, metric in AUDITED_ERRORS.items():
            if not pooled or error in POOLED_ERRORS:
                yield f"{error}_{region}", metric, region
    for region in audit.bins.regions:  # of each structure, where structures overlap
        yield f"ece_{region}", AUDITED_ERRORS["ece"], *audit.bins.region_and_structure(region)


def averaging_note(audit: Run) -> str:
    """The sentence on what the numbers average over."""
    units = audit.patients.nunique()
    cases = counted(len(audit.cases), "case")
    cases += f" of {counted(units, 'patient')}" if audit.unit == "patients" else ""
    return (
        f"Mean over {cases} [95% interval over {audit.unit}]; boundary in voxels. Near the "
        "prediction, and for contours and what is expected: all cases together, without the bias of "
        "noise. Confidence − accuracy is positive where the model is overconfident. "
        f"{uncounted([audit.bins.pooled_numbers])}{audit.caution}".rstrip()
    )
