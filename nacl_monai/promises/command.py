"""``nacl-monai promise``: makes promises by calibration patients, and prints their meaning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from nacl_monai.audits.command import print_faults, show
from nacl_monai.audits.output import visible_files
from nacl_monai.cli import print_next, print_written
from nacl_monai.counting import counted
from nacl_monai.errors import InputError, SettingError, print_line
from nacl_monai.evaluations.groups import Groups, read_groups
from nacl_monai.inference.records import fault_of_name
from nacl_monai.metrics.curves import CURVES_FILE, Curves, read_curves
from nacl_monai.metrics.record import read_record
from nacl_monai.output import written_folder
from nacl_monai.posthoc.file import BY_CASE
from nacl_monai.predictions.finding import find
from nacl_monai.predictions.identity import hidden
from nacl_monai.predictions.names import images_of_cases
from nacl_monai.predictions.options import Options, Use
from nacl_monai.promises.beside import lines
from nacl_monai.promises.cases import read_study
from nacl_monai.promises.control import OUTER
from nacl_monai.promises.fit import check_cases
from nacl_monai.promises.page import UNKNOWN, Made, asked_controls, make_promise
from nacl_monai.promises.record import PROMISE_FILE
from nacl_monai.reports.viewer import read_again
from nacl_monai.runs import EvaluationFolder, curves_file


def promise_folders(folders: Sequence[Path], output: Path, options: Options) -> list[InputError]:
    """Makes promises by calibration patients, prints and writes them.

    Args:
        folders: A folder of predictions and one of label maps.
        output: The folder for ``promise.json``, ``promise.npz``, ``groups.csv``, figures and their
            page.
        options: As for an audit, with levels, control, family and margin.

    Returns:
        The faults of single cases; the others calibrate.

    Raises:
        InputError: If it takes more patients, or the input cannot be used; nothing is written then.
    """
    predictions, labels = folders
    with written_folder(output, "promise", read=[*folders, *options.files]) as folder:
        study = find(predictions, labels, options)
        show(study)
        if study.known_by == BY_CASE:
            check_cases(list(study.patients), predictions)
        for control in asked_controls(options):  # as are these
            control.check_patients(len(set(study.patients.values())), "--level")
        groups = _groups(options, study.patients)
        if options.images:  # before the first volume is read
            images_of_cases(options.images, [*study.patients])
        curves, faults = read_study(study)
        again = partial(read_again, study) if options.shows_patients else None
        fitted = make_promise(curves, folder, folders, options, groups, again)
    print_faults(faults)
    _print_made(fitted, output, options)
    return faults


def promise_sums(paths: Sequence[Path], output: Path, options: Options) -> list[InputError]:
    """The same from sums: ``promise.npz`` of several sites, or evaluated runs.

    Args:
        paths: These files, or the folders that they are in.
        output: As for `promise_folders`.
        options: Levels, control, family and margin.

    Returns:
        No fault.

    Raises:
        InputError: As there.
    """
    with written_folder(output, "promise", read=[*paths, *options.files]) as folder:
        files = [file for path in paths if (file := curves_file(path))]
        if len(files) != len(paths):
            raise SettingError(
                "promise: takes a folder of predictions and one of labels, an evaluated run, or "
                "promise.npz of sites"
            )
        parts = [_of_its_folder(read_curves(file)) for file in files]
        first, *more = hidden(parts, options.anonymous)
        curves = first.joined(more)
        groups = _groups(options, dict(zip(curves.cases, curves.patients, strict=True)))
        fitted = make_promise(curves, folder, paths, options, groups)
    _print_made(fitted, output, options)
    return []


def _of_its_folder(curves: Curves) -> Curves:
    """Refuses curves of other cases than the bins beside them."""
    bins = EvaluationFolder(curves.path.parent).bins
    if bins.is_file() and (unlike := {*read_record(bins).cases} ^ {*curves.cases}):
        raise InputError(
            f"{curves.path}: {min(unlike)!r} is in it or in the {bins.name} beside it, but not in both; "
            "audit again, or move one of them away"
        )
    return curves


def _groups(options: Options, patients: Mapping[str, str]) -> Groups:
    """The groups of the patients; refuses a column of which no promise can be written."""
    groups, column = read_groups(options.groups, patients), options.by_group
    if column is None:
        return groups
    if column not in groups:
        known = f"choose from {', '.join(groups)}" if groups else "give its table with --groups"
        raise SettingError(f"--by-group: {column!r} is no column; {known}")
    for value in groups[column].values():
        if fault := fault_of_name(f"{column}_{value}"):
            raise InputError(
                f"{options.groups}: {value!r} {fault}, and would name a folder; rename it"
            )
    return groups


def _print_made(fitted: Made, output: Path, options: Options) -> None:
    promise = fitted.promise
    print(promise.text(), *map("- {}".format, lines(fitted.by_group)), sep="\n")
    for name, own in fitted.promises.items():
        print(f"{name}, {counted(len(own.patients), 'patient')}:")
        texts = [text for kept, text in own.verdicts() if kept.kind == OUTER]
        print(*(f"- {text}" for text in (*texts, *own.unpromised)), sep="\n")
    if promise.known_by == BY_CASE:
        print_line("note", UNKNOWN, answer=True)
    print_written(visible_files(output))
    file = output / PROMISE_FILE
    arguments = [*options.words(Use.PROMISE_APPLY), "--output", "contours"]
    print_next("promise", "--apply", file, "NEW", *arguments)
    print_next("triage", file, "NEW", *options.words(Use.TRIAGE_NEW))


def count_shard(folders: Sequence[Path], output: Path, options: Options) -> list[InputError]:
    """Writes ``promise.npz`` of a part of the patients, who alone need not be enough for a promise.

    Args:
        folders: The folder of predictions, and that of label maps.
        output: The folder for the file.
        options: As for an audit, with ``shard``.

    Returns:
        The faults of single cases.

    Raises:
        InputError: If the input cannot be used; nothing is written then.
    """
    predictions, labels = folders
    with written_folder(output, "promise", read=[*folders, *options.files]) as folder:
        study = find(predictions, labels, options)
        show(study)
        curves, faults = read_study(study)
        curves.write(folder / CURVES_FILE)
    print_faults(faults)
    print_written(visible_files(output))
    print_next("promise", output / CURVES_FILE, "THOSE_OF_THE_OTHER_SHARDS")
    return faults
