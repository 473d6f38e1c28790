"""Calibration errors straight from probabilities; :mod:`nacl_monai.metrics.bins` has the equations."""

from __future__ import annotations

import torch

from nacl_monai.metrics.bins import CalibrationBins
from nacl_monai.metrics.fine_bins import FineBins
from nacl_monai.metrics.regions import region_pieces, selected_voxels
from nacl_monai.metrics.voxels import Voxels, checked_voxels
from nacl_monai.words import in_our_words


def _pooled_bins(
    probs: Voxels,
    labels: Voxels,
    num_bins: int,
    region: str | Voxels,
    ignore_index: int | None,
    from_logits: bool,
    threshold: float | None = None,
) -> CalibrationBins:
    pieces = region_pieces(probs, labels, region, ignore_index, from_logits)
    return CalibrationBins.collect(pieces, num_bins, threshold)[:, 0].pooled()


@in_our_words
def expected_calibration_error(
    probs: Voxels,
    labels: Voxels,
    num_bins: int = 15,
    region: str | Voxels = "foreground",
    *,
    ignore_index: int | None = None,
    from_logits: bool = False,
) -> torch.Tensor:
    """ECE of the predicted class (equation 10), the voxels of the batch pooled.

    torchmetrics' ``multiclass_calibration_error`` gives confidence 1.0 a bin of its own, and with
    it another value for saturated networks; netcal's ``ECE`` agrees.

    Args:
        probs: Probabilities after softmax, ``(B, C, *spatial)``, 2-D or 3-D.
        labels: Class indices, ``(B, 1, *spatial)`` or ``(B, *spatial)``.
        num_bins: The number of equal bins.
        region: A name in :data:`REGIONS`, or a mask shaped like the labels.
        ignore_index: Voxels with this label do not count.
        from_logits: Whether logits are given in place of probabilities.

    Returns:
        The error in [0, 1], 0-d, float64; NaN if the region is empty.

    Raises:
        InputError: If the input is not a probability or not a label, the shapes disagree, or
            ``num_bins`` is below 1.

    Example:
        Two of three voxels belong to the foreground; confidence 0.9 and 0.6, both correct:

        >>> probs = torch.tensor([[[[0.1, 0.4, 0.8]], [[0.9, 0.6, 0.2]]]])
        >>> labels = torch.tensor([[[1, 1, 0]]])
        >>> round(expected_calibration_error(probs, labels).item(), 6)
        0.25
    """
    return _pooled_bins(probs, labels, num_bins, region, ignore_index, from_logits).ece()


@in_our_words
def average_calibration_error(
    probs: Voxels,
    labels: Voxels,
    num_bins: int = 15,
    region: str | Voxels = "foreground",
    *,
    ignore_index: int | None = None,
    from_logits: bool = False,
) -> torch.Tensor:
    """ACE of the predicted class: every bin that is not empty weighs the same.

    Arguments, result and errors as in :func:`expected_calibration_error`.

    Example:
        Confidence 0.9 and 0.6 over the foreground, both correct, in a bin each:

        >>> probs = torch.tensor([[[[0.1, 0.4, 0.8]], [[0.9, 0.6, 0.2]]]])
        >>> labels = torch.tensor([[[1, 1, 0]]])
        >>> round(average_calibration_error(probs, labels).item(), 6)
        0.25
    """
    return _pooled_bins(probs, labels, num_bins, region, ignore_index, from_logits).ace()


@in_our_words
def maximum_calibration_error(
    probs: Voxels,
    labels: Voxels,
    num_bins: int = 15,
    region: str | Voxels = "foreground",
    *,
    ignore_index: int | None = None,
    from_logits: bool = False,
) -> torch.Tensor:
    """MCE of the predicted class: its worst bin, however small.

    Arguments, result and errors as in :func:`expected_calibration_error`.

    Example:
        Confidence 0.9 and 0.6 over the foreground, both correct, in a bin each:

        >>> probs = torch.tensor([[[[0.1, 0.4, 0.8]], [[0.9, 0.6, 0.2]]]])
        >>> labels = torch.tensor([[[1, 1, 0]]])
        >>> round(maximum_calibration_error(probs, labels).item(), 6)
        0.4
    """
    return _pooled_bins(probs, labels, num_bins, region, ignore_index, from_logits).mce()


@in_our_words
def confidence_gap(
    probs: Voxels,
    labels: Voxels,
    region: str | Voxels = "foreground",
    *,
    ignore_index: int | None = None,
    from_logits: bool = False,
) -> torch.Tensor:
    """Mean confidence minus accuracy, in [-1, 1]: positive if overconfident; needs no bins.

    Arguments and errors as in :func:`expected_calibration_error`; 0-d, float64.

    Example:
        Confidence 0.9 and 0.6 over the foreground, both correct:

        >>> probs = torch.tensor([[[[0.1, 0.4, 0.8]], [[0.9, 0.6, 0.2]]]])
        >>> labels = torch.tensor([[[1, 1, 0]]])
        >>> round(confidence_gap(probs, labels).item(), 6)
        -0.25
    """
    return _pooled_bins(probs, labels, 1, region, ignore_index, from_logits).confidence_gap()


@in_our_words
def classwise_calibration_error(
    probs: Voxels,
    labels: Voxels,
    num_bins: int = 15,
    region: str | Voxels = "foreground",
    include_background: bool = True,
    include_absent: bool = True,
    *,
    threshold: float | None = None,
    ignore_index: int | None = None,
    from_logits: bool = False,
) -> torch.Tensor:
    """CECE (equation 11), the mean over classes of their ECE, the voxels of the batch pooled.

    MONAI's ``CalibrationErrorMetric`` is this error over all voxels only, with counts in float32
    that are wrong from some millions of voxels on.

    Args:
        probs: As in :func:`expected_calibration_error`.
        labels: As there.
        num_bins: As there.
        region: As there.
        include_background: As in :meth:`CalibrationBins.class_errors`.
        include_absent: As there.
        threshold: If given, only probabilities above it count, as in :class:`ThresholdedBins`; above
            0.001, say. A class without any stays out of the mean.
        ignore_index: As in :func:`expected_calibration_error`.
        from_logits: As there.

    Returns:
        The error in [0, 1], 0-d, float64; NaN if the region is empty.

    Raises:
        InputError: If the input is not a probability or not a label, the shapes disagree, ``num_bins``
            is below 1, or the threshold outside [0, 1).

    Example:
        >>> probs = torch.tensor([[[[0.1, 0.4, 0.8]], [[0.9, 0.6, 0.2]]]])
        >>> labels = torch.tensor([[[1, 1, 0]]])
        >>> round(classwise_calibration_error(probs, labels).item(), 6)
        0.25
        >>> round(classwise_calibration_error(probs, labels, threshold=0.5).item(), 6)  # class 1 alone
        0.25
    """
    bins = _pooled_bins(probs, labels, num_bins, region, ignore_index, from_logits, threshold)
    return bins.cece(include_background, include_absent)


@in_our_words
def smooth_calibration_error(
    probs: Voxels,
    labels: Voxels,
    region: str | Voxels = "foreground",
    *,
    ignore_index: int | None = None,
    from_logits: bool = False,
) -> torch.Tensor:
    """Smooth ECE of the predicted class, the voxels of the batch pooled; it needs no bins.

    It sorts the voxels, and so takes longer than the errors from equal bins.
    :mod:`nacl_monai.metrics.fine_bins` has the equations.

    Args:
        probs: As in :func:`expected_calibration_error`.
        labels: As there.
        region: As there.
        ignore_index: As there.
        from_logits: As there.

    Returns:
        The error in [0, 1], 0-d, float64; NaN if the region is empty.

    Raises:
        InputError: If the input is not a probability or not a label.

    Example:
        Overconfident everywhere, it is the gap between confidence and accuracy:

        >>> probs = torch.tensor([[[[0.1, 0.4, 0.8]], [[0.9, 0.6, 0.2]]]])
        >>> labels = torch.tensor([[[0, 0, 1]]])
        >>> round(smooth_calibration_error(probs, labels, "all").item(), 6)  # (0.9 + 0.6 + 0.8) / 3
        0.766667
    """
    voxels = checked_voxels(probs, labels, None, ignore_index, from_logits)
    return FineBins.of_voxels(voxels, selected_voxels(region, voxels)).smooth_ece()
