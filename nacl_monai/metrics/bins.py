r"""Exact sums per confidence bin, and the calibration errors that follow from them.

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
from dataclasses import dataclass

import torch

from nacl_monai.errors import InputError
from nacl_monai.metrics.binning import bin_sums
from nacl_monai.metrics.pieces import RegionPieces
from nacl_monai.metrics.sums import VoxelSums
from nacl_monai.metrics.voxels import checked_voxels


@dataclass(frozen=True)
class CalibrationBins(VoxelSums):
    """Sums over a set of voxels per class and bin, with any leading axes (cases, regions).

    The last but one is the class axis. Its entry 0, "top-1", bins the confidence of the predicted
    class; entries 1 to C bin the probability of each class, background first. An error without
    "class" in its name is that of the predicted class:

    ========================= ================ ===================================
    ``errors("ece")``         ``(..., 1 + C)`` every entry of the class axis
    ``ece()``, ``ace()``, …   ``(...)``        the predicted class (entry 0)
    ``class_errors("ece")``   ``(..., C)``     each class (entries 1 to C)
    ``cece()``                ``(...)``        the mean of ``class_errors("ece")``
    ========================= ================ ===================================

    All are float64, and NaN without voxels. Adding two objects gives the bins of both sets of voxels.

    Attributes:
        counts: Voxels per bin, int64, ``(..., 1 + C, num_bins)``.
        positives: Voxels among them that are predicted correctly (top-1) or have the class as label.
        confidences: Sum of their probabilities, float64.

    Example:
        Two voxels, predicted with 0.9 and 0.6; the second one wrongly:

        >>> probs = torch.tensor([[[0.9, 0.4], [0.1, 0.6]]])
        >>> bins = calibration_bins(probs, torch.tensor([[0, 0]]), num_bins=2)
        >>> round(bins.ece().item(), 6), round(bins.cece().item(), 6)
        (0.25, 0.35)
    """

    counts: torch.Tensor
    positives: torch.Tensor
    confidences: torch.Tensor

    @classmethod
    def collect(
        cls, pieces: RegionPieces, num_bins: int, threshold: float | None = None
    ) -> CalibrationBins:
        """The bins of each case and region, ``(B, regions, 1 + C, num_bins)``.

        Args:
            pieces: The voxels.
            num_bins: The number of equal bins M.
            threshold: If given, only probabilities above it count, so that a class has fewer voxels.
        """
        return cls(*bin_sums(pieces, num_bins, threshold))

    @property
    def num_bins(self) -> int:
        """The number of bins M."""
        return self.counts.shape[-1]

    def voxels(self) -> torch.Tensor:
        """The number of voxels, ``(...)``."""
        return self.counts[..., 0, :].sum(-1)

    def errors(self, error: str = "ece") -> torch.Tensor:
        """An error of every entry of the class axis, ``(..., 1 + C)``.

        Args:
            error: "ece", "ace", "mce" or "confidence_gap".

        Raises:
            InputError: If there is no error of that name.
        """
        if error not in _ERRORS:
            raise InputError(f"error: is {error!r}; choose one of {', '.join(_ERRORS)}")
        # n (C - A) needs no division, and so no care for empty bins.
        return _ERRORS[error](self.confidences - self.positives, self.counts)

    def ece(self) -> torch.Tensor:
        """ECE of the predicted class (equation 10)."""
        return self.errors("ece")[..., 0]

    def ace(self) -> torch.Tensor:
        """ACE of the predicted class: every bin that is not empty weighs the same."""
        return self.errors("ace")[..., 0]

    def mce(self) -> torch.Tensor:
        """MCE of the predicted class: its worst bin, however small."""
        return self.errors("mce")[..., 0]

    def confidence_gap(self) -> torch.Tensor:
        """Mean confidence minus accuracy of the predicted class: positive if overconfident."""
        return self.errors("confidence_gap")[..., 0]

    def class_errors(
        self, error: str = "ece", include_background: bool = True, include_absent: bool = True
    ) -> torch.Tensor:
        """An error of each class, ``(..., C)``, or ``(..., C - 1)`` without background.

        Args:
            error: "ece", "ace", "mce" or "confidence_gap".
            include_background: Whether the background counts.
            include_absent: Whether a class without any voxel in the region counts. It has a true
                error, the probability wasted on it, and hiding that error would reward a network
                for it; therefore the default. False gives NaN, which ``nanmean`` leaves out; in the
                region foreground this drops the background as well.

        Raises:
            InputError: If there is no error of that name.
        """
        classes = slice(1 if include_background else 2, None)
        errors = self.errors(error)[..., classes]
        if include_absent:
            return errors
        return errors.where(self.positives[..., classes, :].sum(-1) > 0, torch.nan)

    def cece(self, include_background: bool = True, include_absent: bool = True) -> torch.Tensor:
        r"""The mean over classes of their ECE.

        .. math::

            \mathrm{CECE} = \frac{1}{C} \sum_{j=1}^{C} \sum_{i=1}^{M} \frac{n_{i,j}}{N}
            |C_{i,j} - A_{i,j}|

        The paper's equation 11 is the sum over classes; its authors' code, and this mean, divide by
        their number. Their code takes that number from the labels of each image, so that the divisor
        changes from case to case; here it is always that of the network's classes.

        Args:
            include_background: As in :meth:`class_errors`.
            include_absent: As in :meth:`class_errors`.
        """
        return self.class_errors("ece", include_background, include_absent).nanmean(-1)


class ThresholdedBins(CalibrationBins):
    """Only those of probabilities above a threshold.

    In most voxels a class has a probability near 0, and rightly. In its ECE they outweigh all others,
    however wrong these are. Above the threshold each class has its own number of voxels; the errors of a
    class without any are NaN, and stay out of :meth:`cece`.

    References:
        Measuring Calibration in Deep Learning (Nixon et al., 2019).
    """


def _expected(excess: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    return excess.abs().sum(-1) / counts.sum(-1)


def _average(excess: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    return (excess.abs() / counts).nanmean(-1)


def _maximum(excess: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    gaps = (excess.abs() / counts).nan_to_num(-1).amax(-1)
    return gaps.where(gaps >= 0, torch.nan)


def _gap(excess: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    return excess.sum(-1) / counts.sum(-1)


#: Name → function of ``n (C - A)`` and ``n``, both ``(..., num_bins)``.
_ERRORS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "ece": _expected,
    "ace": _average,
    "mce": _maximum,
    "confidence_gap": _gap,
}


def calibration_bins(
    probs: torch.Tensor,
    labels: torch.Tensor,
    mask: torch.Tensor | None = None,
    num_bins: int = 15,
    per_case: bool = False,
    *,
    ignore_index: int | None = None,
    from_logits: bool = False,
) -> CalibrationBins:
    """Bins the top-1 confidence and every class probability in one pass over the voxels.

    Args:
        probs: Probabilities after softmax, ``(B, C, *spatial)``, 2-D or 3-D, any floating dtype.
        labels: Class indices, ``(B, 1, *spatial)`` or ``(B, *spatial)``.
        mask: Voxels that count, shaped like the labels; None for all.
        num_bins: The number of equal bins M.
        per_case: Whether each case of the batch keeps its own bins.
        ignore_index: Voxels with this label do not count.
        from_logits: Whether logits are given in place of probabilities.

    Returns:
        Bins of shape ``(1 + C, num_bins)``, or ``(B, 1 + C, num_bins)`` per case. If several
        classes tie for the largest probability, the first is the predicted one.

    Raises:
        InputError: If the input is not a probability or not a label, or ``num_bins`` is below 1.

    Example:
        Two voxels, predicted with 0.9 and 0.6; the second one wrongly:

        >>> probs = torch.tensor([[[0.9, 0.4], [0.1, 0.6]]])
        >>> bins = calibration_bins(probs, torch.tensor([[0, 0]]), num_bins=2)
        >>> bins.counts[0].tolist(), bins.positives[0].tolist()
        ([0, 2], [0, 1])
        >>> round(bins.confidences[0, 1].item(), 6)
        1.5
    """
    voxels = checked_voxels(probs, labels, mask, ignore_index, from_logits)
    bins = CalibrationBins.collect(RegionPieces(voxels, [voxels.counted]), num_bins)[:, 0]
    return bins if per_case else bins.pooled()
