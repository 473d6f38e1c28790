"""``nacl-monai promise --apply``: contours, intervals and measurements of new cases, each read once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, ClassVar, Protocol

import pandas as pd

from nacl_monai.audits.command import print_faults
from nacl_monai.audits.components import SCORED, real_of, write_rows, write_scored
from nacl_monai.cli import print_next, print_written
from nacl_monai.errors import InputError, SettingError
from nacl_monai.evaluations.tables import csv_text, table_text
from nacl_monai.files import write_text
from nacl_monai.inference.promised import APPLIED, table_rows
from nacl_monai.output import visible_files, written_folder
from nacl_monai.predictions.options import Options, Use
from nacl_monai.predictions.study import Study
from nacl_monai.promises.cases import NewCase, find_new, new_cases, write_contours
from nacl_monai.promises.measure import Measure, rows_of
from nacl_monai.promises.record import Promise, read_promise
from nacl_monai.words import counted

_ENDS = {"value": "", "low": " at least", "high": " at most"}  # of a measurement
#: The measurements of new patients.
_MEASURED = "measures.csv"
_ROWS = 20  # rows of a table that are printed


class Part(Protocol):
    """What is made of new cases, each of which is read once.

    Attributes:
        curves: Whether it takes the curves of a case.
    """

    curves: ClassVar[bool]

    def add(self, case: NewCase) -> None:
        """Takes what it needs of a case."""


def add_cases(
    study: Study,
    promise: Promise,
    faults: list[InputError],
    parts: Sequence[Part],
    *chosen: float | None,
) -> None:
    """Applies a promise to new cases, one after the other, for all parts.

    Args:
        study: From `nacl_monai.promises.cases.find_new`.
        promise: What was promised.
        faults: Takes those of cases that cannot be read.
        parts: What is made of the cases.
        *chosen: The level and the miss; by default the smallest that were promised.

    Raises:
        InputError: If no case can be read.
    """
    curves = any(part.curves for part in parts)
    for case in new_cases(study, promise, faults, *chosen, curves=curves):
        for part in parts:
            part.add(case)


class Contours:
    """The contours of new cases, with intervals of volume and bounds of Dice.

    Args:
        study: The new predictions.
        folder: For the files.

    Attributes:
        rows: Of the table.
        real: The fit to islands, if there is one.
    """

    curves: ClassVar[bool] = False

    def __init__(self, study: Study, folder: Path) -> None:
        self.folder, self.real = folder, real_of(study)
        self.rows: list[dict[str, Any]] = []
        self._islands: list[Any] = []

    def add(self, case: NewCase) -> None:
        """Writes the contours of a case."""
        write_contours(case, self.folder)
        if self.real:
            self._islands += write_scored(case.reading, self.real, self.folder)
        self.rows += table_rows(case.name, case.structures)

    def write(self) -> None:
        """Writes the tables."""
        write_text(self.folder / APPLIED, csv_text(pd.DataFrame(self.rows)))
        if self.real:
            write_rows(self._islands, self.folder)


@dataclass
class Measuring:
    """The measurements of new patients, whose cases come one by one.

    Attributes:
        measures: Of one level.
        patients: Case → patient.
        phases: A table of the cases' phases, if one was given.
        volumes: Case → structure → volume in ml.
    """

    curves: ClassVar[bool] = False
    measures: Sequence[Measure]
    patients: Mapping[str, str]
    phases: str | None
    volumes: dict[str, dict[str, float]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, promise: Promise, study: Study, options: Options, level: float | None = None
    ) -> Measuring:
        """Before the first volume is read.

        Raises:
            InputError: If a case has no phase, or a patient two cases of one.
            SettingError: If phases have no effect.
        """
        if options.phases and not promise.measures:
            raise SettingError("--phases: this promise has no measurement; leave it out")
        least = promise.of_level(level)[0].level
        measures = [measure for measure in promise.measures if measure.level == least]
        blank = {case: dict.fromkeys(study.channels.structures, 1.0) for case in study.patients}
        rows_of(measures, blank, study.patients, options.phases)
        return cls(measures, study.patients, options.phases)

    def add(self, case: NewCase) -> None:
        """Takes the volumes of a case."""
        if self.measures:
            self.volumes[case.name] = case.predicted_volumes

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Those of `nacl_monai.promises.measure.rows_of`."""
        return rows_of(self.measures, self.volumes, self.patients, self.phases)

    @property
    def sentences(self) -> list[str]:
        """The promise of each measurement."""
        return [measure.text for measure in self.measures]

    @property
    def lines(self) -> list[str]:
        """The table, and whose values are undefined."""
        if not (rows := self.rows):
            return []
        table = pd.DataFrame(rows)
        none = table[table["value"].isna()].groupby("measure")["patient"].agg(", ".join)
        shown = table_text(table, _ROWS)
        return [shown, *(f"note: {name} is undefined for {who}" for name, who in none.items())]

    def write(self, folder: Path) -> list[str]:
        """Writes ``measures.csv``; returns the names of what it wrote."""
        if not self.measures:
            return []
        write_text(folder / _MEASURED, csv_text(pd.DataFrame(self.rows)))
        return [_MEASURED]

    def insert(self, table: pd.DataFrame) -> dict[str, str]:
        """Gives each case the values of its patient, and the ends of their intervals.

        Args:
            table: With the columns case and reason, before which they are.

        Returns:
            Column → heading.
        """
        found = {(row["measure"], row["patient"]): row for row in self.rows}
        headings = {}
        for name, (key, end) in product([m.name for m in self.measures], _ENDS.items()):
            rows = (found[name, self.patients[case]] for case in table["case"])
            column, place = f"{name}{end and '_' + key}", list(table).index("reason")
            table.insert(place, column, [row[key] for row in rows])
            headings[column] = f"{name}{end}"
        return headings


def apply_folder(file: Path, new: Path, output: Path, options: Options) -> list[InputError]:
    """Writes the contours of new cases, and a table with intervals of volume and bounds of Dice.

    Args:
        file: ``promise.json``, or the folder that it is in.
        new: The folder of the new predictions.
        output: The folder for the files.
        options: As for an audit; level and miss are by default the smallest that were promised.

    Returns:
        The faults of single cases.

    Raises:
        InputError: If the promise does not hold for these predictions, or no case can be read.
    """
    faults: list[InputError] = []
    with written_folder(output, "promise --apply", read=[file, new, *options.files]) as folder:
        promise = read_promise(file)
        study = find_new(file, promise, new, options)
        contours = Contours(study, folder)
        level, miss = (next(iter(numbers), None) for numbers in (options.level, options.miss))
        measuring = Measuring.of(promise, study, options, level)
        add_cases(study, promise, faults, [contours, measuring], level, miss)
        contours.write()
        measured = measuring.write(folder)
    print_faults(faults)
    table, real = pd.DataFrame(contours.rows), contours.real
    print(table_text(table, _ROWS))
    for text in (*empty_text(table), *measuring.lines):
        print(text)
    print_written(output / name for name in [APPLIED, *measured, *[SCORED] * bool(real)])
    beside = len(measured) + bool(real) * (1 + len({*table["case"]}))
    number = len(visible_files(output)) - 1 - beside
    print(f"wrote {counted(number, 'contour')}: {output}/CASE_outer_STRUCTURE.nii.gz, …_inner_…")
    print_next("triage", file, new, *options.members, *options.words(Use.TRIAGE_NEW))
    return faults


def empty_text(table: pd.DataFrame) -> list[str]:
    """A sentence on inner contours that are empty, if any is.

    Args:
        table: The rows of ``promised.csv``.
    """
    empty = table[table["inner_ml"] == 0].groupby("structure", sort=False)["case"].count()
    of_each = ", ".join(f"{number} of {name}" for name, number in empty.items())
    return [
        f"Empty inner contours: {of_each}. No voxel there can be promised to be the structure."
    ] * bool(of_each)
