r"""Proper scoring rules, which reward calibration and discrimination at once.

With the probability :math:`p_y` of the true class:

.. math::

    \mathrm{NLL} = -\log p_y \qquad
    \mathrm{Brier} = \sum_j (p_j - [j = y])^2 = \sum_j p_j^2 - 2 p_y + 1

References:
    Strictly Proper Scoring Rules, Prediction, and Estimation (Gneiting and Raftery, 2007).
"""

from __future__ import annotations

import torch

from nacl_monai.metrics.inputs import checked
from nacl_monai.metrics.pieces import RegionPieces
from nacl_monai.metrics.regions import selected_voxels


def voxel_scores(probs: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """NLL and Brier score of each voxel, ``(2, n)``, for probabilities (C, n) and labels (1, n).

    A probability that softmax rounded to 0 counts as the smallest normal number of its dtype, as
    one infinite voxel would make every mean infinite: at most 87.3 in float32.
    """
    exact = torch.promote_types(probs.dtype, torch.float32)
    true_class = probs.gather(0, truth).to(exact)
    nll = -true_class.clamp(min=torch.finfo(probs.dtype).tiny).log()
    brier = probs.to(exact).square().sum(0, keepdim=True) - 2 * true_class + 1
    return torch.cat([nll, brier])


def region_scores(pieces: RegionPieces) -> torch.Tensor:
    """Sums of both scores per case and region, ``(B, regions, 2)``, float64."""
    sums = torch.zeros(pieces.number, 2, dtype=torch.float64, device=pieces.device)
    for probs, truth, piece in pieces.steps():
        scores = voxel_scores(probs, truth).double()
        for column, score in enumerate(scores):
            sums[:, column] += torch.bincount(piece, score, minlength=pieces.number)
    return pieces.by_region(sums)


def _mean_scores(
    probs: torch.Tensor, labels: torch.Tensor, region: str | torch.Tensor
) -> torch.Tensor:
    probs, labels = checked(probs, labels)
    mask = selected_voxels(region, probs, labels)
    voxels = labels.numel() if mask is None else mask.sum()
    return region_scores(RegionPieces(probs, labels, [mask])).sum((0, 1)) / voxels


def negative_log_likelihood(
    probs: torch.Tensor, labels: torch.Tensor, region: str | torch.Tensor = "foreground"
) -> float:
    """Mean NLL over a region, the voxels of the batch pooled; NaN if it is empty.

    Args:
        probs: Probabilities after softmax, ``(B, C, *spatial)``.
        labels: Class indices, ``(B, 1, *spatial)`` or ``(B, *spatial)``.
        region: A name that :func:`region_mask` knows, or a mask shaped like the labels.

    Raises:
        InputError: For input that is no probability or no label.
    """
    return _mean_scores(probs, labels, region)[0].item()


def brier_score(
    probs: torch.Tensor, labels: torch.Tensor, region: str | torch.Tensor = "foreground"
) -> float:
    """Mean Brier score over a region, in [0, 2]; arguments of :func:`negative_log_likelihood`.

    Summed over the classes, as Brier had it; some libraries report the mean over classes.

    Example:
        >>> probs = torch.tensor([[[[0.2]], [[0.8]]]])
        >>> round(brier_score(probs, torch.tensor([[[1]]])), 6)
        0.08
    """
    return _mean_scores(probs, labels, region)[1].item()
