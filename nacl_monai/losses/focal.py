"""Focal loss (FL).

References:
    - Focal Loss for Dense Object Detection (Lin et al., 2017), equation 4,
      https://arxiv.org/abs/1708.02002
    - Calibrating Deep Neural Networks using Focal Loss (Mukhoti et al., 2020),
      https://arxiv.org/abs/2002.09437
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from nacl_monai.errors import InputError
from nacl_monai.losses.base import SegmentationLoss
from nacl_monai.losses.voxels import checked_inputs, counted_voxels, voxel_mean


def focal_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    gamma: float = 3.0,
    ignore_index: int | None = None,
) -> torch.Tensor:
    """The mean over voxels of the focal loss.

    Args:
        logits: ``(B, C, *spatial)``.
        labels: ``(B, *spatial)``, int64.
        gamma: The focusing exponent.
        ignore_index: Voxels of this label do not count.
    """
    counted = counted_voxels(labels, ignore_index)
    known = labels if counted is None else labels.where(counted.squeeze(1), 0)
    surprise = F.cross_entropy(logits, known, reduction="none").unsqueeze(1)
    # 1 - p without cancellation; the floor keeps the power's slope finite for gamma < 1.
    doubt = (-torch.expm1(-surprise)).clamp_min(torch.finfo(surprise.dtype).eps)
    return voxel_mean(doubt**gamma * surprise, counted)


class FocalLoss(SegmentationLoss):
    r"""Cross-entropy that counts a voxel less, the surer it is of the right class.

    .. math::

        \mathcal{L} = -(1 - \hat{p}_j^{y_j})^\gamma \log \hat{p}_j^{y_j}, \quad
        \text{averaged over voxels } j

    Args:
        gamma: The focusing exponent :math:`\gamma \ge 0`; 0 is cross-entropy.
        ignore_index: Voxels of this label do not count.

    Shape:
        logits ``(B, C, *spatial)``, labels ``(B, 1, *spatial)`` or ``(B, *spatial)``; a scalar out.

    Raises:
        InputError: if γ, shapes or label values do not fit.

    Note:
        MONAI's ``FocalLoss`` uses a sigmoid per class by default. With ``use_softmax=True`` it
        divides by the number of classes, as each voxel's one non-zero channel is averaged with the
        zero ones, so that γ = 0 is 1/K of cross-entropy; with ``ignore_index`` it does not divide.
    """

    def __init__(self, *, gamma: float = 3.0, ignore_index: int | None = None) -> None:
        super().__init__()
        if not gamma >= 0:
            raise InputError(f"gamma is {gamma}; expected 0 or more")
        self.gamma = gamma
        self.ignore_index = ignore_index

    def terms(self, logits: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """``focal``."""
        logits, labels = checked_inputs(logits, labels, self.ignore_index)
        return {"focal": focal_loss(logits, labels, self.gamma, self.ignore_index)}

    def extra_repr(self) -> str:
        """The settings, as they are printed."""
        return f"gamma={self.gamma}, ignore_index={self.ignore_index}"
