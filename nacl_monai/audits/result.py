"""What an audit found, as an object: errors, diagrams, and the file that holds it all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from nacl_monai.errors import InputError
from nacl_monai.metrics import CalibrationBins
from nacl_monai.metrics.adaptive import FineBins
from nacl_monai.reports import Run, draw_reliability
from nacl_monai.reports.consistency import check_sums, region_errors
from nacl_monai.reports.evaluated import run_of_bins
from nacl_monai.reports.evaluation_files import first_repeated
from nacl_monai.reports.run_bins import RunBins, read_bins
from nacl_monai.runs import TOP
from nacl_monai.training.case_bins import write_case_bins


@dataclass(frozen=True)
class Audit:
    """The calibration of a model, case by case.

    Attributes:
        run: As reports read it; its metrics are the errors that follow from the bins.

    Example:
        >>> import torch
        >>> from nacl_monai import audit
        >>> probs = torch.tensor([[[0.1, 0.4, 0.8]], [[0.9, 0.6, 0.2]]])
        >>> found = audit(probs, torch.tensor([[1, 1, 0]]))
        >>> round(found.ece("foreground"), 6)
        0.25
    """

    run: Run

    @property
    def errors(self) -> pd.DataFrame:
        """One row per case, one column per error and region, such as ``ece_foreground``."""
        return self.run.metrics

    def ece(self, region: str = "foreground", *, pooled: bool = False) -> float:
        """The expected calibration error of a region.

        Args:
            region: Its name; where each structure has its own, "foreground" is the mean over structures
                and ``foreground_<structure>`` that of one.
            pooled: Whether it is that of all voxels together, and not the mean over cases.

        Raises:
            InputError: If there is no such region.
        """
        return self.error("ece", region, pooled=pooled)

    def error(self, name: str, region: str = "foreground", *, pooled: bool = False) -> float:
        """An error by its name: "ece", "ace", "mce", "cece" or "confidence_gap".

        Args:
            name: The error; where fine bins are kept also "adaptive_ece", "smooth_ece", "aurc" and
                "error_auroc".
            region: As in `ece`.
            pooled: As in `ece`.

        Raises:
            InputError: If there is no such error or region.
        """
        bins = self._pooled if pooled else self.run.bins
        return float(region_errors(bins, name, region).nanmean())

    @property
    def _pooled(self) -> RunBins:
        bins = self.run.bins
        fine = bins.fine and bins.fine.pooled()[None]
        human = bins.human and bins.human.pooled()[None]
        sums = bins.sums.pooled()[None]
        return replace(bins, cases=["all"], patients=None, sums=sums, fine=fine, human=human)

    @property
    def raters(self) -> Audit | None:
        """The raters themselves: the share of the others, as a prediction of each; None of one rater."""
        bins = self.run.bins.of_raters
        return None if bins is None else from_bins(bins, "raters")

    def plot(self, region: str | None = None, class_name: str = TOP) -> Figure:
        """The reliability diagram of a region.

        Args:
            region: Its name; by default the foreground, of the first structure where they overlap.
            class_name: "top-1", the predicted class, or a class.

        Raises:
            InputError: If there is no such region or class.
        """
        return draw_reliability([self.run], region=region, class_name=class_name)

    def save(self, file: str | Path) -> Path:
        """Writes ``bins.npz``, from which `read_audit` makes this object again; returns its path.

        Raises:
            InputError: If it cannot be written.
        """
        bins = self.run.bins
        names = (bins.cases, bins.regions, bins.classes[1:], bins.patients or ())
        optional = (bins.fine, bins.human, bins.raters, bins.calibrator)
        write_case_bins(Path(file), bins.sums, *names, *optional)
        return Path(file)


def from_bins(bins: RunBins, name: str) -> Audit:
    """The audit that bins hold, under the name that diagrams show."""
    return Audit(run_of_bins(bins, name))


def from_sums(
    sums: CalibrationBins,
    cases: Sequence[str],
    regions: Sequence[str],
    classes: Sequence[str],
    patients: Sequence[str] = (),
    fine: FineBins | None = None,
    human: CalibrationBins | None = None,
    raters: Sequence[str] = (),
    calibrator: Sequence[str] = (),
) -> Audit:
    """The audit of sums in memory; arguments as in `write_case_bins`."""
    bins = RunBins(
        cases=list(cases),
        regions=list(regions),
        classes=[TOP, *classes],
        sums=sums,
        path=Path("audit") / "bins.npz",
        patients=list(patients) or None,
        fine=fine,
        human=human,
        raters=list(raters),
        calibrator=list(calibrator),
    )
    return from_bins(bins, "audit")


def read_audit(file: str | Path, name: str | None = None) -> Audit:
    """Reads the ``bins.npz`` of an audit, of an evaluation, or of several that were merged.

    Args:
        file: The file, or the folder that it is in.
        name: What diagrams call it; by default the folder's name.

    Raises:
        InputError: If the file is missing, damaged, or holds sums that no voxels have.
    """
    path = Path(file)
    bins = read_bins(path / "bins.npz" if path.is_dir() else path)
    check_sums(bins)
    repeated = first_repeated(bins.cases)
    if repeated is not None:
        raise InputError(f"{bins.path}: case {repeated!r} is there twice; audit again")
    return from_bins(bins, name or bins.path.resolve().parent.name)
