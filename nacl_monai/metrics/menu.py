"""The menu of calibration errors: what each is computed from, and how."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

import torch

from nacl_monai.errors import InputError
from nacl_monai.metrics.adaptive import FineBins
from nacl_monai.metrics.bins import CalibrationBins, ThresholdedBins
from nacl_monai.metrics.pieces import RegionPieces
from nacl_monai.metrics.pixelwise import ForegroundBins
from nacl_monai.metrics.scores import ScoreSums
from nacl_monai.metrics.selective import aurc, error_auroc
from nacl_monai.metrics.sums import VoxelSums


class Options(Protocol):
    """The arguments of a `nacl_monai.metrics.CalibrationMetric` that decide an error."""

    num_bins: int
    include_background: bool
    include_absent: bool
    threshold: float
    false_positive_weight: float


class Error(NamedTuple):
    """One number per set of voxels.

    Attributes:
        sums: What it is computed from, a key of :data:`COLLECTORS`.
        compute: Function of these sums and of the metric, which has the options.
    """

    sums: type[VoxelSums]
    compute: Callable[[Any, Options], torch.Tensor]


#: Kind of sums → function of the pieces of a batch and of the metric.
COLLECTORS: dict[type[VoxelSums], Callable[[RegionPieces, Options], VoxelSums]] = {
    CalibrationBins: lambda pieces, metric: CalibrationBins.collect(pieces, metric.num_bins),
    FineBins: lambda pieces, _: FineBins.collect(pieces),
    ScoreSums: lambda pieces, _: ScoreSums.collect(pieces),
    ThresholdedBins: lambda pieces, metric: ThresholdedBins.collect(
        pieces, metric.num_bins, metric.threshold
    ),
    ForegroundBins: lambda pieces, metric: ForegroundBins.collect(pieces, metric.num_bins),
}

#: The errors that an evaluation measures unless others are asked for.
DEFAULT_ERRORS = (
    *("ece", "ace", "mce", "confidence_gap", "adaptive_ece", "cece"),
    *("nll", "brier", "aurc", "error_auroc"),
)

#: The errors that are known by name.
ERRORS: dict[str, Error] = {
    "ece": Error(CalibrationBins, lambda bins, _: bins.ece()),
    "ace": Error(CalibrationBins, lambda bins, _: bins.ace()),
    "mce": Error(CalibrationBins, lambda bins, _: bins.mce()),
    "confidence_gap": Error(CalibrationBins, lambda bins, _: bins.confidence_gap()),
    "adaptive_ece": Error(FineBins, lambda fine, metric: fine.adaptive_ece(metric.num_bins)),
    "cece": Error(
        CalibrationBins,
        lambda bins, metric: bins.cece(metric.include_background, metric.include_absent),
    ),
    "thresholded_cece": Error(
        ThresholdedBins,
        lambda bins, metric: bins.cece(metric.include_background, metric.include_absent),
    ),
    "smooth_ece": Error(FineBins, lambda fine, _: fine.smooth_ece()),
    "pece": Error(ForegroundBins, lambda bins, metric: bins.pece(metric.false_positive_weight)),
    "nll": Error(ScoreSums, lambda scores, _: scores.nll()),
    "brier": Error(ScoreSums, lambda scores, _: scores.brier()),
    "aurc": Error(FineBins, lambda fine, _: aurc(fine.counts, fine.errors)),
    "error_auroc": Error(FineBins, lambda fine, _: error_auroc(fine.counts, fine.errors)),
}


def named_errors(names: Iterable[str]) -> dict[str, Error]:
    """The errors of these names.

    Raises:
        InputError: If one is unknown, or if there is none.
    """
    chosen = () if isinstance(names, str) else tuple(names)
    if not chosen or not set(chosen) <= set(ERRORS):
        raise InputError(f"errors: is {names!r}; choose a list from {', '.join(ERRORS)}")
    return {name: ERRORS[name] for name in chosen}
