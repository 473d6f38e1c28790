"""The result of an audit as an object: errors, diagrams and their file; and several audits as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nacl_monai import reports
from nacl_monai.audits.output import (
    audit_table,
    averaging_note,
    number_table,
    text_table,
    write_merged,
)
from nacl_monai.errors import InputError
from nacl_monai.evaluations.evaluated import Run, run_of_bins
from nacl_monai.metrics.record import Record, read_record
from nacl_monai.output import written_folder
from nacl_monai.predictions.identity import hidden
from nacl_monai.reports.viewer import Viewed
from nacl_monai.runs import TOP

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False)
class Audit:
    """The calibration of a model, case by case.

    Attributes:
        run: As reports read it; its metrics are the errors that follow from the bins.
        cases: Names of cases → what its page shows of them; None of sums alone.

    Example:
        >>> import torch
        >>> from nacl_monai import audit
        >>> probs = torch.tensor([[[0.1, 0.4, 0.8]], [[0.9, 0.6, 0.2]]])
        >>> found = audit(probs, torch.tensor([[1, 1, 0]]))
        >>> round(found.ece("foreground"), 6)
        0.25
    """

    run: Run
    cases: Viewed | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        return audit_table([self.run])

    def _repr_html_(self) -> str:
        return f"{text_table([self.run]).to_html()}<p>{averaging_note(self.run)}</p>"

    @property
    def table(self) -> pd.DataFrame:
        """The main numbers, a row each, with the ends of an interval over patients or cases."""
        return number_table(self.run)

    @property
    def errors(self) -> pd.DataFrame:
        """One row per case, a column per error and region, such as ``ece_foreground``, and scores."""
        return self.run.metrics

    def ece(self, region: str = "foreground", *, per_case: bool = False) -> float:
        """The expected calibration error of a region.

        Args:
            region: Its name; where each structure has its own, "foreground" is the mean over structures
                and ``foreground_<structure>`` that of one.
            per_case: As in `error`.

        Raises:
            InputError: If there is no such region.
        """
        return self.error("ece", region, per_case=per_case)

    def error(self, name: str, region: str = "foreground", *, per_case: bool = False) -> float:
        """An error by its name: "ece", "ace", "mce", "cece" or "confidence_gap".

        Args:
            name: The error; where fine bins are kept also "adaptive_ece", "smooth_ece", "aurc" and
                "error_auroc".
            region: As in `ece`.
            per_case: Whether it is the mean over cases. Otherwise it is the number that the table calls
                so: of "ece" and "confidence_gap", where the label has no say in the region, that of all
                cases together, without the bias of noise, which is zero for true probabilities; of
                others the mean over patients.

        Raises:
            InputError: If there is no such error or region.
        """
        cases = self.run.bins.errors(name, region).numpy()
        pooled = self.run.bins.pooled_numbers.get(f"{name}_{region}")
        if per_case:
            return float(np.nanmean(cases))
        return (pooled or self.run.mean(pd.Series(cases, self.run.metrics.index))).mean

    @property
    def raters(self) -> Audit | None:
        """The raters themselves, each predicted by the share of the others; None with one rater."""
        bins = self.run.bins.of_raters
        return None if bins is None else Audit(run_of_bins(bins, "raters"))

    def plot(self, region: str | None = None, class_name: str = TOP) -> Figure:
        """The reliability diagram of a region.

        Args:
            region: Its name; by default the foreground, of the first structure where they overlap.
            class_name: "top-1", the predicted class, or a class.

        Raises:
            InputError: If there is no such region or class.
        """
        return reports.draw_reliability([self.run], region=region, class_name=class_name)

    def page(self, file: str | Path, *, viewer: bool = True) -> Path:
        """Writes the page of the audit, which needs no network; returns its path.

        Args:
            file: The file.
            viewer: Whether one can scroll through the worst cases, which are images of patients.

        Raises:
            InputError: If it cannot be written.
        """
        cases = self.cases if viewer else None
        return reports.write_page(self.run, Path(file), "nacl_monai.Audit.page", cases=cases)

    def save(self, place: str | Path) -> Path:
        """Writes what `read_audit` makes this object of again; returns its path.

        Args:
            place: A folder, for the tables, diagrams and page of an audit; or the name of an ``.npz``
                file, for the sums alone.

        Raises:
            InputError: If it cannot be written, or if the folder holds anything else.
        """
        if Path(place).suffix == ".npz":
            return self.run.bins.write(place)
        with written_folder(place, "audit") as aside:
            write_merged(aside, Path(place), self.run)
        return Path(place)


def read_audit(file: str | Path, name: str | None = None) -> Audit:
    """Reads the ``bins.npz`` of an audit, of an evaluation, or of several that were merged.

    Args:
        file: The file, or the folder that it is in.
        name: What diagrams call it; by default the folder's name.

    Raises:
        InputError: If the file is missing, damaged or edited, or holds sums that no voxels have.
    """
    bins = read_record(file).check()
    return Audit(run_of_bins(bins, name or bins.path.resolve().parent.name))


def merge(files: Sequence[str | Path], anonymous: str | Path | None = None) -> Audit:
    """The audit of all cases in several ``bins.npz``; with fine bins where all of them have these.

    No image leaves a site: bins are counts and sums of every case, so that those of several audits side
    by side are those of the audit of all cases, to the bit.

    Args:
        files: The files, or the folders that they are in.
        anonymous: A file with a salt, which hides the names of cases and patients.

    Raises:
        InputError: If there is no file, one or the salt cannot be read, if bins, regions, classes,
            calibrators or anything else of their definitions differ, if a case or a patient is in two
            files, or if only some of them know patients.

    Example:
        >>> import tempfile
        >>> from nacl_monai import audit
        >>> probs = np.array([[[0.1, 0.4, 0.8]], [[0.9, 0.6, 0.2]]], dtype=np.float32)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for site in ("a", "b"):
        ...         _ = audit(probs, np.array([[1, 1, 0]]), cases=[site]).save(f"{folder}/{site}.npz")
        ...     merge([f"{folder}/a.npz", f"{folder}/b.npz"]).run.cases
        ['a', 'b']
    """
    parts = hidden([read_record(file).check() for file in files], anonymous)
    if not parts:
        raise InputError("files: are none; give the bins.npz of each site")
    record = replace(parts[0].joined(parts[1:]), path=Path("<merged>") / "bins.npz")
    _check_apart(parts, "case", [part.cases for part in parts])
    _check_apart(parts, "patient", [part.patients or [] for part in parts])
    return Audit(run_of_bins(record.ordered(sorted(record.cases)), "merged"))


def _check_apart(parts: Sequence[Record], kind: str, names: Sequence[Sequence[str]]) -> None:
    seen: dict[str, Record] = {}
    for part, of_part in zip(parts, names, strict=True):
        repeated = sorted(set(of_part) & seen.keys())
        if repeated:
            raise InputError(
                f"{part.path}: its {kind} {repeated[0]!r} is in {seen[repeated[0]].path}, too; rename "
                "one if they are not the same"
            )
        seen |= dict.fromkeys(of_part, part)
