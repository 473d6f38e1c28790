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
from nacl_monai.metrics.regions import selected_voxels


def voxel_scores(probs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """NLL and Brier score of each voxel, ``(B, 2, *spatial)``, for checked input.

    A probability that softmax rounded to 0 counts as the smallest normal number of its dtype, as
    one infinite voxel would make every mean infinite: at most 87.3 in float32.
    """
    exact = torch.promote_types(probs.dtype, torch.float32)
    true_class = probs.gather(1, labels[:, None].long()).to(exact)
    nll = -true_class.clamp(min=torch.finfo(probs.dtype).tiny).log()
    brier = probs.square().sum(1, keepdim=True, dtype=exact) - 2 * true_class + 1
    return torch.cat([nll, brier], 1)


def score_sums(scores: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Sums over the voxels of a mask, ``(B, 2)``, float64."""
    selected = scores if mask is None else scores.where(mask[:, None], 0)
    return selected.flatten(2).sum(-1, dtype=torch.float64)


def _mean_scores(
    probs: torch.Tensor, labels: torch.Tensor, region: str | torch.Tensor
) -> torch.Tensor:
    probs, labels = checked(probs, labels)
    mask = selected_voxels(region, probs, labels)
    voxels = labels.numel() if mask is None else mask.sum()
    return score_sums(voxel_scores(probs, labels), mask).sum(0) / voxels


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
