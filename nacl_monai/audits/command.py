"""What ``nacl-monai audit`` and ``nacl-monai merge`` do: write files, and print one table."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from nacl_monai.audits.labels import Folders, by_name, check_name, check_raters
from nacl_monai.audits.options import Options
from nacl_monai.audits.output import (
    NIFTI,
    WorstCases,
    check_measured,
    draw_all,
    visible_files,
    write_audit,
    write_merged,
)
from nacl_monai.audits.reading import Found, find, measured_cases, processes
from nacl_monai.audits.result import merge
from nacl_monai.audits.table import audit_table, rater_table
from nacl_monai.cli import print_next, print_written
from nacl_monai.counting import counted
from nacl_monai.data.patients import patients_of
from nacl_monai.errors import InputError, SettingError
from nacl_monai.evaluations import Run, check_alike, read_runs
from nacl_monai.files import write_text
from nacl_monai.inference.maps import label_tables
from nacl_monai.metrics.record import first_repeated, listed
from nacl_monai.output import written_folder


def audit_folders(
    predictions: Sequence[Path],
    labels: Folders,
    output: Path,
    options: Options,
    names: Sequence[str] | None = None,
) -> list[InputError]:
    """Audits folders of predictions, prints what is found, and writes it.

    Args:
        predictions: One folder per model.
        labels: The folder of the label maps; with several raters, name → folder.
        output: The files' folder; with several models, that of a folder for each.
        options: The command's options.
        names: The models' names; by default those of the folders.

    Returns:
        The faults of single cases; the other cases are in the audit.

    Raises:
        InputError: If a folder as a whole cannot be audited; nothing is written then.
    """
    names = distinct_names(predictions, names, "--names", "models")
    check_raters(labels)
    read = [*predictions, *by_name(labels).values(), *options.files]
    parts = names if len(names) > 1 else [""]
    with written_folder(output, "audit", read=read) as aside:
        everything = [
            find(folder, labels, options, name)
            for folder, name in zip(predictions, names, strict=True)
        ]
        for found in everything:  # refuse what cannot be meant before the first volume is read
            show(found)
            cases = [one.case for one, _ in found.pairs]
            check_measured(found, cases, found.faults)
            patients_of(cases, options.patient_pattern, options.patients)
        audits, faults = [], []
        with processes(options.jobs) as apply:
            for found, part in zip(everything, parts, strict=True):
                audit, of_folder = audit_one(found, aside / part, output / part, apply)
                audits.append(audit)
                faults += of_folder
        drawn, refusal = list[Path](), None
        if len(audits) > 1:
            try:
                _check_alike([replace(a, folder=output / a.folder.name) for a in audits])
                several = read_runs([audit.folder for audit in audits])
                drawn = draw_all(several, aside) if options.pictures else []
            except InputError as error:
                refusal = error  # each audit is worth keeping
        tables = [audit_table(audits)]
        tables += [] if isinstance(labels, Path) else map(rater_table, audits)
    if refusal:
        raise refusal
    print(*tables, sep="\n")
    files = chain.from_iterable(visible_files(output / part) for part in parts)
    print_written([*files, *(output / file.name for file in drawn)])
    if len(audits) > 1:
        print_next("compare", *(output / part for part in parts))
    elif isinstance(labels, Path) and options.members:
        print_next("promise", *predictions, *options.members, labels, *options.words)
    elif isinstance(labels, Path) and options.calibrator is None:
        print_next("calibrate", predictions[0], labels, *options.words, *options.margin_words)
    return faults


def show(found: Found) -> None:
    """Prints what is to be audited, and warns where nobody could notice a turned volume."""
    print(found)
    unplaced = [one.file for one, _ in found.pairs if not found.layout.is_placed(one)]
    if unplaced:
        print(
            f"warning: {unplaced[0]}: no file beside it says where its voxels are, so only its shape is "
            f"compared with the label map's; add the .pkl or the segmentation ({len(unplaced)} of "
            f"{counted(len(found.pairs), 'case')})",
            file=sys.stderr,
        )


def audit_one(
    found: Found, folder: Path, output: Path, apply: Callable[..., Iterable[Any]] = map
) -> tuple[Run, list[InputError]]:
    """The audit of one model, and the faults of its cases, which are printed.

    Args:
        found: From `find`.
        folder: The new folder of the audit.
        output: What the folder will be called.
        apply: `map`, or that of `nacl_monai.audits.reading.processes`.

    Raises:
        InputError: If no case can be audited, or if a file cannot be written.
    """
    worst, nifti, options = WorstCases(found.settings), folder / NIFTI, found.options
    written_maps = nifti if options.write else None
    cases, numbers, faults = measured_cases(found, apply, worst.keep, written_maps)
    check_measured(found, cases, faults)
    if options.write:
        for name, text in label_tables(found.settings.channels.label_names).items():
            write_text(nifti / name, text)
    patients = patients_of(cases, options.patient_pattern, options.patients)
    audit = write_audit(folder, output, found, patients, numbers, worst.pictures)
    print_faults(faults)
    return audit, faults


def print_faults(faults: Iterable[InputError]) -> None:
    """Prints the faults of single cases, a line for each."""
    for fault in faults:
        print(f"fault: {fault}", file=sys.stderr)


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
    with written_folder(output, "merge", read=files) as aside:
        table = audit_table([write_merged(aside, output, merge(files).run)])
    print(table)
    print_written(visible_files(output))
    return []


def distinct_names(
    folders: Sequence[Path], names: Sequence[str] | None, option: str, kind: str
) -> list[str]:
    """One name for each folder, its own by default.

    Args:
        folders: The folders of models or of raters.
        names: The names that the user gives.
        option: With which.
        kind: What is named.

    Raises:
        SettingError: If there are not as many names as folders, two are the same, or one cannot be
            that of a folder.
    """
    if names is not None and len(names) != len(folders):
        raise SettingError(
            f"{option}: {len(names)} names for {len(folders)} folders; give one for each"
        )
    chosen = list(names or (folder.resolve().name for folder in folders))
    for name in chosen:
        check_name(name, option)
    repeated = first_repeated(chosen)
    if repeated is not None:
        raise SettingError(f"{option}: two {kind} are called {repeated!r}; tell them apart with it")
    return chosen


def _check_alike(audits: Sequence[Run]) -> None:
    """Refuses audits that cannot be set side by side."""
    first, *others = audits
    for other in others:
        for lacking, having in ((other, first), (first, other)):
            cases = sorted(set(having.cases) - set(lacking.cases))
            if cases:
                raise InputError(
                    f"{lacking.folder}: lacks {listed(cases, most=3)}, which {having.folder} has; mend "
                    "what is wrong there, or leave the same cases out of every model, to set them side "
                    "by side"
                )
        check_alike(first, other)
