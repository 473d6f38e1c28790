r"""Statistics of logits, which show how a loss holds a network back (paper, section 4.2.2).

References:
    Neighbor-Aware Calibration of Segmentation Networks with Penalty-Based Constraints
    (Murugesan et al., 2024), figures 4 and 5.
"""

from __future__ import annotations

import torch

from nacl_monai.metrics.regions import LANES
from nacl_monai.metrics.voxels import aligned
from nacl_monai.tensors import check_voxels, without_metadata


def absolute_logit_sums(
    logits: torch.Tensor, labels: torch.Tensor, ignore_index: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    r"""The sums behind figure 4: how large each logit is, by the class of the label.

    .. math::

        S_{kj} = \sum_{n:\, y_n = k} |l_{nj}|, \qquad N_k = |\{n : y_n = k\}|

    The mean of :math:`|l_j|` over the voxels of class k is :math:`S_{kj} / N_k`.

    Args:
        logits: What the network returns, ``(B, C, *spatial)``.
        labels: Class indices, ``(B, 1, *spatial)`` or ``(B, *spatial)``.
        ignore_index: Voxels with this label do not count.

    Returns:
        ``S`` (C, C), float64, and ``N`` (C,), int64.

    Raises:
        InputError: If the shapes of logits and labels disagree, or if there is no voxel.

    Example:
        >>> logits = torch.tensor([[[1.0, -3.0, 2.0], [4.0, 5.0, -6.0]]])
        >>> sums, counts = absolute_logit_sums(logits, torch.tensor([[0, 0, 1]]))
        >>> sums.tolist(), counts.tolist()
        ([[4.0, 9.0], [2.0, 6.0]], [2, 1])
    """
    check_voxels(logits)
    logits = without_metadata(logits.detach())
    num_classes = logits.shape[1]
    labels = aligned("labels", labels, logits).flatten().long()
    values = logits.movedim(1, 0).flatten(1)
    if ignore_index is not None:
        counted = labels != ignore_index
        labels, values = labels[counted], values[:, counted]
    index = labels * LANES + torch.arange(len(labels), device=labels.device) % LANES
    sums = [torch.bincount(index, logit.double().abs(), num_classes * LANES) for logit in values]
    of_lanes = [*sums, torch.bincount(index, minlength=num_classes * LANES)]
    *sums, counts = (lanes.view(num_classes, LANES).sum(1) for lanes in of_lanes)
    return torch.stack(sums, dim=1), counts


def maximum_logit_counts(
    logits: torch.Tensor,
    low: int = -10,
    high: int = 50,
    per_unit: int = 4,
    mask: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """How many voxels have their largest logit in each bin of a fixed grid (figure 5).

    The bins are ``[edge m, edge m + 1)``, exactly if ``per_unit`` is a power of two. One more at
    either end counts the voxels outside the grid, so that none is lost; NaN counts as above it.

    Args:
        logits: What the network returns, ``(B, C, *spatial)``.
        low: Lower end of the grid.
        high: Upper end of the grid.
        per_unit: Bins per unit.
        mask: The voxels that count, ``(B, 1, *spatial)`` or ``(B, *spatial)``; all by default.

    Returns:
        Counts (M + 2,), int64: below, the M bins, above; and their edges (M + 1,), float64.

    Raises:
        InputError: If there is no voxel, or if the shapes of logits and mask disagree.

    Example:
        >>> logits = torch.tensor([[[-2.0, 0.5, 0.0, 9.0], [-3.0, 0.2, 1.0, 0.0]]])
        >>> counts, edges = maximum_logit_counts(logits, low=0, high=2, per_unit=2)
        >>> counts.tolist(), edges.tolist()
        ([1, 0, 1, 1, 0, 1], [0.0, 0.5, 1.0, 1.5, 2.0])
    """
    check_voxels(logits)
    first, last = low * per_unit, high * per_unit
    largest = without_metadata(logits.detach()).amax(1).flatten()
    position = (largest * per_unit).floor_().clamp_(first - 1, last)
    index = position.nan_to_num_(nan=last).long() - (first - 1)
    counted = torch.ones_like(index)
    if mask is not None:
        counted = aligned("mask", mask, logits).flatten().bool().long()
    # Unlike bincount, this does not wait for a GPU.
    counts = counted.new_zeros(last - first + 2).index_add_(0, index, counted)
    return counts, torch.arange(first, last + 1, dtype=torch.float64) / per_unit
