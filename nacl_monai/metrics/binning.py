r"""Sorting probabilities into the equal bins :math:`((i-1)/M, i/M]`; the first also holds 0.

Edges are :math:`i/M` rounded to the dtype of the probabilities, so that a probability *written* as
``0.2`` is in the bin that ends at 0.2, whatever its binary rounding.

Counts are integers and sums are float64: nothing drifts at any number of voxels. MONAI's
``calibration_binning`` and torchmetrics count in float32, which stops at 2^24 voxels.
"""

from __future__ import annotations

import math
from numbers import Integral

import torch

from nacl_monai.errors import SettingError
from nacl_monai.metrics.pieces import RegionPieces


def check_num_bins(num_bins: int) -> None:
    """Refuses a number of bins below 1, or between two whole numbers.

    Raises:
        SettingError: If it is so.
    """
    if not (isinstance(num_bins, Integral) and num_bins >= 1):
        raise SettingError(f"num_bins: is {num_bins}; use a whole number, 1 or more")


def check_threshold(threshold: float) -> None:
    """Refuses a threshold that no probability, or every one, is above.

    Raises:
        SettingError: If it is not in [0, 1).
    """
    if not 0 <= threshold < 1:
        raise SettingError(f"threshold: is {threshold}; use a number from 0 to below 1")


def bin_indices(probs: torch.Tensor, num_bins: int) -> torch.Tensor:
    """The bin of each probability, int32, same shape.

    One comparison with the nearest edge decides. It is exact, because it compares the edge itself,
    and many times as fast as the binary search of ``torch.bucketize``.

    Args:
        probs: Probabilities of any shape and floating dtype. Softmax may round to slightly more
            than 1; such a value is in the last bin.
        num_bins: The number of equal bins M.

    Example:
        >>> bin_indices(torch.tensor([0.0, 0.1, 0.2, 0.2001, 1.0]), num_bins=5).tolist()
        [0, 0, 0, 1, 4]
    """
    nearest = (probs * num_bins).round_()
    # Written as a float because on CPU a cast from bool takes longer than all the rest.
    not_above = torch.le(probs, nearest / num_bins, out=torch.empty_like(nearest))
    return nearest.sub_(not_above).clamp_(0, num_bins - 1).int()


def bin_sums(
    pieces: RegionPieces, num_bins: int, threshold: float | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Counts, positives and confidences of :class:`CalibrationBins` per case and region.

    Args:
        pieces: The voxels.
        num_bins: The number of equal bins M.
        threshold: If given, only probabilities above it are binned.

    Returns:
        Three tensors ``(B, regions, 1 + C, num_bins)``.

    Raises:
        SettingError: If ``num_bins`` is smaller than 1, or the threshold outside [0, 1).
    """
    check_num_bins(num_bins)
    all_bins = num_bins
    if threshold is not None:
        check_threshold(threshold)
        all_bins += 1  # the last one, for what is not above, is dropped in the end
    # The last two axes say whether the class is the predicted one, and whether it is the label.
    shape = (pieces.num_pieces, pieces.num_classes, all_bins, 2, 2)
    size, device = math.prod(shape), pieces.device
    counts = torch.zeros(size, dtype=torch.int64, device=device)
    confidences = torch.zeros(size, dtype=torch.float64, device=device)
    first_of_class = torch.arange(pieces.num_classes, dtype=torch.int32, device=device)[:, None]
    first_of_class *= 4 * all_bins
    two, one = torch.tensor([2, 1], dtype=torch.int32, device=device)

    for chunk in pieces.chunks():
        first = chunk.pieces * (4 * all_bins * pieces.num_classes) + first_of_class
        bins = bin_indices(chunk.probs, num_bins)
        if threshold is not None:
            bins.masked_fill_(chunk.probs <= threshold, num_bins)
        index = torch.add(first, bins, alpha=4)
        index.scatter_add_(0, chunk.prediction, two.expand_as(chunk.prediction))
        index.scatter_add_(0, chunk.labels, one.expand_as(chunk.labels))
        counts += torch.bincount(index.flatten(), minlength=size)
        confidences.index_add_(0, index.flatten(), chunk.probs.double().flatten())
    counts, confidences = counts.view(shape), confidences.view(shape)
    kept = [sums[:, :, :num_bins] for sums in (counts, counts[..., 1:], confidences)]
    top1_first = map(_top1_first, kept)
    n, positives, probabilities = map(pieces.sum_regions, top1_first)
    return n, positives, probabilities


def _top1_first(sums: torch.Tensor) -> torch.Tensor:
    """Sums ``(pieces, C, M, predicted, label)`` → ``(pieces, 1 + C, M)``: top-1, then the classes."""
    by_prediction = sums.sum(-1)
    top1 = by_prediction[..., 1].sum(1, keepdim=True)
    return torch.cat([top1, by_prediction.sum(-1)], 1)
