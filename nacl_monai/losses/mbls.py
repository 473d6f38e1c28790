"""Margin-based label smoothing (MbLS).

References:
    The Devil is in the Margin: Margin-based Label Smoothing for Network Calibration
    (Liu et al., 2022), equation 6, https://arxiv.org/abs/2111.15430
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from nacl_monai.losses.composed import ComposedLoss, Penalty
from nacl_monai.losses.cross_entropy import CrossEntropyLoss
from nacl_monai.losses.voxels import counted_voxels, plain_inputs, voxel_mean


class MarginPenalty(Penalty):
    r"""Logits that lie more than a margin below the largest one.

    .. math::

        \lambda \frac{1}{K} \sum_k \max(0, \max_i l_j^i - l_j^k - m), \quad
        \text{averaged over voxels } j

    The published equation sums over the classes; like its authors' code, this is the mean.

    Args:
        margin: :math:`m`.
        weight: :math:`\lambda`.
        ignore_index: Voxels of this label do not count.

    Shape:
        logits ``(B, C, *spatial)``, labels ``(B, 1, *spatial)`` or ``(B, *spatial)``, of which only
        ``ignore_index`` matters; a scalar out.

    Raises:
        InputError: if the weight is negative, or the shapes do not fit.
    """

    def __init__(
        self, *, margin: float = 5.0, weight: float = 0.1, ignore_index: int | None = None
    ) -> None:
        super().__init__(weight, ignore_index)
        self.margin = margin

    def value(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The mean excess over the margin."""
        logits, labels = plain_inputs(logits, labels)
        distances = logits.amax(1, keepdim=True) - logits
        excess = (distances - self.margin).relu()
        return voxel_mean(excess, counted_voxels(labels, self.ignore_index))

    def extra_repr(self) -> str:
        """The settings, as they are printed."""
        return f"{super().extra_repr()}, margin={self.margin}"


class MbLSLoss(ComposedLoss):
    r"""Cross-entropy with :class:`MarginPenalty`.

    .. math::

        \mathcal{L} = \mathcal{L}_{CE}
            + \lambda \frac{1}{K} \sum_k \max(0, \max_i l_j^i - l_j^k - m)

    Args:
        margin: :math:`m`.
        penalty_weight: :math:`\lambda`; 0 is cross-entropy.
        class_weights: One weight per class, for cross-entropy.
        ignore_index: Voxels of this label do not count.

    Shape:
        logits ``(B, C, *spatial)``, labels ``(B, 1, *spatial)`` or ``(B, *spatial)``; a scalar out.

    Raises:
        InputError: if a setting, shapes or label values do not fit.

    Note:
        MONAI and torch have no counterpart.
    """

    def __init__(
        self,
        *,
        margin: float = 5.0,
        penalty_weight: float = 0.1,
        class_weights: Sequence[float] | None = None,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__(
            CrossEntropyLoss(class_weights=class_weights, ignore_index=ignore_index),
            [MarginPenalty(margin=margin, weight=penalty_weight, ignore_index=ignore_index)],
        )
