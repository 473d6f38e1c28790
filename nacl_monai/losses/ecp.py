"""Explicit confidence penalty (ECP).

References:
    Regularizing Neural Networks by Penalizing Confident Output Distributions
    (Pereyra et al., 2017), section 3, https://arxiv.org/abs/1701.06548
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from nacl_monai.losses.composed import ComposedLoss, Penalty
from nacl_monai.losses.cross_entropy import CrossEntropyLoss
from nacl_monai.losses.voxels import counted_voxels, plain_inputs, voxel_mean


class EntropyPenalty(Penalty):
    r"""The negative entropy of the prediction, a sum over classes, averaged over voxels.

    .. math::

        -\beta \mathcal{H}(\hat{p}_j) = \beta \sum_k \hat{p}_j^k \log \hat{p}_j^k

    Args:
        weight: :math:`\beta`.
        ignore_index: Voxels of this label do not count.

    Shape:
        logits ``(B, C, *spatial)``, labels ``(B, 1, *spatial)`` or ``(B, *spatial)``, of which only
        ``ignore_index`` matters; a scalar out, between :math:`-\beta \log K` and 0.

    Raises:
        InputError: if the weight is negative, or the shapes do not fit.
    """

    def __init__(self, *, weight: float = 0.1, ignore_index: int | None = None) -> None:
        super().__init__(weight, ignore_index)

    def value(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The mean negative entropy."""
        logits, labels = plain_inputs(logits, labels)
        surprise = logits.log_softmax(1)
        negative_entropy = (surprise.exp() * surprise).sum(1, keepdim=True)
        return voxel_mean(negative_entropy, counted_voxels(labels, self.ignore_index))


class ECPLoss(ComposedLoss):
    r"""Cross-entropy with :class:`EntropyPenalty`.

    .. math::

        \mathcal{L} = \mathcal{L}_{CE} - \beta \mathcal{H}(\hat{p}_j)

    Args:
        entropy_weight: :math:`\beta`; 0 is cross-entropy.
        class_weights: One weight per class, for cross-entropy.
        ignore_index: Voxels of this label do not count.

    Shape:
        logits ``(B, C, *spatial)``, labels ``(B, 1, *spatial)`` or ``(B, *spatial)``; a scalar out.

    Raises:
        InputError: if a setting, shapes or label values do not fit.

    Note:
        MONAI and torch have no counterpart. The code published with the paper divides the entropy
        by the number of classes; this follows the published definition, which does not.
    """

    def __init__(
        self,
        *,
        entropy_weight: float = 0.1,
        class_weights: Sequence[float] | None = None,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__(
            CrossEntropyLoss(class_weights=class_weights, ignore_index=ignore_index),
            [EntropyPenalty(weight=entropy_weight, ignore_index=ignore_index)],
        )
