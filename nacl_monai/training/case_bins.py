"""The bin sums of every case, from which reliability curves are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine

from nacl_monai.errors import InputError
from nacl_monai.files import atomic_path
from nacl_monai.metrics import CalibrationBins
from nacl_monai.metrics.adaptive import FINE, FineBins
from nacl_monai.metrics.overlapping import OUTSIDE_INSIDE
from nacl_monai.metrics.raters import HUMAN
from nacl_monai.runs import TOP, EvaluationFolder
from nacl_monai.training.calibration_error import CalibrationError
from nacl_monai.training.case_handler import CaseHandler


class CaseBins(CaseHandler):
    """Writes ``bins.npz``: the exact bin sums of every case, from which all calibration follows.

    Arrays: ``cases`` (N,), ``regions`` (R,), ``classes`` (1 + C,), "top-1" and the names of the
    classes; ``counts``, ``positives`` (int64) and ``confidences`` (float64 sums), each
    ``(N, R, 1 + C, M)``. Bin ``m`` of ``M`` is ``(m/M, (m + 1)/M]``; accuracy is
    ``positives / counts``, mean confidence is ``confidences / counts``.

    Where an error of equal mass or of selective prediction was asked for, the fine bins of
    `nacl_monai.metrics.adaptive` as well: ``fine_counts`` and ``fine_errors`` (int64) and
    ``fine_excess`` (float64), each ``(N, R, F)``.

    Args:
        output_dir: Folder of the file.
        classes: Names of all classes, background first; those of structures that may overlap, which are
            the metric's, are "outside" and "inside" whatever is given.
        calibration: The evaluator's calibration metric.
        calibrator: Name of what is behind the network, the further array ``calibrator``; None without.

    Raises:
        InputError: In the end, if there are not as many names as classes.
    """

    def __init__(
        self,
        output_dir: str | Path,
        classes: Sequence[str],
        calibration: CalibrationError,
        calibrator: str | None = None,
    ) -> None:
        super().__init__()
        self.file = EvaluationFolder(Path(output_dir)).bins
        self.calibration = calibration.metric_fn
        self.calibrator = calibrator
        self.classes = list(OUTSIDE_INSIDE if self.calibration.structures else classes)

    def write(self, engine: Engine, cases: list[str], patients: list[str]) -> None:  # noqa: ARG002
        """Writes the file; see the class."""
        sums = self.calibration.case_bins()
        fine = self.calibration.case_fine_bins()
        channels = sums.counts.shape[2] - 1
        if len(self.classes) != channels:
            raise InputError(
                f"CaseBins: {len(self.classes)} classes ({', '.join(self.classes)}) for {channels} "
                "channels of probabilities; name each, background first"
            )
        names = (cases, self.calibration.region_names, self.classes)
        behind = [self.calibrator] if self.calibrator else []
        write_case_bins(self.file, sums, *names, fine=fine, calibrator=behind)


def write_case_bins(
    file: Path,
    sums: CalibrationBins,
    cases: Sequence[str],
    regions: Sequence[str],
    classes: Sequence[str],
    patients: Sequence[str] = (),
    fine: FineBins | None = None,
    human: CalibrationBins | None = None,
    raters: Sequence[str] = (),
    calibrator: Sequence[str] = (),
) -> None:
    """Writes a ``bins.npz``; see `CaseBins`.

    Args:
        file: The file.
        sums: The bins, ``(cases, regions, 1 + C, M)``.
        cases: Names.
        regions: Names.
        classes: Names of all classes, without "top-1".
        patients: The patient of each case, the further array ``patients``; empty where nobody knows.
        fine: The fine bins, ``(cases, regions, F)``; left out where they were not measured.
        human: The bins of raters who are predicted by the others, like ``sums``, of several raters.
        raters: Their names, where the bins are against the share of them.
        calibrator: Name of what the probabilities went through, if anything; and its checksum, where
            calibrators of one name must be told apart.
    """
    names = {"cases": cases, "regions": regions, "classes": [TOP, *classes]}
    optional = {"patients": patients, "raters": raters, "calibrator": calibrator}
    names |= {key: values for key, values in optional.items() if values}
    arrays: dict[str, Any] = {key: np.array(list(values)) for key, values in names.items()}
    arrays |= sums.arrays()
    if fine is not None:
        arrays |= fine.arrays(FINE)
    if human is not None:
        arrays |= human.arrays(HUMAN)
    with atomic_path(file) as temporary, temporary.open("wb") as stream:  # np.savez would add .npz
        np.savez_compressed(stream, **arrays)
