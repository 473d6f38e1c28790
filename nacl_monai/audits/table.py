"""The main numbers of audits with their intervals, for a terminal, a notebook or a program."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from nacl_monai.counting import counted
from nacl_monai.metrics.columns import AUDITED_ERRORS, AUDITED_SCORES, columns_of, structure_of
from nacl_monai.reports.evaluated import Run, by_rater, human_run


def audit_table(audits: Sequence[Run]) -> str:
    """The main numbers of audits for a terminal."""
    return "\n".join([*_lines(audits), "", *dict.fromkeys(note(audit) for audit in audits)])


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


def text_table(audits: Sequence[Run]) -> pd.DataFrame:
    """A row for each number that an audit has, a column for each audit; text with the interval."""
    rows = {}
    for column, (label, decimals) in _columns(audits[0]).items():
        known = [_is_known(audit, column) for audit in audits]
        if any(known):
            rows[label] = [
                audit.mean(column).text(decimals, "undefined") if is_known else "–"
                for audit, is_known in zip(audits, known, strict=True)
            ]
    return pd.DataFrame.from_dict(rows, orient="index", columns=[audit.name for audit in audits])


def number_table(audit: Run) -> pd.DataFrame:
    """The same numbers of one audit: mean, and the ends of its interval."""
    rows = {}
    for column, (label, _) in _columns(audit).items():
        if _is_known(audit, column):
            found = audit.mean(column)
            rows[label] = (found.mean, *found.interval())
    return pd.DataFrame.from_dict(rows, orient="index", columns=["mean", "low", "high"])


def _is_known(audit: Run, column: str) -> bool:
    return column in audit.metrics and bool(audit.metrics[column].notna().any())


def _lines(audits: Sequence[Run]) -> list[str]:
    """A line per row of the table, its cells as wide as the widest of their column."""
    table = text_table(audits)
    rows = [["", *table.columns], *([label, *cells] for label, *cells in table.itertuples())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _columns(audit: Run) -> dict[str, tuple[str, int]]:
    """The columns that are shown, with label and digits."""
    shown: dict[str, tuple[str, int]] = {}
    for score, metric in AUDITED_SCORES.items():
        for name in columns_of(score, audit.metrics):
            structure = structure_of(name)
            shown[name] = (metric.label + (f", {structure}" if structure else ""), metric.decimals)
    for region in audit.bins.whole_regions:
        for error, metric in AUDITED_ERRORS.items():
            shown[f"{error}_{region}"] = (f"{metric.label}, {region}", metric.decimals)
    ece = AUDITED_ERRORS["ece"]
    for region in audit.bins.regions:  # of each structure, where structures overlap
        label = ", ".join(filter(None, [ece.label, *audit.bins.region_and_structure(region)]))
        shown.setdefault(f"ece_{region}", (label, ece.decimals))
    return shown


def note(audit: Run) -> str:
    """What the numbers are over."""
    units = audit.patients.nunique()
    of = counted(len(audit.cases), "case")
    of += f" of {counted(units, 'patient')}" if audit.unit == "patients" else ""
    return (
        f"Mean over {of} [95 % interval over {audit.unit}]; HD95 and boundary in voxels. "
        f"Confidence − accuracy is positive where the model is overconfident. {audit.caution}".rstrip()
    )
