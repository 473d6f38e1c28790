r"""Exact sums per confidence bin, the state from which every calibration error is computed.

The bins are :math:`((i-1)/M, i/M]` for :math:`i = 1 \dots M`; the first also holds 0. Their edges
are :math:`i/M` rounded to the dtype of the probabilities, so that a probability *written* as
``0.2`` lies in the bin that ends at 0.2, whatever its binary rounding.

Counts are integers and sums are float64: nothing drifts at any number of voxels. MONAI's
``calibration_binning`` and torchmetrics count in float32, which stops at 2^24 voxels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from nacl_monai.errors import InputError
from nacl_monai.metrics.inputs import checked, without_channel
from nacl_monai.metrics.pieces import RegionPieces


@dataclass(frozen=True)
class CalibrationBins:
    """Sums over a set of voxels, per row and bin, with any leading axes (cases, regions).

    Row 0 bins the confidence of the predicted class (top-1); rows 1 to C bin the probability of
    each class, background first. Adding two objects gives the bins of both sets of voxels.

    Attributes:
        counts: Voxels per bin, int64 ``(..., rows, num_bins)``.
        positives: Voxels among them that are correctly predicted (row 0) or of the row's class.
        confidences: Sum of their probabilities, float64.
    """

    counts: torch.Tensor
    positives: torch.Tensor
    confidences: torch.Tensor

    @property
    def num_bins(self) -> int:
        """The number of bins M."""
        return self.counts.shape[-1]

    def __add__(self, other: CalibrationBins) -> CalibrationBins:
        return CalibrationBins(
            self.counts + other.counts,
            self.positives + other.positives,
            self.confidences + other.confidences,
        )

    def __getitem__(self, index: Any) -> CalibrationBins:
        return CalibrationBins(self.counts[index], self.positives[index], self.confidences[index])

    def pooled(self, dim: int = 0) -> CalibrationBins:
        """The bins of all voxels along one leading axis, by default of all cases."""
        return CalibrationBins(
            self.counts.sum(dim), self.positives.sum(dim), self.confidences.sum(dim)
        )

    def arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """The three tensors as arrays under their names, as an NPZ file holds them."""
        return {name: tensor.cpu().numpy() for name, tensor in vars(self).items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray[Any, Any]]) -> CalibrationBins:
        """The inverse of :meth:`arrays`; other keys of the mapping are left alone."""
        names = ("counts", "positives", "confidences")
        return cls(*(torch.from_numpy(arrays[name]) for name in names))


def bin_indices(probs: torch.Tensor, num_bins: int) -> torch.Tensor:
    """The bin of each probability, int32, same shape.

    One comparison with the nearest edge decides. It is exact, as the edge itself is compared, and
    many times as fast as the binary search of ``torch.bucketize``.

    Example:
        >>> bin_indices(torch.tensor([0.0, 0.1, 0.2, 0.2001, 1.0]), num_bins=5).tolist()
        [0, 0, 0, 1, 4]
    """
    nearest = (probs * num_bins).round_()
    # Written as a float, since on CPU a cast from bool takes longer than all the rest.
    not_above = torch.le(probs, nearest / num_bins, out=torch.empty_like(nearest))
    return nearest.sub_(not_above).clamp_(0, num_bins - 1).int()


def calibration_bins(
    probs: torch.Tensor,
    labels: torch.Tensor,
    mask: torch.Tensor | None = None,
    num_bins: int = 15,
    per_case: bool = False,
) -> CalibrationBins:
    r"""Bin the top-1 confidence and every class probability in one pass over the voxels.

    Args:
        probs: Probabilities after softmax, ``(B, C, *spatial)``, 2-D or 3-D, any floating dtype.
        labels: Class indices, ``(B, 1, *spatial)`` or ``(B, *spatial)``.
        mask: Voxels that count, shaped like the labels; None for all.
        num_bins: The number of equal bins M.
        per_case: Keep one set of bins per case of the batch.

    Returns:
        Bins of shape ``(C + 1, num_bins)``, or ``(B, C + 1, num_bins)`` per case. Where several
        classes tie for the largest probability, the first is the predicted one.

    Raises:
        InputError: For input that is no probability or no label (:func:`inputs.checked`).

    Example:
        Two voxels, predicted with 0.9 and 0.6; the second one wrongly:

        >>> probs = torch.tensor([[[0.9, 0.4], [0.1, 0.6]]])
        >>> bins = calibration_bins(probs, torch.tensor([[0, 0]]), num_bins=2)
        >>> bins.counts[0].tolist(), bins.positives[0].tolist()
        ([0, 2], [0, 1])
        >>> round(bins.confidences[0, 1].item(), 6)
        1.5
    """
    probs, labels = checked(probs, labels)
    mask = None if mask is None else without_channel("mask", mask, probs).bool()
    bins = region_bins(RegionPieces(probs, labels, [mask]), num_bins)[:, 0]
    return bins if per_case else bins.pooled()


def region_bins(pieces: RegionPieces, num_bins: int) -> CalibrationBins:
    """:func:`calibration_bins` per case and region, ``(B, regions, C + 1, num_bins)``."""
    if num_bins < 1:
        raise InputError(f"num_bins must be at least 1, got {num_bins}")
    # The last two axes: whether the column's class is the predicted one, and whether it is true.
    shape = (pieces.number, pieces.classes, num_bins, 2, 2)
    size, device = math.prod(shape), pieces.device
    counts = torch.zeros(size, dtype=torch.int64, device=device)
    confidences = torch.zeros(size, dtype=torch.float64, device=device)
    column = 4 * num_bins * torch.arange(pieces.classes, dtype=torch.int32, device=device)[:, None]
    two, one = torch.tensor([2, 1], dtype=torch.int32, device=device)

    for probs, truth, piece in pieces.steps():
        predicted = probs.max(0, keepdim=True).indices
        first = piece * (4 * num_bins * pieces.classes) + column
        cells = torch.add(first, bin_indices(probs, num_bins), alpha=4)
        cells.scatter_add_(0, predicted, two.expand_as(predicted))
        cells.scatter_add_(0, truth, one.expand_as(truth))
        counts += torch.bincount(cells.flatten(), minlength=size)
        confidences.index_add_(0, cells.flatten(), probs.double().flatten())
    counts, confidences = counts.view(shape), confidences.view(shape)
    rows = (_rows(counts), _rows(counts[..., 1:]), _rows(confidences))
    return CalibrationBins(*map(pieces.by_region, rows))


def _rows(sums: torch.Tensor) -> torch.Tensor:
    """Sums ``(pieces, C, M, predicted, true)`` as ``(pieces, 1 + C, M)``: top-1, then the classes."""
    by_prediction = sums.sum(-1)
    top = by_prediction[..., 1].sum(1, keepdim=True)
    return torch.cat([top, by_prediction.sum(-1)], 1)
