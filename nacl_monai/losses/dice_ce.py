"""Cross-entropy and soft Dice (CE+DSC).

References:
    V-Net: Fully Convolutional Neural Networks for Volumetric Medical Image Segmentation
    (Milletari et al., 2016), https://arxiv.org/abs/1606.04797
    Dice Semimetric Losses: Optimizing the Dice Score with Soft Labels (Wang et al., 2023),
    https://arxiv.org/abs/2303.16296
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nacl_monai.losses.base import SegmentationLoss
from nacl_monai.losses.cross_entropy import check_class_weights, cross_entropy
from nacl_monai.losses.inputs import (
    at_least_float32,
    check_inputs,
    check_weights,
    counted_voxels,
    is_soft,
    memberships,
)
from nacl_monai.words import in_our_words

_WEIGHTS = "cross_entropy_weight, dice_weight"


@in_our_words
def dice_ce_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    cross_entropy_weight: float = 1.0,
    dice_weight: float = 1.0,
    include_background: bool = True,
    class_weights: Sequence[float] | None = None,
    ignore_index: int | None = None,
) -> Tensor:
    r"""Computes cross-entropy plus soft Dice, the paper's uncalibrated baseline.

    .. math::

        \mathcal{L} = w_{CE} \mathcal{L}_{CE} + w_{DSC} \mathcal{L}_{DSC}

    Args:
        cross_entropy_weight: :math:`w_{CE}`.
        dice_weight: :math:`w_{DSC}`; 0 gives cross-entropy.
        include_background: Whether class 0 counts in Dice.

    Raises:
        InputError: If a weight, shapes or label values do not fit.

    Note:
        Equals ``monai.losses.DiceCELoss(to_onehot_y=True, softmax=True)``, which has no
        ``ignore_index``, applies its ``weight`` to Dice as well, returns the sum only, and breaks
        the graph of ``torch.compile``.

    Example:
        >>> logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
        >>> loss = dice_ce_loss(logits, torch.zeros(1, 1, 4, 4))
        >>> loss.detach()
        tensor(1.3598)
        >>> loss.backward()
    """
    weights = cross_entropy_weight, dice_weight
    terms = _weighted_terms(
        logits, labels, *weights, include_background, class_weights, ignore_index
    )
    return terms["cross_entropy"] + terms["dice"]


def _weighted_terms(
    logits: Tensor,
    labels: Tensor,
    cross_entropy_weight: float,
    dice_weight: float,
    include_background: bool,
    class_weights: Sequence[float] | None,
    ignore_index: int | None,
) -> dict[str, Tensor]:
    check_weights(_WEIGHTS, (cross_entropy_weight, dice_weight))
    logits = at_least_float32(logits)  # once, so that both gradients are added before rounding
    entropy = cross_entropy(logits, labels, class_weights=class_weights, ignore_index=ignore_index)
    dice = soft_dice_loss(
        logits, labels, include_background=include_background, ignore_index=ignore_index
    )
    return {"cross_entropy": cross_entropy_weight * entropy, "dice": dice_weight * dice}


@in_our_words
def soft_dice_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    include_background: bool = True,
    ignore_index: int | None = None,
    smooth: float = 1e-5,
) -> Tensor:
    r"""Computes one minus the soft Dice score, averaged over images and classes :math:`k`.

    .. math::

        \mathcal{L}_{DSC} = 1 - \frac{2 \sum_j \min(\hat{p}_j^k, y_j^k) + \epsilon}
                                     {\sum_j \hat{p}_j^k + \sum_j y_j^k + \epsilon}

    where :math:`y_j^k` is 1 for the class of the label and 0 for the others, so that the minimum is the
    usual product, or the share of the class in soft labels. With the minimum the loss is 0 where the
    probabilities equal the soft labels, and nowhere else (Wang et al., 2023); with the product it would
    be least for probabilities of 0 and 1.

    Args:
        include_background: Whether class 0 counts.
        smooth: :math:`\epsilon`, which gives a class that is absent from both prediction and
            labels the score 1.

    Raises:
        InputError: If shapes or label values do not fit.

    Note:
        Equals ``monai.losses.DiceLoss(to_onehot_y=True, softmax=True)``, which ``torch.compile``
        cannot take in one graph.

    Example:
        >>> logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
        >>> loss = soft_dice_loss(logits, torch.zeros(1, 1, 4, 4))
        >>> loss.detach()
        tensor(0.6667)
        >>> loss.backward()
    """
    logits, labels = check_inputs(logits, labels, ignore_index)
    probs = logits.softmax(1)
    members = memberships(labels, logits.shape[1], ignore_index)
    counted = counted_voxels(labels, ignore_index)
    if counted is not None:
        probs = torch.where(counted.unsqueeze(1), probs, 0)
    axes = tuple(range(2, logits.ndim))
    common = torch.minimum(members, probs) if is_soft(labels) else torch.where(members, probs, 0)
    overlap = common.sum(axes)
    sizes = probs.sum(axes) + members.sum(axes)
    scores = (2 * overlap + smooth) / (sizes + smooth)
    return 1 - scores[:, 0 if include_background else 1 :].mean()


class DiceCELoss(SegmentationLoss):
    """Cross-entropy plus soft Dice as a module, see :func:`dice_ce_loss`.

    Raises:
        InputError: If a weight, shapes or label values do not fit.

    Example:
        >>> loss = DiceCELoss(dice_weight=2.0)
        >>> logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
        >>> loss(logits, torch.zeros(1, 1, 4, 4)).backward()
        >>> loss.latest_terms
        {'cross_entropy': tensor(0.6931), 'dice': tensor(1.3333)}
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
        check_weights(_WEIGHTS, (cross_entropy_weight, dice_weight))
        check_class_weights(class_weights)
        super().__init__(
            cross_entropy_weight=cross_entropy_weight,
            dice_weight=dice_weight,
            include_background=include_background,
            class_weights=class_weights,
            ignore_index=ignore_index,
        )

    def terms(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """``cross_entropy`` and ``dice``."""
        return _weighted_terms(logits, labels, **self.settings)
