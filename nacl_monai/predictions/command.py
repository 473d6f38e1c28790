"""What ``nacl-monai audit`` and ``nacl-monai merge`` do: write files, and print one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nacl_monai.errors import InputError
from nacl_monai.predictions.folders import Options, find, measured_cases, processes
from nacl_monai.predictions.merging import merge
from nacl_monai.predictions.output import (
    check_measured,
    check_output,
    draw_all,
    write_audit,
    write_merged,
)
from nacl_monai.predictions.patients import patients_of
from nacl_monai.predictions.table import audit_table
from nacl_monai.reports import Run, check_alike, read_runs


def audit_folders(
    predictions: Sequence[Path], labels: Path, output: Path, options: Options
) -> list[InputError]:
    """Audits folders of predictions, prints what is found, and writes it.

    Args:
        predictions: One folder per model.
        labels: The folder of the label maps.
        output: Of the files; with several models, of a folder for each.
        options: Of the command.

    Returns:
        The faults of single cases; the other cases are in the audit.

    Raises:
        InputError: If a folder as a whole cannot be audited; the audits before it are written.
    """
    outputs = _outputs(predictions, output)
    for place in outputs:
        check_output(place)
    everything = [find(folder, labels, options) for folder in predictions]
    for found in everything:  # what cannot be meant is said before the first volume is read
        print(found)
        patients_of([one.case for one, _ in found.pairs], options.patient_pattern, options.patients)
    audits, faults, files = [], [], []
    with processes(options.jobs) as apply:
        for found, place in zip(everything, outputs, strict=True):
            cases, numbers, of_folder = measured_cases(found, apply)
            faults += of_folder
            check_measured(found, cases, of_folder)
            patients = patients_of(cases, options.patient_pattern, options.patients)
            audit, written = write_audit(place, found, cases, patients, numbers)
            audits.append(audit)
            files += written
    if len(audits) > 1:
        files += draw_all(_side_by_side(audits), output)
    print(audit_table(audits))
    for file in files:
        print(f"wrote {file}")
    return faults


def merge_files(files: Sequence[Path], output: Path) -> list[InputError]:
    """Merges audits, prints what they say together, and writes it.

    Args:
        files: Their ``bins.npz``.
        output: The folder for the files.

    Returns:
        No fault.

    Raises:
        InputError: If the audits cannot be merged.
    """
    check_output(output)
    audit, written = write_merged(output, merge(files))
    print(audit_table([audit]))
    for file in written:
        print(f"wrote {file}")
    return []


def _outputs(predictions: Sequence[Path], output: Path) -> list[Path]:
    if len(predictions) == 1:
        return [output]
    names = [folder.resolve().name for folder in predictions]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated:
        raise InputError(
            f"{output}: two folders of predictions are called {repeated!r}; rename one of them"
        )
    return [output / name for name in names]


def _side_by_side(audits: Sequence[Run]) -> list[Run]:
    for other in audits[1:]:
        check_alike(audits[0], other)
    return read_runs([audit.folder for audit in audits])
