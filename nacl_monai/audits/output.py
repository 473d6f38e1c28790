"""The files of an audit, those of an evaluation and its diagrams, and the table that is printed."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from nacl_monai.audits.measuring import SCORES, Measured, Settings, joined
from nacl_monai.audits.reading import Found
from nacl_monai.audits.result import Audit
from nacl_monai.counting import counted
from nacl_monai.errors import InputError
from nacl_monai.metrics.columns import AUDITED_ERRORS, AUDITED_SCORES, columns_of, structure_of
from nacl_monai.metrics.record import Record
from nacl_monai.reports.evaluated import RATERS, Run, by_rater, human_run, read_run
from nacl_monai.reports.evaluation_files import (
    AUDITED,
    evaluation_record,
    write_case_table,
    write_evaluation_record,
)
from nacl_monai.reports.page import DRAWN, error_region, write_page
from nacl_monai.reports.reliability import draw_reliability
from nacl_monai.reports.slices import write_slice
from nacl_monai.reports.style import save_figure
from nacl_monai.runs import EvaluationFolder

_DIAGRAM, _PAGE = "reliability_", "page.html"
#: The folder of the maps of single cases.
NIFTI = "nifti"
# Decimals of the table of cases, by which the page orders them.
_DECIMALS = 6


@dataclass
class WorstCases:
    """Keeps the pictures of the cases that the page of an audit shows, and forgets all others.

    Attributes:
        settings: The audit's settings.
        most: So many are kept.
        pictures: Case → picture, the worst first.
    """

    settings: Settings
    most: int = DRAWN
    pictures: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    _errors: dict[str, float] = field(default_factory=dict)

    def keep(self, case: str, measured: Measured) -> Measured:
        """Takes the picture of a case out of its numbers; among equal cases, the first stay."""
        if measured.picture is None:
            return measured
        region = error_region(self.settings.regions, measured.columns)
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
    found: Found,
    patients: Sequence[str],
    numbers: Sequence[Sequence[Measured]],
    pictures: Mapping[str, Mapping[str, Any]],
) -> Run:
    """Writes an audit.

    Of several raters it is that against their share, and has a folder with an audit against each.

    Args:
        folder: The new folder of the audit.
        output: What the folder will be called.
        found: What was audited.
        patients: The patient of each case; empty where nobody knows.
        numbers: The numbers of each case, from `measured_cases`.
        pictures: Slices of some, by case.

    Returns:
        The audit, read back with every check that its files allow.

    Raises:
        InputError: If it cannot be written.
    """
    places = [folder, *(folder / RATERS / rater for rater in found.settings.raters)]
    for place, of_place in zip(places, numbers, strict=True):
        settings = found.settings if place is folder else replace(found.settings, raters=())
        table = pd.DataFrame([one.columns for one in of_place])
        columns = {
            str(name): torch.from_numpy(table[name].to_numpy(float, copy=True)) for name in table
        }
        _write_numbers(
            EvaluationFolder(place),
            found.name,
            joined(of_place, patients, found.calibrator),
            columns,
            {**settings.as_record(), **found.calibrated},
        )
    for case, arrays in pictures.items():
        write_slice(EvaluationFolder(folder).map_of(case), arrays)
    return _drawn(folder, output, found.name)


def write_merged(folder: Path, output: Path, merged: Audit) -> Run:
    """Writes an audit that was merged of several; Dice and HD95, which no bins give, are undefined.

    Args:
        folder: The new folder of the audit.
        output: What the folder will be called.
        merged: The audit.

    Returns:
        As `write_audit`.

    Raises:
        InputError: As there.
    """
    record, name = merged.run.bins, merged.run.name
    undefined = torch.full((len(record.cases),), torch.nan)
    columns = dict.fromkeys(SCORES, undefined) | record.columns()
    _write_numbers(EvaluationFolder(folder), name, record, columns, {})
    return _drawn(folder, output, name)


def _write_numbers(
    folder: EvaluationFolder,
    name: str,
    record: Record,
    columns: Mapping[str, torch.Tensor],
    settings: Mapping[str, Any],
) -> None:
    """Writes what reports read."""
    num_bins, patients = record.sums.num_bins, record.patients or ()
    write_case_table(folder, columns, num_bins, name, record.cases, patients)
    record.write(folder.bins)
    write_evaluation_record(folder, evaluation_record(AUDITED, settings, {}))


def _drawn(folder: Path, output: Path, name: str) -> Run:
    """Reads what was written, and draws it."""
    audit = read_run(folder, name)
    draw_all(by_rater(audit), folder)
    write_page(audit, folder / _PAGE, f"nacl-monai page {shlex.quote(str(output))} --output DIR")
    return audit


def visible_files(folder: Path) -> list[Path]:
    """What is in a folder, but for hidden files; sorted."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


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
    """A line per column that an audit has, its cells as wide as the widest of each audit."""
    rows = [["", *(audit.name for audit in audits)]]
    for column, (label, decimals) in _columns(audits[0]).items():
        known = [column in a.metrics and a.metrics[column].notna().any() for a in audits]
        if any(known):
            cells = (
                audit.mean(audit.metrics[column]).text(decimals, "undefined") if is_known else "–"
                for audit, is_known in zip(audits, known, strict=True)
            )
            rows.append([label, *cells])
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


def _note(audit: Run) -> str:
    units = audit.patients.nunique()
    of = counted(len(audit.cases), "case")
    of += f" of {counted(units, 'patient')}" if audit.unit == "patients" else ""
    return (
        f"Mean over {of} [95 % interval over {audit.unit}]; HD95 and boundary in voxels. "
        "Confidence − accuracy is positive where the model is overconfident."
    )
