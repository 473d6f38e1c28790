"""The files of an audit, which are those of an evaluation, and its diagrams."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nacl_monai.errors import InputError
from nacl_monai.handlers.case_bins import write_case_bins
from nacl_monai.handlers.case_table import error_columns, score_columns, write_case_table
from nacl_monai.handlers.evaluation_record import (
    check_replaceable,
    clear_aside,
    evaluation_record,
    take_place,
    write_evaluation_record,
)
from nacl_monai.metrics.overlapping import OUTSIDE_INSIDE
from nacl_monai.predictions.folders import Found, as_record, scores_of, summed
from nacl_monai.predictions.measuring import SCORES, Measured
from nacl_monai.reports import Run, draw_reliability, read_run, save_figure
from nacl_monai.reports.evaluation_record import AUDITED
from nacl_monai.runs import EvaluationFolder

_DIAGRAM = "reliability_"


def check_output(output: Path) -> None:
    """Refuses a folder that holds anything but an audit.

    Raises:
        InputError: If it does.
    """
    check_replaceable(EvaluationFolder(output), "--output", [f"{_DIAGRAM}*"])


def write_audit(
    output: Path,
    found: Found,
    cases: Sequence[str],
    patients: Sequence[str],
    numbers: Sequence[Measured],
) -> tuple[Run, list[Path]]:
    """Writes an audit, in place of an earlier one; whole or not at all.

    Args:
        output: The folder.
        found: What was audited.
        cases: Names, sorted.
        patients: Of each case; empty where nobody knows.
        numbers: Of each case.

    Returns:
        The audit, read back with every check that its files allow, and the files.

    Raises:
        InputError: If the folder holds something else, or cannot be written.
    """
    folder = EvaluationFolder(output)
    check_output(output)
    clear_aside(folder)
    aside = EvaluationFolder(folder.aside)
    metric = summed(found.settings, numbers)
    channels = found.settings.channels
    scores = {name: scores_of(numbers, name) for name in SCORES}
    columns = score_columns(scores, list(channels.structures)) | error_columns(metric)
    write_case_table(aside, columns, metric, found.folder.resolve().name, cases, patients)
    classes = OUTSIDE_INSIDE if channels.overlapping else channels.names
    write_case_bins(aside.bins, metric.case_bins(), cases, metric.region_names, classes, patients)
    record = evaluation_record(AUDITED, as_record(found.settings), {})
    write_evaluation_record(aside, record)
    draw_all([read_run(aside.path, output.resolve().name)], aside.path)
    take_place(folder)
    files = sorted(path for path in output.iterdir() if not path.name.startswith("."))
    return read_run(output), files


def draw_all(audits: Sequence[Run], output: Path) -> list[Path]:
    """Draws the reliability diagrams of every region, the audits side by side; returns the files."""
    files = []
    for region in audits[0].bins.regions:
        figure = draw_reliability(audits, region=region)
        files += save_figure(figure, output / f"{_DIAGRAM}{region}")
    return files


def check_measured(found: Found, cases: Sequence[str], faults: Sequence[InputError]) -> None:
    """Refuses an audit of no case.

    Raises:
        InputError: Then, with the first fault.
    """
    if not cases:
        reason = f": {faults[0]}" if faults else ""
        raise InputError(f"{found.folder}: no case could be audited{reason}")
