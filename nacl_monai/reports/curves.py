"""Reliability curves: accuracy and confidence per bin, computed from the bin sums of a run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nacl_monai.reports.evaluated import Run
from nacl_monai.reports.resampling import pooled_band
from nacl_monai.runs import TOP

Array = npt.NDArray[np.float64]

#: Resamplings of patients for the band around a curve.
BAND_RESAMPLES = 1000
#: Bins with a smaller share of the voxels say little: their accuracy is mostly chance.
SPARSE = 0.001


@dataclass(frozen=True)
class ReliabilityCurve:
    """One method's curve over M bins; NaN marks a bin without voxels.

    Attributes:
        accuracy: Share of correct voxels per bin, all cases pooled.
        confidence: Mean confidence per bin, all cases pooled.
        share: Share of all voxels that fall into the bin.
        lower: Lower end of the band around ``accuracy``.
        upper: Its upper end.
        error: Calibration error of the pooled bins.
        mean_error: Mean over the cases of the calibration error of each.
        cases: Number of cases with voxels in the region, the n of ``mean_error``.
        voxels: Number of voxels.
        human: With several raters, confidence and accuracy of the share of the others as a prediction of
            each, per bin that is not sparse; else empty.
        human_error: The mean over the cases of its calibration error; NaN of one rater.
    """

    accuracy: Array
    confidence: Array
    share: Array
    lower: Array
    upper: Array
    error: float
    mean_error: float
    cases: int
    voxels: int
    human: tuple[Array, Array]
    human_error: float


def reliability_curve(
    run: Run,
    region: str = "foreground",
    class_name: str = TOP,
    *,
    resamples: int = BAND_RESAMPLES,
    seed: int = 0,
) -> ReliabilityCurve:
    """The reliability curve of one run in one region.

    Args:
        run: From `nacl_monai.reports.read_run`.
        region: One of the regions in ``bins.npz``.
        class_name: "top-1", the predicted class, or one class by its name.
        resamples: Resamplings of patients for the 95 % band.
        seed: The seed of those resamplings.

    Raises:
        InputError: If the run has no such region or class.
    """
    bins = run.bins.select(region, class_name)
    pooled = {key: sums[0] for key, sums in bins.pooled().arrays().items()}
    by_case = {key: sums[:, 0] for key, sums in bins.arrays().items()}
    errors = bins.errors("ece")
    defined = ~errors.isnan()
    lower, upper = pooled_band(
        by_case["positives"],
        by_case["counts"],
        run.patients.to_numpy(),
        resamples=resamples,
        seed=seed,
    )
    return ReliabilityCurve(
        accuracy=_ratio(pooled["positives"], pooled["counts"]),
        confidence=_ratio(pooled["confidences"], pooled["counts"]),
        share=_ratio(pooled["counts"], pooled["counts"].sum()),
        lower=lower,
        upper=upper,
        error=float(bins.pooled().errors("ece")),
        mean_error=float(errors[defined].mean()),
        cases=int(defined.sum()),
        voxels=int(pooled["counts"].sum()) // run.bins.times,
        human=_human_curve(run, region, class_name),
        human_error=_human_error(run, region, class_name),
    )


def _human_curve(run: Run, region: str, class_name: str) -> tuple[Array, Array]:
    if run.bins.of_raters is None:
        return np.empty(0), np.empty(0)
    bins = run.bins.of_raters.select(region, class_name).pooled()[0]
    counts, positives, confidences = bins.arrays().values()
    shown = _ratio(counts, counts.sum()) >= SPARSE
    return _ratio(confidences, counts)[shown], _ratio(positives, counts)[shown]


def _human_error(run: Run, region: str, class_name: str) -> float:
    if run.bins.of_raters is None:
        return float("nan")
    return float(run.bins.of_raters.select(region, class_name).errors("ece").nanmean())


def _ratio(numerator: npt.ArrayLike, denominator: npt.ArrayLike) -> Array:
    """Elementwise ratio; NaN where nothing was counted."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.divide(numerator, denominator), dtype=np.float64)
