r"""Pixel-wise ECE (pECE), which charges a confident false positive a second time.

The probability of foreground, 1 less that of the background, is sorted into equal bins. Bin :math:`i`
holds :math:`n_i` of :math:`N` voxels, of mean probability :math:`P_i`. The share :math:`A_i` of them is
foreground; the others are false positives, of mean probability :math:`F_i`:

.. math::

    \mathrm{pECE} = \sum_i \frac{n_i}{N} \left| P_i - A_i + w F_i \right|

It does not measure calibration alone: a calibrated network has a pECE above 0, an underconfident one may
have a smaller one, and it may exceed 1. In the region foreground no voxel is a false positive, and pECE
is the ECE of the probability.

References:
    We Care Each Pixel: Calibrating on Medical Segmentation Model (Liang et al., 2025),
    https://arxiv.org/abs/2503.05107, algorithm 1, over all voxels, with 10 bins and :math:`w = 2`. As in
    its authors' code, every voxel of the background is a false positive in its bin, however small the
    probability; that code leaves out probabilities of exactly 0, which are in the first bin here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from nacl_monai.errors import SettingError
from nacl_monai.metrics.bins import VoxelSums, bin_indices
from nacl_monai.metrics.regions import RegionPieces, region_pieces
from nacl_monai.metrics.voxels import Voxels
from nacl_monai.runs import check_num_bins
from nacl_monai.words import in_our_words

#: The published weight of false positives.
FALSE_POSITIVE_WEIGHT = 2.0


@dataclass(frozen=True)
class ForegroundBins(VoxelSums):
    """Sums per equal bin of the probability of foreground, with any leading axes (cases, regions).

    Attributes:
        counts: Voxels per bin, int64, ``(..., num_bins)``.
        positives: Those that are foreground, int64, same shape.
        confidences: Sum of all their probabilities, float64, same shape.
        false_confidences: The same sum over those that are background.
    """

    counts: torch.Tensor
    positives: torch.Tensor
    confidences: torch.Tensor
    false_confidences: torch.Tensor

    @classmethod
    def collect(cls, pieces: RegionPieces, num_bins: int) -> ForegroundBins:
        """The bins of each case and region, ``(B, regions, num_bins)``.

        Raises:
            SettingError: If ``num_bins`` is smaller than 1.
        """
        check_num_bins(num_bins)
        shape = (pieces.num_pieces, num_bins, 2)  # the last axis: background, foreground
        counts = torch.zeros(shape, dtype=torch.int64, device=pieces.device)
        sums = torch.zeros(shape, dtype=torch.float64, device=pieces.device)
        unit = counts.new_ones(1)
        for chunk in pieces.chunks():
            exact = torch.promote_types(chunk.probs.dtype, torch.float32)
            probs = chunk.probs[1:].sum(0, dtype=exact)
            index = torch.add(bin_indices(probs, num_bins), chunk.pieces, alpha=num_bins)
            index = torch.add((chunk.labels[0] != 0).int(), index, alpha=2)
            counts.view(-1).index_add_(0, index, unit.expand_as(index))
            sums.view(-1).index_add_(0, index, probs.double())
        voxels, confidences = pieces.sum_regions(counts), pieces.sum_regions(sums)
        return cls(voxels.sum(-1), voxels[..., 1], confidences.sum(-1), confidences[..., 0])

    def pece(self, false_positive_weight: float = FALSE_POSITIVE_WEIGHT) -> torch.Tensor:
        """The error, ``(...)``, float64; NaN without voxels.

        Args:
            false_positive_weight: The weight w.

        Raises:
            SettingError: If the weight is negative or not finite.
        """
        check_weight(false_positive_weight)
        false = self.counts - self.positives
        of_false = self.false_confidences / false.clamp(min=1)
        excess = self.confidences - self.positives + false_positive_weight * self.counts * of_false
        return excess.abs().sum(-1) / self.counts.sum(-1)


def check_weight(weight: float) -> None:
    """Refuses a weight that is negative or not finite.

    Raises:
        SettingError: If it is.
    """
    if not (math.isfinite(weight) and weight >= 0):
        raise SettingError(f"false_positive_weight: is {weight}; use a finite number of 0 or more")


@in_our_words
def pixelwise_calibration_error(
    probs: Voxels,
    labels: Voxels,
    num_bins: int = 10,
    region: str | Voxels = "all",
    false_positive_weight: float = FALSE_POSITIVE_WEIGHT,
    *,
    ignore_index: int | None = None,
    from_logits: bool = False,
) -> torch.Tensor:
    """Pixel-wise ECE as published: 10 bins, over all voxels, the voxels of the batch pooled.

    Args:
        probs: As in :func:`expected_calibration_error`.
        labels: As there.
        num_bins: The number of equal bins.
        region: As there; "foreground" holds no false positive.
        false_positive_weight: The weight w of false positives.
        ignore_index: As there.
        from_logits: As there.

    Returns:
        The error in [0, 1 + w], 0-d, float64; NaN if the region is empty.

    Raises:
        InputError: If the input is not a probability or not a label, ``num_bins`` is below 1, or the
            weight is negative.

    Example:
        One voxel is thought to be foreground with 0.75, and is not:

        >>> probs = torch.tensor([[[[0.25]], [[0.75]]]])
        >>> pixelwise_calibration_error(probs, torch.tensor([[[0]]])).item()  # 0.75 + 2 · 0.75
        2.25
    """
    check_weight(false_positive_weight)
    pieces = region_pieces(probs, labels, region, ignore_index, from_logits)
    return ForegroundBins.collect(pieces, num_bins)[:, 0].pooled().pece(false_positive_weight)
