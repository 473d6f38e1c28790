"""Focal loss (FL).

References:
    - Focal Loss for Dense Object Detection (Lin et al., 2017), equation 4,
      https://arxiv.org/abs/1708.02002
    - Calibrating Deep Neural Networks using Focal Loss (Mukhoti et al., 2020),
      https://arxiv.org/abs/2002.09437
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from nacl_monai.losses.base import SegmentationLoss
from nacl_monai.losses.inputs import check_inputs, check_not_negative, is_soft, voxel_mean
from nacl_monai.words import in_our_words


@in_our_words
def focal_loss(
    logits: Tensor, labels: Tensor, *, gamma: float = 3.0, ignore_index: int | None = None
) -> Tensor:
    r"""Computes cross-entropy in which confidently correct voxels count less.

    .. math::

        \mathcal{L} = -(1 - \hat{p}_j^{y_j})^\gamma \log \hat{p}_j^{y_j}, \quad
        \text{averaged over voxels } j

    For soft labels, it is the mean over the classes, each weighted by its share.

    Args:
        gamma: The focusing exponent :math:`\gamma \ge 0`; 0 gives cross-entropy.

    Raises:
        InputError: If γ, shapes or label values do not fit.

    Note:
        MONAI's ``FocalLoss`` uses one sigmoid per class by default. With ``use_softmax=True``, it
        averages the one non-zero channel of each voxel with the others, so that γ = 0 gives 1/K of
        cross-entropy; with ``ignore_index`` it does not divide by K.

    Example:
        >>> logits = torch.zeros(1, 4, 8, 8, requires_grad=True)
        >>> loss = focal_loss(logits, torch.ones(1, 1, 8, 8), gamma=3.0)
        >>> loss.detach()
        tensor(0.5848)
        >>> loss.backward()
    """
    check_not_negative("gamma", gamma)
    logits, labels = check_inputs(logits, labels, ignore_index)
    if is_soft(labels):
        focal = _of_surprise(-logits.log_softmax(1), gamma)
        return voxel_mean((labels * focal).sum(1, keepdim=True), labels, ignore_index)
    classes = labels if ignore_index is None else labels.where(labels != ignore_index, 0)
    surprise = F.cross_entropy(logits, classes, reduction="none").unsqueeze(1)
    return voxel_mean(_of_surprise(surprise, gamma), labels, ignore_index)


def _of_surprise(surprise: Tensor, gamma: float) -> Tensor:
    # 1 - p without cancellation; the floor keeps the power's slope finite for gamma < 1.
    doubt = (-torch.expm1(-surprise)).clamp_min(torch.finfo(surprise.dtype).eps)
    return doubt**gamma * surprise


class FocalLoss(SegmentationLoss):
    """The focal loss as a module, see :func:`focal_loss`.

    Raises:
        InputError: If γ, shapes or label values do not fit.

    Example:
        >>> logits = torch.zeros(1, 4, 8, 8, requires_grad=True)
        >>> FocalLoss(gamma=3.0)(logits, torch.ones(1, 1, 8, 8)).backward()
    """

    def __init__(self, *, gamma: float = 3.0, ignore_index: int | None = None) -> None:
        check_not_negative("gamma", gamma)
        super().__init__(gamma=gamma, ignore_index=ignore_index)

    def terms(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """``focal``."""
        return {"focal": focal_loss(logits, labels, **self.settings)}
