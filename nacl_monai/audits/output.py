"""What an audit puts out: its files, diagrams and page, and the table of its main numbers."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nacl_monai import reports
from nacl_monai.audits.measuring import FILE_SCORES, CaseNumbers, join_cases, study_settings
from nacl_monai.evaluations.evaluated import (
    DRAWN,
    RATERS,
    Run,
    by_rater,
    error_region,
    human_run,
    read_run,
)
from nacl_monai.evaluations.evaluation_files import (
    AUDITED,
    evaluation_record,
    write_evaluation_record,
    write_numbers,
)
from nacl_monai.evaluations.slices import write_slice
from nacl_monai.evaluations.tables import Groups, csv_text, doubtful_labels, uncounted
from nacl_monai.files import write_text
from nacl_monai.metrics.columns import AUDITED_ERRORS, POOLED_ERRORS, shown_scores
from nacl_monai.metrics.curves import CURVES_FILE, Curves
from nacl_monai.predictions.options import Use
from nacl_monai.predictions.reading import Case
from nacl_monai.predictions.study import Study
from nacl_monai.reports.viewer import PAGE, PAGE_RECORD, is_seen, viewed_cases
from nacl_monai.runs import EvaluationFolder
from nacl_monai.words import counted

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
    settings = [{"calibration::raters": raters} if raters else {}, *({} for _ in raters)]
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
    table = pd.DataFrame([measured.columns for measured in numbers], dtype=float)
    identity = {key: study.identity.get(key) for key in ("shard", "anonymous")}
    record = join_cases(numbers, study.patients_of(cases), study.calibrator, joins, **identity)
    ensemble = {"ensemble": joins} if joins else {}
    about = {**study_settings(study), **settings, **study.calibrated, **ensemble}
    write_numbers(folder, study.name, record, table)
    write_evaluation_record(folder, evaluation_record(AUDITED, about, {}))


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
    evaluation, names = EvaluationFolder(folder), dict.fromkeys((*FILE_SCORES, *merged.metrics))
    table = merged.metrics.reindex(columns=[*names])
    write_numbers(evaluation, merged.name, merged.bins, table)
    write_evaluation_record(evaluation, evaluation_record(AUDITED, {}, {}))
    return _drawn(folder, output, merged.name)


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
        figure = reports.draw_reliability(audits, region=region, errors=False)
        reports.save_png(figure, files[region])
    return files


_BY_GROUP = ("dice", "hd95", "hd95_mm", "ece_near", "contour_misses", "expected_volume_error")


def audit_table(audits: Sequence[Run]) -> str:
    """The main numbers of audits for a terminal."""
    return "\n".join([*_lines(audits), "", *dict.fromkeys(map(averaging_note, audits))])


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


def text_table(audits: Sequence[Run], only: Sequence[str] = ()) -> pd.DataFrame:
    """A row for each number that an audit has, a column for each audit; text with the interval."""
    rows = {}
    for column, (label, decimals) in _columns(audits[0]).items():
        numbers = [audit.number(column) for audit in audits]
        if any(numbers) and column in (only or [column]):
            rows[label] = [mean.text(decimals, "undefined") if mean else "–" for mean in numbers]
    return pd.DataFrame.from_dict(rows, orient="index", columns=[audit.name for audit in audits])


def group_tables(audit: Run, groups: Groups) -> tuple[str, pd.DataFrame]:
    """An audit of the patients of each value of each group.

    Returns:
        The leading numbers for a terminal; and a row for each number of each value, with its interval.
    """
    lines, tables = [], []
    for name, of_patient in groups.items():
        values = audit.patients.map(of_patient)
        known = [value for value in dict.fromkeys(of_patient.values()) if (values == value).any()]
        parts = [
            replace(audit.ordered([*values.index[values == value]]), name=value) for value in known
        ]
        lines += ["", f"By {name}:", *_lines(parts, _BY_GROUP)]
        for part in parts:
            table = number_table(part).rename_axis("number").reset_index()
            table.insert(0, "patients", part.patients.nunique())
            table.insert(0, "value", part.name)
            table.insert(0, "group", name)
            tables.append(table)
    return "\n".join(lines), pd.concat(tables)


def number_table(audit: Run) -> pd.DataFrame:
    """The same numbers of one audit: mean, and the ends of its interval."""
    rows = {}
    for column, (label, _) in _columns(audit).items():
        number = audit.number(column)
        if number:
            rows[label] = (number.mean, *number.interval())
    return pd.DataFrame.from_dict(rows, orient="index", columns=["mean", "low", "high"])


def _lines(audits: Sequence[Run], only: Sequence[str] = ()) -> list[str]:
    """A line per row of the table, its cells as wide as the widest of their column."""
    table = text_table(audits, only)
    rows = [["", *table.columns], *([label, *cells] for label, *cells in table.itertuples())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _columns(audit: Run) -> dict[str, tuple[str, int]]:
    """The columns that are shown, with label and digits: those led with first, the paper's last."""
    shown: dict[str, tuple[str, int]] = {}
    scores = shown_scores(map(str, audit.metrics), audit.bins.decided)
    for name, metric, *parts in (*scores, *_errors(audit)):
        label = ", ".join(filter(None, [metric.label, *parts]))
        shown.setdefault(name, (label, metric.decimals))
    return shown


def _errors(audit: Run) -> Iterator[tuple[Any, ...]]:
    """Of every region; of those that are pooled, not the mean over cases."""
    for region in audit.bins.whole_regions:
        pooled = f"ece_{region}" in audit.bins.pooled_numbers
        for error, metric in AUDITED_ERRORS.items():
            if not pooled or error in POOLED_ERRORS:
                yield f"{error}_{region}", metric, region
    for region in audit.bins.regions:  # of each structure, where structures overlap
        yield f"ece_{region}", AUDITED_ERRORS["ece"], *audit.bins.region_and_structure(region)


def averaging_note(audit: Run) -> str:
    """The sentence on what the numbers average over."""
    units = audit.patients.nunique()
    cases = counted(len(audit.cases), "case")
    cases += f" of {counted(units, 'patient')}" if audit.unit == "patients" else ""
    return (
        f"Mean over {cases} [95% interval over {audit.unit}]; boundary in voxels. Near the "
        "prediction, and for contours and what is expected: all cases together, without the bias of "
        "noise. Confidence − accuracy is positive where the model is overconfident. "
        f"{uncounted([audit.bins.pooled_numbers])}{audit.caution}".rstrip()
    )
