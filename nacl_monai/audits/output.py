"""The files of an audit: those of an evaluation, its diagrams and its page."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from nacl_monai import reports
from nacl_monai.audits.measuring import FILE_SCORES, CaseNumbers, join_cases, study_settings
from nacl_monai.evaluations.evaluated import DRAWN, RATERS, Run, by_rater, error_region, read_run
from nacl_monai.evaluations.evaluation_files import (
    AUDITED,
    evaluation_record,
    write_evaluation_record,
    write_numbers,
)
from nacl_monai.evaluations.slices import write_slice
from nacl_monai.evaluations.tables import csv_text, doubtful_labels
from nacl_monai.files import write_text
from nacl_monai.metrics.curves import CURVES_FILE, Curves
from nacl_monai.metrics.record import Record
from nacl_monai.predictions.options import Use
from nacl_monai.predictions.reading import Case
from nacl_monai.predictions.study import Study
from nacl_monai.reports.sections import PAGE, PAGE_RECORD
from nacl_monai.reports.viewer import is_seen, viewed_cases
from nacl_monai.runs import EvaluationFolder

#: The folder of the maps of single cases.
NIFTI_FOLDER = "nifti"
#: The labels that look wrong, on request.
LISTED = "suspects.csv"
# Decimals of the table of cases, by which the page orders them.
_DECIMALS = 6


@dataclass
class WorstCases:
    """Keeps the pictures of the cases that the page of an audit shows, and forgets all others.

    Attributes:
        regions: Those of the audit.
        most: So many are kept.
        pictures: Case → picture, the worst first.
    """

    regions: Sequence[str]
    most: int = DRAWN
    pictures: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    _errors: dict[str, float] = field(default_factory=dict)

    def keep(self, case: str, measured: CaseNumbers) -> CaseNumbers:
        """Takes the picture of a case out of its numbers; among equal cases, the first stay."""
        if measured.picture is None:
            return measured
        region = error_region(self.regions, measured.columns)
        error = round(measured.columns[f"ece_{region}"], _DECIMALS)
        if not np.isnan(error):
            self._errors[case] = error
            kept = {**self.pictures, case: measured.picture}
            worst = sorted(kept, key=lambda name: -self._errors[name])[: self.most]
            self.pictures = {name: kept[name] for name in worst}
        return replace(measured, picture=None)


def write_audit(
    folder: Path,
    output: Path,
    study: Study,
    cases: Sequence[Case],
    numbers: Sequence[Sequence[CaseNumbers]],
    pictures: Mapping[str, Mapping[str, Any]],
    curves: Curves | None,
) -> Run:
    """Writes an audit.

    With several raters, it is the audit against their share, with a folder for each rater.

    Args:
        folder: The new folder of the audit.
        output: What the folder will be called.
        study: What was audited.
        cases: Those that were measured.
        numbers: The numbers of each case, from `measured_cases`.
        pictures: Slices of some, by case.
        curves: What a promise is made from, if it is counted.

    Returns:
        The audit, read back with every check that its files allow.

    Raises:
        InputError: If it cannot be written.
    """
    raters = [*study.raters]
    settings = [
        {"calibration::raters": raters} if raters else {},
        *[dict[str, Any]()] * len(raters),
    ]
    places = [folder, *(folder / RATERS / rater for rater in raters)]
    for place, of_place, further in zip(places, numbers, settings, strict=True):
        _write_view(EvaluationFolder(place), study, cases, of_place, further)
    if curves:
        curves.write(folder / CURVES_FILE)
    for case, arrays in pictures.items():
        write_slice(EvaluationFolder(folder).map_of(case), arrays)
    seen: dict[str, Any] = {} if study.raters else {"data": _data(study)}
    seen |= {"cases": partial(viewed_cases, study)} if is_seen(study.options) else {}
    options = study.options
    how: dict[str, Any] = {"pictures": options.pictures, "suspects": options.suspects}
    return _drawn(folder, output, study.name, **how, **seen)


def _data(study: Study) -> list[str]:
    """The arguments with which the next command reads the data of a study with one rater."""
    options, (labels,) = study.options, {file.parent for file in study.cases[0].labels}
    folders = [study.folder, *options.members, labels]
    return [*map(options.named, [*folders, *options.words(Use.PROMISE_FOLDERS)])]


def _write_view(
    folder: EvaluationFolder,
    study: Study,
    cases: Sequence[Case],
    numbers: Sequence[CaseNumbers],
    settings: Mapping[str, Any],
) -> None:
    """The numbers of all cases against one rater, or against the share of several."""
    joins = [*study.joins]
    table = pd.DataFrame([measured.columns for measured in numbers])
    columns = {
        str(name): torch.from_numpy(table[name].to_numpy(float, copy=True)) for name in table
    }
    identity = {key: study.identity.get(key) for key in ("shard", "anonymous")}
    record = join_cases(numbers, study.patients_of(cases), study.calibrator, joins, **identity)
    ensemble = {"ensemble": joins} if joins else {}
    about = {**study_settings(study), **settings, **study.calibrated, **ensemble}
    _write_numbers(folder, study.name, record, columns, about)


def write_merged(folder: Path, output: Path, merged: Run) -> Run:
    """Writes an audit without files of cases, as after a merge, whose Dice is undefined.

    Args:
        folder: The new folder of the audit.
        output: What the folder will be called.
        merged: The audit.

    Returns:
        As `write_audit`.

    Raises:
        InputError: As there.
    """
    name, table = merged.name, merged.metrics
    columns = dict.fromkeys(FILE_SCORES, torch.full((len(table),), torch.nan))
    columns |= {str(key): torch.from_numpy(table[key].to_numpy(float, copy=True)) for key in table}
    _write_numbers(EvaluationFolder(folder), name, merged.bins, columns, {})
    return _drawn(folder, output, name)


def _write_numbers(
    folder: EvaluationFolder,
    name: str,
    record: Record,
    columns: Mapping[str, torch.Tensor],
    settings: Mapping[str, Any],
) -> None:
    """Writes what reports read."""
    write_numbers(folder, name, record, columns)
    write_evaluation_record(folder, evaluation_record(AUDITED, settings, {}))


def _drawn(
    folder: Path,
    output: Path,
    name: str,
    *,
    pictures: bool = True,
    suspects: str | None = None,
    **seen: Any,
) -> Run:
    """Reads and draws the written numbers; the page takes figures that are drawn already."""
    audit = read_run(folder, name)
    if suspects:
        listed = doubtful_labels(audit.metrics, suspects).rename_axis("case").reset_index()
        write_text(folder / LISTED, csv_text(listed))
        seen |= {"suspects": suspects}
    audits = by_rater(audit)
    files = draw_all(audits, folder) if pictures else {}
    drawn = files if len(audits) == 1 else {}  # several are side by side
    command = f"nacl-monai page {shlex.quote(str(output))} --output DIR"
    how = {"pictures": pictures, "beside": PAGE_RECORD, **seen}
    reports.write_page(audit, folder / PAGE, command, drawn, **how)
    return audit


def draw_all(audits: Sequence[Run], output: Path) -> dict[str, Path]:
    """Draws the reliability diagrams that a page shows, the audits side by side; region → file."""
    files = {}
    for region in reports.drawn_regions(audits[0]):
        files[region] = output / f"reliability_{region}.png"
        reports.save_png(
            reports.draw_reliability(audits, region=region, errors=False), files[region]
        )
    return files
