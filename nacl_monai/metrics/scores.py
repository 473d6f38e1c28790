r"""Proper scoring rules, which reward calibration and discrimination at once.

With the probability :math:`p_y` of the labeled class:

.. math::

    \mathrm{NLL} = -\log p_y \qquad
    \mathrm{Brier} = \sum_j (p_j - [j = y])^2 = \sum_j p_j^2 - 2 p_y + 1

References:
    Strictly Proper Scoring Rules, Prediction, and Estimation (Gneiting and Raftery, 2007).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nacl_monai.metrics.bins import VoxelSums
from nacl_monai.metrics.regions import RegionPieces, region_pieces
from nacl_monai.metrics.voxels import Voxels
from nacl_monai.words import in_our_words


@dataclass(frozen=True)
class ScoreSums(VoxelSums):
    """Sums of both scores over a set of voxels, with any leading axes (cases, regions).

    Attributes:
        counts: Voxels, int64, ``(...)``.
        scores: Sums of NLL and Brier score over these voxels, float64, ``(..., 2)``.
    """

    counts: torch.Tensor
    scores: torch.Tensor

    @classmethod
    def collect(cls, pieces: RegionPieces) -> ScoreSums:
        """The sums of each case and region, ``(B, regions)`` and ``(B, regions, 2)``."""
        size = pieces.num_pieces
        counts = torch.zeros(size, dtype=torch.int64, device=pieces.device)
        sums = torch.zeros(size, 2, dtype=torch.float64, device=pieces.device)
        for chunk in pieces.chunks():
            counts += torch.bincount(chunk.pieces, minlength=size)
            scores = voxel_scores(chunk.probs, chunk.labels, pieces.least)
            for of_kind, score in zip(sums.unbind(1), scores, strict=True):
                of_kind.index_add_(0, chunk.pieces, score.double())
        return cls(pieces.sum_regions(counts), pieces.sum_regions(sums))

    def nll(self) -> torch.Tensor:
        """Mean negative log-likelihood, ``(...)``; NaN without voxels."""
        return self.scores[..., 0] / self.counts

    def brier(self) -> torch.Tensor:
        """Mean Brier score, ``(...)``; NaN without voxels."""
        return self.scores[..., 1] / self.counts


def voxel_scores(probs: torch.Tensor, labels: torch.Tensor, least: torch.Tensor) -> torch.Tensor:
    """NLL and Brier score of each voxel, ``(2, n)``, for probabilities (C, n) and labels (1, n).

    A probability that was rounded to 0 counts as ``least`` of its class, as one infinite voxel would
    make every mean infinite: the NLL is at most 87.3 in float32, 17.3 in float16 and 6.2 in a byte.
    """
    exact = torch.promote_types(probs.dtype, torch.float32)
    of_label = probs.gather(0, labels).to(exact)
    nll = -torch.maximum(of_label, least.to(exact)[labels]).log()
    brier = probs.to(exact).square().sum(0, keepdim=True) - 2 * of_label + 1
    return torch.cat([nll, brier])


@in_our_words
def negative_log_likelihood(
    probs: Voxels,
    labels: Voxels,
    region: str | Voxels = "foreground",
    *,
    ignore_index: int | None = None,
    from_logits: bool = False,
) -> torch.Tensor:
    """Mean NLL over a region, the voxels of the batch pooled.

    Args:
        probs: Probabilities after softmax, ``(B, C, *spatial)``.
        labels: Class indices, ``(B, 1, *spatial)`` or ``(B, *spatial)``.
        region: A name in :data:`REGIONS`, or a mask shaped like the labels.
        ignore_index: Voxels with this label do not count.
        from_logits: Whether logits are given in place of probabilities.

    Returns:
        The mean in nats, 0-d, float64; NaN if the region is empty.

    Raises:
        InputError: If the input is not a probability or not a label.

    Example:
        >>> probs = torch.tensor([[[[0.5]], [[0.5]]]])
        >>> round(negative_log_likelihood(probs, torch.tensor([[[1]]])).item(), 4)
        0.6931
    """
    pieces = region_pieces(probs, labels, region, ignore_index, from_logits)
    return ScoreSums.collect(pieces)[:, 0].pooled().nll()


@in_our_words
def brier_score(
    probs: Voxels,
    labels: Voxels,
    region: str | Voxels = "foreground",
    *,
    ignore_index: int | None = None,
    from_logits: bool = False,
) -> torch.Tensor:
    """Mean Brier score over a region, the voxels of the batch pooled.

    It is summed over the classes, as Brier defined it; some libraries report the mean over classes.

    Args:
        probs: As in :func:`negative_log_likelihood`.
        labels: As there.
        region: As there.
        ignore_index: As there.
        from_logits: As there.

    Returns:
        The mean in [0, 2], 0-d, float64; NaN if the region is empty.

    Raises:
        InputError: If the input is not a probability or not a label.

    Example:
        >>> probs = torch.tensor([[[[0.2]], [[0.8]]]])
        >>> round(brier_score(probs, torch.tensor([[[1]]])).item(), 6)
        0.08
    """
    pieces = region_pieces(probs, labels, region, ignore_index, from_logits)
    return ScoreSums.collect(pieces)[:, 0].pooled().brier()
