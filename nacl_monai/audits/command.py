"""``nacl-monai audit`` and ``nacl-monai merge``: write files, and print one table."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from nacl_monai.audits.components import Counter, counter_of, joined_study, write_tables
from nacl_monai.audits.measuring import curves_of, measured_cases, study_measurement
from nacl_monai.audits.output import (
    NIFTI_FOLDER,
    WorstCases,
    audit_table,
    draw_all,
    group_tables,
    rater_table,
    write_audit,
    write_merged,
)
from nacl_monai.audits.result import merge
from nacl_monai.cli import print_next, print_written
from nacl_monai.errors import InputError, SettingError, print_line
from nacl_monai.evaluations import Run, check_alike, read_runs
from nacl_monai.evaluations.tables import PREDICTED_VOLUME, csv_text, read_groups, thirds
from nacl_monai.files import write_text
from nacl_monai.inference.maps import label_tables
from nacl_monai.metrics.curves import CURVES_FILE, Curves, read_curves
from nacl_monai.metrics.islands import COMPONENTS_FILE, read_islands
from nacl_monai.output import visible_files, written_folder
from nacl_monai.predictions.finding import find
from nacl_monai.predictions.identity import hidden
from nacl_monai.predictions.images import Folders, by_name, check_name, check_rater_folders
from nacl_monai.predictions.options import Options, Use
from nacl_monai.predictions.study import Study, processes
from nacl_monai.reports.viewer import check_images
from nacl_monai.words import counted, first_repeated, listed


def audit_folders(
    predictions: Sequence[Path],
    labels: Folders,
    output: Path,
    options: Options,
    names: Sequence[str] | None = None,
) -> list[InputError]:
    """Audits folders of predictions, prints the numbers, and writes them.

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
    check_rater_folders(labels)
    read = [*predictions, *by_name(labels).values(), *options.files]
    parts = names if len(names) > 1 else [""]
    with written_folder(output, "audit", read=read) as aside, processes(options.jobs):
        pairs = zip(predictions, names, strict=True)
        studies = [find(folder, labels, options, name) for folder, name in pairs]
        counters = []
        for study in studies:  # refuse wrong options before the first volume is read
            show(study)
            check_images(study)
            read_groups(options.groups, study.patients)
            counters.append(counter_of(study))
        audits, faults = [], []
        for study, part, islands in zip(studies, parts, counters, strict=True):
            audit, _, of_folder = audit_study(study, aside / part, output / part, islands=islands)
            audits.append(audit)
            faults += of_folder
        drawn, refusal = _side_by_side(audits, aside, output, options)
        tables = [audit_table(audits)]
        tables += [] if isinstance(labels, Path) else map(rater_table, audits)
        tables += _by_groups(audits, studies, aside, parts)
        tables += _of_islands(aside, parts)
    if refusal:
        raise refusal
    print(*tables, sep="\n")
    files = chain.from_iterable(visible_files(output / part) for part in parts)
    print_written([*files, *(output / file.name for file in drawn)])
    _print_next(predictions, labels, [output / part for part in parts], options)
    return faults


def _by_groups(
    audits: Sequence[Run], studies: Sequence[Study], aside: Path, parts: Sequence[str]
) -> Iterator[str]:
    """Writes the numbers of each group of patients, if there are any; yields the printed lines."""
    for audit, study, part in zip(audits, studies, parts, strict=True):
        folder = aside / part
        groups = read_groups(study.options.groups, study.patients)
        if groups and (folder / CURVES_FILE).is_file():
            curves = read_curves(folder / CURVES_FILE)
            volumes = thirds(curves.predicted_volumes.sum(1), curves.patients)
            groups = {PREDICTED_VOLUME: volumes, **groups}
        if groups:
            text, table = group_tables(audit, groups)
            write_text(folder / "groups.csv", csv_text(table))
            yield text


def _of_islands(aside: Path, parts: Sequence[str]) -> Iterator[str]:
    """Writes the tables of islands beside their rows, where these are; yields the printed lines."""
    for folder in (aside / part for part in parts):
        if (folder / COMPONENTS_FILE).is_file():
            yield write_tables(read_islands(folder / COMPONENTS_FILE), folder)


def _side_by_side(
    audits: Sequence[Run], aside: Path, output: Path, options: Options
) -> tuple[list[Path], InputError | None]:
    """Diagrams of several audits; what is wrong with them, since each audit is worth keeping."""
    if len(audits) == 1:
        return [], None
    try:
        _check_alike([replace(a, folder=output / a.folder.name) for a in audits])
        several = read_runs([audit.folder for audit in audits])
        return [*draw_all(several, aside).values()] if options.pictures else [], None
    except InputError as error:
        return [], error


def _print_next(
    predictions: Sequence[Path], labels: Folders, audits: Sequence[Path], options: Options
) -> None:
    """The usual next step."""
    if len(audits) > 1:
        print_next("compare", *audits)
    elif isinstance(labels, Path) and (options.members or options.calibrator):
        arguments = options.words(Use.PROMISE_FOLDERS)
        print_next("promise", *predictions, *options.members, labels, *arguments)
    elif isinstance(labels, Path) and options.calibrator is None:
        print_next("report", predictions[0], labels, *options.words(Use.REPORT))


def show(study: Study) -> None:
    """Prints what is to be audited, and warns where nobody could notice a turned volume."""
    print(study)
    if (left := study.labeled - len(study.cases)) > 0 and study.options.shard is None:
        text = f"{counted(left, 'label map')} without a prediction in {study.folder}"
        print_line("note", text, answer=True)
    unplaced = study.unplaced()
    if unplaced:
        print_line(
            "warning",
            f"{unplaced[0]}: no file beside it says where its voxels are, so only its shape is compared "
            f"with the label map's; add the .pkl or the segmentation ({len(unplaced)} of "
            f"{counted(len(study.cases), 'case')})",
        )


def audit_study(
    study: Study, folder: Path, output: Path, *, curves: bool = True, islands: Counter | None = None
) -> tuple[Run, Curves | None, list[InputError]]:
    """The audit of one model, what a promise is made from, and faults of cases, which are printed.

    Args:
        study: From `nacl_monai.predictions.find`.
        folder: The new folder of the audit.
        output: What the folder will be called.
        curves: Whether to count what a promise is made from.
        islands: The function that counts islands, from `nacl_monai.audits.components.counter_of`.

    Raises:
        InputError: If no case can be audited, or if a file cannot be written.
    """
    worst, nifti = WorstCases([*study_measurement(study).functions]), folder / NIFTI_FOLDER
    cases, numbers, faults = measured_cases(
        study, worst.keep, nifti if study.options.write else None, curves, islands
    )
    if islands:
        rows = [measured.islands for measured in numbers[0]]
        joined_study(study, cases, rows, islands).write(folder / COMPONENTS_FILE)
    if study.options.write:
        for name, text in label_tables(study.channels.label_names).items():
            write_text(nifti / name, text)
    counts = [measured.curve for measured in numbers[0] if measured.curve is not None]
    promising = curves_of(study, cases, counts) if counts else None
    audit = write_audit(folder, output, study, cases, numbers, worst.pictures, promising)
    if study.raters:
        text = f"{study.name}: several raters, and so no {CURVES_FILE} for a promise"
        print_line("note", text, answer=True)
    print_faults(map(study.options.named, faults))
    return audit, promising, faults


def print_faults(faults: Iterable[object]) -> None:
    """Prints the faults of single cases, a line for each."""
    for fault in faults:
        print_line("fault", fault)


def merge_files(
    files: Sequence[Path], output: Path, anonymous: Path | None = None
) -> list[InputError]:
    """Merges audits, prints what they say together, and writes it.

    Args:
        files: Their ``bins.npz``.
        output: The folder for the files.
        anonymous: As in `merge`.

    Returns:
        No fault.

    Raises:
        InputError: If the audits cannot be merged.
    """
    with written_folder(output, "merge", read=files) as aside:
        merged = merge(files, anonymous).run
        curves = _beside(files, CURVES_FILE, read_curves, merged.cases, anonymous)
        islands = _beside(files, COMPONENTS_FILE, read_islands, merged.cases, anonymous)
        table = audit_table([write_merged(aside, output, merged)])
        for parts, name in ((curves, CURVES_FILE), (islands, COMPONENTS_FILE)):
            if parts:
                parts[0].joined(parts[1:]).write(aside / name)
        tables = [*_of_islands(aside, [""])]
    print(table, *tables, sep="\n")
    for parts, name in ((curves, CURVES_FILE), (islands, COMPONENTS_FILE)):
        if not parts and (name == CURVES_FILE or any(map(Path.is_file, _places(files, name)))):
            text = f"not every audit has a {name}, and so the merged one has none"
            print_line("note", text, answer=True)
    print_written(visible_files(output))
    return []


def _places(files: Sequence[Path], name: str) -> list[Path]:
    """A file beside the bins of every audit."""
    return [(file if file.is_dir() else file.parent) / name for file in files]


def _beside(
    files: Sequence[Path],
    name: str,
    read: Callable[[Path], Any],
    cases: Collection[str],
    anonymous: Path | None,
) -> list[Any]:
    """Curves or islands beside the bins of every audit; empty where one has none.

    Raises:
        InputError: If one is of other cases than the bins beside it.
    """
    places = _places(files, name)
    if not all(map(Path.is_file, places)):
        return []
    parts: list[Any] = hidden(map(read, places), anonymous)
    unlike = {*cases} ^ {case for part in parts for case in part.cases}
    if unlike:
        raise InputError(
            f"{places[0]}: {min(unlike)!r} is in it or in another {name}, or in the bins beside "
            "them, but not in both; audit again, or move them away"
        )
    return parts


def distinct_names(
    folders: Sequence[Path], names: Sequence[str] | None, option: str, kind: str
) -> list[str]:
    """One name for each folder, its own by default.

    Args:
        folders: The folders of models or of raters.
        names: The names that the user gives.
        option: The option that gives them.
        kind: "models" or "raters".

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
    first, *rest = audits
    for other in rest:
        for lacking, having in ((other, first), (first, other)):
            cases = sorted(set(having.cases) - set(lacking.cases))
            if cases:
                raise InputError(
                    f"{lacking.folder}: lacks {listed(cases, most=3)}, which {having.folder} has; mend "
                    "what is wrong there, or leave the same cases out of every model, to set them side "
                    "by side"
                )
        check_alike(first, other)
