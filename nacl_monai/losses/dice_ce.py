"""Cross-entropy and soft Dice (CE+DSC).

References:
    V-Net: Fully Convolutional Neural Networks for Volumetric Medical Image Segmentation
    (Milletari et al., 2016), https://arxiv.org/abs/1606.04797
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from nacl_monai.losses.base import SegmentationLoss
from nacl_monai.losses.cross_entropy import CrossEntropyLoss
from nacl_monai.losses.voxels import checked_inputs, counted_voxels


def soft_dice_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    include_background: bool = True,
    ignore_index: int | None = None,
    smooth: float = 1e-5,
) -> torch.Tensor:
    r"""One minus the soft Dice score, averaged over images and classes.

    .. math::

        1 - \frac{2 \sum_j \hat{p}_j^k y_j^k + \epsilon}
                 {\sum_j \hat{p}_j^k + \sum_j y_j^k + \epsilon}

    Equal to ``monai.losses.DiceLoss(to_onehot_y=True, softmax=True)``, which ``torch.compile``
    cannot take in one graph.

    Args:
        logits: ``(B, C, *spatial)``.
        labels: ``(B, *spatial)``, int64.
        include_background: Whether class 0 counts.
        ignore_index: Voxels of this label do not count.
        smooth: :math:`\epsilon`, which makes the score of a class that is absent from both
            prediction and labels 1.
    """
    classes = torch.arange(logits.shape[1], device=logits.device)
    members = labels.unsqueeze(1) == classes.view(1, -1, *[1] * (labels.ndim - 1))
    probabilities = logits.softmax(1)
    counted = counted_voxels(labels, ignore_index)
    if counted is not None:
        members = members & counted
        probabilities = torch.where(counted, probabilities, 0)
    axes = tuple(range(2, logits.ndim))
    overlap = torch.where(members, probabilities, 0).sum(axes)
    sizes = probabilities.sum(axes) + members.sum(axes)
    scores = (2 * overlap + smooth) / (sizes + smooth)
    return 1 - scores[:, 0 if include_background else 1 :].mean()


class DiceCELoss(SegmentationLoss):
    r"""Cross-entropy plus soft Dice, the paper's uncalibrated baseline.

    .. math::

        \mathcal{L} = w_{CE} \mathcal{L}_{CE} + w_{DSC} \mathcal{L}_{DSC}

    Args:
        cross_entropy_weight: :math:`w_{CE}`.
        dice_weight: :math:`w_{DSC}`; 0 with the other's default is cross-entropy.
        include_background: Whether class 0 counts for Dice.
        class_weights: One weight per class, for cross-entropy.
        ignore_index: Voxels of this label do not count.

    Shape:
        logits ``(B, C, *spatial)``, labels ``(B, 1, *spatial)`` or ``(B, *spatial)``; a scalar out.

    Raises:
        InputError: if shapes or label values do not fit.

    Note:
        Equal to ``monai.losses.DiceCELoss(to_onehot_y=True, softmax=True)``, which has no
        ``ignore_index``, applies its ``weight`` to Dice as well, returns the sum alone, and breaks
        the graph of ``torch.compile``.
    """

    def __init__(
        self,
        *,
        cross_entropy_weight: float = 1.0,
        dice_weight: float = 1.0,
        include_background: bool = True,
        class_weights: Sequence[float] | None = None,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__()
        self.cross_entropy = CrossEntropyLoss(
            class_weights=class_weights, ignore_index=ignore_index
        )
        self.cross_entropy_weight = cross_entropy_weight
        self.dice_weight = dice_weight
        self.include_background = include_background
        self.ignore_index = ignore_index

    def terms(self, logits: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """``cross_entropy`` and ``dice``."""
        logits, labels = checked_inputs(logits, labels, self.ignore_index)
        entropy = self.cross_entropy.terms(logits, labels)["cross_entropy"]
        dice = soft_dice_loss(logits, labels, self.include_background, self.ignore_index)
        return {
            "cross_entropy": self.cross_entropy_weight * entropy,
            "dice": self.dice_weight * dice,
        }

    def extra_repr(self) -> str:
        """The settings, as they are printed."""
        return (
            f"cross_entropy_weight={self.cross_entropy_weight}, dice_weight={self.dice_weight}, "
            f"include_background={self.include_background}"
        )
