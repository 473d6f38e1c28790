"""The files of an audit, which are those of an evaluation, and its diagrams."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from nacl_monai.audits.measuring import SCORES, Measured
from nacl_monai.audits.reading import Found
from nacl_monai.audits.result import Audit
from nacl_monai.audits.sums import as_record, scores_of, summed
from nacl_monai.errors import InputError, SettingError
from nacl_monai.files import lock_folder, unlock_folder
from nacl_monai.metrics import CalibrationBins
from nacl_monai.metrics.adaptive import FineBins
from nacl_monai.metrics.overlapping import OUTSIDE_INSIDE
from nacl_monai.reports import Run, draw_reliability, read_run, save_figure
from nacl_monai.reports.evaluation_record import AUDITED
from nacl_monai.reports.page import write_page
from nacl_monai.reports.raters import RATERS, by_rater
from nacl_monai.runs import EvaluationFolder
from nacl_monai.training.case_bins import write_case_bins
from nacl_monai.training.case_table import error_columns, score_columns, write_case_table
from nacl_monai.training.evaluation_record import (
    check_replaceable,
    clear_aside,
    evaluation_record,
    take_place,
    write_evaluation_record,
)
from nacl_monai.training.slice_maps import write_slice

_DIAGRAM, _PAGE, _NIFTI = "reliability_", "page.html", "nifti"


def check_output(output: Path, read: Iterable[Path] = ()) -> None:
    """Refuses a folder that holds anything but an audit, or what the next one is made of.

    Args:
        output: The folder, which is replaced in whole.
        read: Files and folders that are read.

    Raises:
        InputError: If it holds something else, or has no record.
        SettingError: If something that is read is in it.
    """
    for path in read:
        if path.resolve().is_relative_to(output.resolve()):
            raise SettingError(
                f"--output: is {output}, of which {path} is read, and would be replaced; choose another"
            )
    also = [f"{_DIAGRAM}*", _PAGE, _NIFTI, RATERS]
    folder = EvaluationFolder(output)
    check_replaceable(folder, "--output", also)
    own = sorted(file.name for file in output.glob("[!.]*"))
    if own and not folder.record.is_file():  # what somebody else made may be called alike
        raise InputError(
            f"{output}: holds {own[0]}, but no {folder.record.name}, and may be no audit; choose "
            "another --output, or move it away"
        )


@contextmanager
def written_aside(output: Path) -> Iterator[Path]:
    """Yields the folder for the maps of single cases, of an audit that is written when the block ends.

    It is in the folder that takes the place of ``output`` as a whole. If the block fails, nothing
    remains.

    Args:
        output: The folder of the audit.

    Raises:
        InputError: If it holds something else, or if another process writes there.
    """
    folder = EvaluationFolder(output)
    check_output(output)
    lock_folder(folder.aside)
    clear_aside(folder)
    try:
        yield folder.aside / _NIFTI
    except BaseException:
        unlock_folder(folder.aside)
        shutil.rmtree(folder.aside, ignore_errors=True)
        raise


def write_audit(
    output: Path,
    found: Found,
    cases: Sequence[str],
    patients: Sequence[str],
    numbers: Sequence[Sequence[Measured]],
    pictures: Mapping[str, Mapping[str, Any]],
) -> tuple[Run, list[Path]]:
    """Writes an audit, in place of an earlier one; whole or not at all.

    Of several raters it is that against their share, and has a folder with an audit against each.

    Args:
        output: The folder.
        found: What was audited.
        cases: Names, sorted.
        patients: The patient of each case; empty where nobody knows.
        numbers: The numbers of each case, from `measured_cases`.
        pictures: Slices of some, by case.

    Returns:
        The audit, read back with every check that its files allow, and the files.

    Raises:
        InputError: If the folder holds something else, or cannot be written.
    """
    raters = found.settings.raters
    share, *against_each = numbers
    content = replace(_content(found, cases, patients, share), pictures=pictures, raters=raters)
    alone = replace(found, settings=replace(found.settings, raters=()))
    by_each = {
        name: replace(
            _content(found, cases, patients, of_rater),
            settings={**as_record(alone.settings), **found.calibrated},
        )
        for name, of_rater in zip(raters, against_each, strict=True)
    }
    return _write(output, content, by_each)


def _content(
    found: Found, cases: Sequence[str], patients: Sequence[str], numbers: Sequence[Measured]
) -> Content:
    metric, channels = summed(found.settings, numbers), found.settings.channels
    scores = {name: scores_of(numbers, name) for name in numbers[0].scores}
    return Content(
        name=found.name,
        columns=score_columns(scores, list(channels.structures)) | error_columns(metric),
        bins=metric.case_bins(),
        fine=metric.case_fine_bins(),
        regions=metric.region_names,
        classes=OUTSIDE_INSIDE if channels.overlapping else channels.names,
        cases=cases,
        patients=patients,
        settings={**as_record(found.settings), **found.calibrated},
        human=metric.case_human_bins(),
        calibrator=found.calibrator,
    )


def write_merged(output: Path, merged: Audit) -> tuple[Run, list[Path]]:
    """Writes an audit that was merged of several; Dice and HD95, which no bins give, are undefined.

    Args:
        output: The folder.
        merged: The audit.

    Returns:
        As `write_audit`.

    Raises:
        InputError: As there.
    """
    bins = merged.run.bins
    errors = {name: torch.tensor(values.to_numpy()) for name, values in merged.errors.items()}
    undefined = torch.full((len(bins.cases),), torch.nan)
    content = Content(
        name=merged.run.name,
        columns=dict.fromkeys(SCORES, undefined) | {str(name): errors[name] for name in errors},
        bins=bins.sums,
        fine=bins.fine,
        regions=bins.regions,
        classes=bins.classes[1:],
        cases=bins.cases,
        patients=bins.patients or (),
        settings={},
        human=bins.human,
        raters=bins.raters,
        calibrator=bins.calibrator,
    )
    with written_aside(output):
        return _write(output, content)


@dataclass(frozen=True)
class Content:
    """What the files of an audit hold; see the functions that write them."""

    name: str
    columns: Mapping[str, torch.Tensor]
    bins: CalibrationBins
    fine: FineBins | None
    regions: Sequence[str]
    classes: Sequence[str]
    cases: Sequence[str]
    patients: Sequence[str]
    settings: Mapping[str, Any]
    pictures: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    human: CalibrationBins | None = None
    raters: Sequence[str] = ()
    calibrator: Sequence[str] = ()


def _write(
    output: Path, content: Content, by_each: Mapping[str, Content] | None = None
) -> tuple[Run, list[Path]]:
    folder = EvaluationFolder(output)
    check_output(output)
    aside = EvaluationFolder(folder.aside)
    _write_numbers(aside, content)
    for name, of_rater in (by_each or {}).items():
        _write_numbers(EvaluationFolder(aside.path / RATERS / name), of_rater)
    audit = read_run(aside.path, content.name)
    draw_all(by_rater(audit), aside.path)
    write_page(
        audit, aside.path / _PAGE, f"nacl-monai page {shlex.quote(str(output))} --output DIR"
    )
    take_place(folder)
    files = sorted(path for path in output.iterdir() if not path.name.startswith("."))
    return read_run(output, content.name), files


def _write_numbers(folder: EvaluationFolder, content: Content) -> None:
    """Writes what reports read."""
    cases, patients, bins = content.cases, content.patients, content.bins
    write_case_table(folder, content.columns, bins.num_bins, content.name, cases, patients)
    names = (cases, content.regions, content.classes, patients)
    of_raters = (content.human, content.raters)
    write_case_bins(folder.bins, bins, *names, content.fine, *of_raters, content.calibrator)
    write_evaluation_record(folder, evaluation_record(AUDITED, content.settings, {}))
    for case, arrays in content.pictures.items():
        write_slice(folder.map_of(case), arrays)


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
        InputError: Then, with the last fault: those of files that were read are last.
    """
    if not cases:
        reason = f": {faults[-1]}" if faults else ""
        raise InputError(f"{found.folder}: no case could be audited{reason}")
