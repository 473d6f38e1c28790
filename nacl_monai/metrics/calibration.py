r"""Calibration errors: from bins, and straight from probabilities.

With :math:`n_i` voxels in bin :math:`i`, of mean confidence :math:`C_i` and accuracy :math:`A_i`,
and :math:`N = \sum_i n_i`:

.. math::

    \mathrm{ECE} = \sum_i \frac{n_i}{N} |C_i - A_i| \qquad
    \mathrm{ACE} = \operatorname*{mean}_{i:\, n_i > 0} |C_i - A_i| \qquad
    \mathrm{MCE} = \max_{i:\, n_i > 0} |C_i - A_i|

.. math::

    \mathrm{gap} = \sum_i \frac{n_i}{N} (C_i - A_i) = \text{mean confidence} - \text{accuracy}

References:
    Neighbor-Aware Calibration of Segmentation Networks with Penalty-Based Constraints
    (Murugesan et al., 2024), equations 10 (ECE) and 11 (CECE).
    Obtaining Well Calibrated Probabilities Using Bayesian Binning (Naeini et al., 2015).
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from nacl_monai.metrics.bins import CalibrationBins, region_bins
from nacl_monai.metrics.inputs import checked
from nacl_monai.metrics.pieces import RegionPieces
from nacl_monai.metrics.regions import selected_voxels


def _excess(bins: CalibrationBins) -> torch.Tensor:
    """``n (C - A)`` per bin: needs no division, and so no care for empty bins."""
    return bins.confidences - bins.positives


def expected_error(bins: CalibrationBins) -> torch.Tensor:
    """ECE of each row, ``(..., rows)``, float64; NaN without voxels."""
    return _excess(bins).abs().sum(-1) / bins.counts.sum(-1)


def average_error(bins: CalibrationBins) -> torch.Tensor:
    """ACE of each row: every bin that is not empty weighs the same; NaN without voxels."""
    return (_excess(bins).abs() / bins.counts).nanmean(-1)


def maximum_error(bins: CalibrationBins) -> torch.Tensor:
    """MCE of each row: its worst bin, however small; NaN without voxels."""
    gaps = (_excess(bins).abs() / bins.counts).nan_to_num(-1).amax(-1)
    return gaps.where(gaps >= 0, torch.nan)


def confidence_gaps(bins: CalibrationBins) -> torch.Tensor:
    """Mean confidence minus accuracy of each row: positive if over-confident; NaN if empty."""
    return _excess(bins).sum(-1) / bins.counts.sum(-1)


def classwise_errors(
    bins: CalibrationBins,
    error: Callable[[CalibrationBins], torch.Tensor] = expected_error,
    include_background: bool = True,
    include_absent: bool = True,
) -> torch.Tensor:
    r"""An error of each class column; their mean over classes is the CECE.

    .. math::

        \mathrm{CECE} = \frac{1}{C} \sum_{j=1}^{C} \sum_{i=1}^{M} \frac{n_{i,j}}{N}
        |C_{i,j} - A_{i,j}|

    The paper's equation 11 has the sum over classes; its authors' code, and this function's mean,
    divide by their number. They take that number from the labels of each image, so that the
    divisor changes from volume to volume; here it is always that of the network's classes.

    Args:
        bins: Bins ``(..., C + 1, num_bins)``.
        error: One of the functions above.
        include_background: Whether the background column counts.
        include_absent: Whether a class without any voxel in the region counts. It has a true error,
            the probability wasted on it, and hiding that would reward a network for it; therefore
            the default. False gives NaN, which ``nanmean`` leaves out; inside the foreground this
            drops the background column too.

    Returns:
        ``(..., C)``, or ``(..., C - 1)`` without background; NaN where the region is empty.
    """
    columns = bins[..., slice(1 if include_background else 2, None), :]
    errors = error(columns)
    return errors if include_absent else errors.where(columns.positives.sum(-1) > 0, torch.nan)


def _bins(
    probs: torch.Tensor, labels: torch.Tensor, num_bins: int, region: str | torch.Tensor
) -> CalibrationBins:
    probs, labels = checked(probs, labels)
    pieces = RegionPieces(probs, labels, [selected_voxels(region, probs, labels)])
    return region_bins(pieces, num_bins)[:, 0].pooled()


def expected_calibration_error(
    probs: torch.Tensor,
    labels: torch.Tensor,
    num_bins: int = 15,
    region: str | torch.Tensor = "foreground",
) -> float:
    """ECE of the predicted class (equation 10), the voxels of the batch pooled.

    torchmetrics' ``multiclass_calibration_error`` gives confidence 1.0 a bin of its own, and with
    it another value for saturated networks; netcal's ``ECE`` agrees.

    Args:
        probs: Probabilities after softmax, ``(B, C, *spatial)``, 2-D or 3-D.
        labels: Class indices, ``(B, 1, *spatial)`` or ``(B, *spatial)``.
        num_bins: The number of equal bins.
        region: A name that :func:`region_mask` knows, or a mask shaped like the labels.

    Returns:
        The error in [0, 1]; NaN if the region is empty.

    Raises:
        InputError: For logits, NaN, sums other than 1, shapes that disagree, unknown labels.

    Example:
        Two of three voxels belong to the foreground; confidence 0.9 and 0.6, one of two correct:

        >>> probs = torch.tensor([[[[0.1, 0.4, 0.8]], [[0.9, 0.6, 0.2]]]])
        >>> labels = torch.tensor([[[1, 1, 0]]])
        >>> round(expected_calibration_error(probs, labels), 6)
        0.25
    """
    return expected_error(_bins(probs, labels, num_bins, region))[0].item()


def average_calibration_error(
    probs: torch.Tensor,
    labels: torch.Tensor,
    num_bins: int = 15,
    region: str | torch.Tensor = "foreground",
) -> float:
    """ACE of the predicted class; arguments as in :func:`expected_calibration_error`."""
    return average_error(_bins(probs, labels, num_bins, region))[0].item()


def maximum_calibration_error(
    probs: torch.Tensor,
    labels: torch.Tensor,
    num_bins: int = 15,
    region: str | torch.Tensor = "foreground",
) -> float:
    """MCE of the predicted class; arguments as in :func:`expected_calibration_error`."""
    return maximum_error(_bins(probs, labels, num_bins, region))[0].item()


def confidence_gap(
    probs: torch.Tensor,
    labels: torch.Tensor,
    region: str | torch.Tensor = "foreground",
) -> float:
    """Mean confidence minus accuracy, positive if over-confident; no bins are needed."""
    return confidence_gaps(_bins(probs, labels, 1, region))[0].item()


def classwise_calibration_error(
    probs: torch.Tensor,
    labels: torch.Tensor,
    num_bins: int = 15,
    region: str | torch.Tensor = "foreground",
    include_background: bool = True,
    include_absent: bool = True,
) -> float:
    """CECE: the mean over classes of :func:`classwise_errors`, the voxels of the batch pooled.

    Arguments as in :func:`expected_calibration_error` and :func:`classwise_errors`.

    MONAI's ``CalibrationErrorMetric`` is this error over all voxels only, with counts in float32
    that are wrong from some millions of voxels on.
    """
    bins = _bins(probs, labels, num_bins, region)
    errors = classwise_errors(
        bins, include_background=include_background, include_absent=include_absent
    )
    return errors.nanmean().item()
