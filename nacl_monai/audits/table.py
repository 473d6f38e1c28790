"""The table that a command prints: a line per number, a column per audit, intervals over patients."""

from __future__ import annotations

from collections.abc import Sequence

from nacl_monai.counting import counted
from nacl_monai.reports import METRICS, Run
from nacl_monai.reports.columns import columns_of, structure_of
from nacl_monai.reports.raters import by_rater, human_run

_ERRORS = {"ece": "ECE", "cece": "CECE", "confidence_gap": "Confidence − accuracy"}
_DECIMALS = 3


def audit_table(audits: Sequence[Run]) -> str:
    """The main numbers of audits for a terminal."""
    return "\n".join([*_lines(audits), "", *dict.fromkeys(_note(audit) for audit in audits)])


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


def _lines(audits: Sequence[Run]) -> list[str]:
    rows = [["", *(audit.name for audit in audits)]]
    rows += [
        [label, *(_cell(audit, column, decimals) for audit in audits)]
        for column, (label, decimals) in _columns(audits[0]).items()
        if any(_is_known(audit, column) for audit in audits)
    ]
    return _aligned(rows)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """A line per row, its cells as wide as the widest of their column."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _is_known(audit: Run, column: str) -> bool:
    return column in audit.metrics and bool(audit.metrics[column].notna().any())


def _cell(audit: Run, column: str, decimals: int) -> str:
    if not _is_known(audit, column):
        return "–"
    return audit.mean(audit.metrics[column]).text(decimals, "undefined")


def _columns(audit: Run) -> dict[str, tuple[str, int]]:
    """The columns that are shown, with label and digits."""
    return _score_columns(audit) | _error_columns(audit)


def _score_columns(audit: Run) -> dict[str, tuple[str, int]]:
    shown: dict[str, tuple[str, int]] = {}
    for metric in ("dice", "hd95", "crps"):
        for name in columns_of(metric, audit.metrics):
            structure = structure_of(name)
            label = METRICS[metric].label + (f", {structure}" if structure else "")
            shown[name] = (label, METRICS[metric].decimals)
    return shown


def _error_columns(audit: Run) -> dict[str, tuple[str, int]]:
    shown: dict[str, tuple[str, int]] = {}
    for region in audit.bins.whole_regions:
        for error, label in _ERRORS.items():
            shown[f"{error}_{region}"] = (f"{label}, {region}", _DECIMALS)
    for region in audit.bins.regions:  # of each structure, where structures overlap
        label = ", ".join([_ERRORS["ece"], *audit.bins.region_and_structure(region)])
        shown.setdefault(f"ece_{region}", (label, _DECIMALS))
    return shown


def _note(audit: Run) -> str:
    units = audit.patients.nunique()
    of = counted(len(audit.cases), "case")
    of += f" of {counted(units, 'patient')}" if audit.unit == "patients" else ""
    return (
        f"Mean over {of} [95 % interval over {audit.unit}]; HD95 and boundary in voxels. "
        "Confidence − accuracy is positive where the model is overconfident."
    )
