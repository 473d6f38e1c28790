"""Cross-entropy, the control of every comparison and the base of the calibration losses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from nacl_monai.errors import InputError
from nacl_monai.losses.base import SegmentationLoss
from nacl_monai.losses.voxels import checked_inputs


def cross_entropy(
    logits: torch.Tensor,
    labels: torch.Tensor,
    class_weights: torch.Tensor | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """``torch.nn.functional.cross_entropy``, except that it is zero where every voxel is ignored.

    Args:
        logits: ``(B, C, *spatial)``.
        labels: ``(B, *spatial)``, int64.
        class_weights: ``(C,)``; the mean is weighted by them.
        ignore_index: Voxels of this label do not count.
        label_smoothing: The share of a label that is spread over all classes.
    """
    if class_weights is not None and len(class_weights) != logits.shape[1]:
        raise InputError(
            f"class_weights has {len(class_weights)} values, but logits have "
            f"{logits.shape[1]} classes"
        )
    weights = None if class_weights is None else class_weights.to(logits)
    if ignore_index is None:
        return F.cross_entropy(logits, labels, weights, label_smoothing=label_smoothing)
    total = F.cross_entropy(
        logits,
        labels,
        weights,
        ignore_index=ignore_index,
        reduction="sum",
        label_smoothing=label_smoothing,
    )
    counted = labels != ignore_index
    share = counted if weights is None else weights[labels.where(counted, 0)].where(counted, 0)
    mass = share.sum()
    return total / mass.where(mass > 0, 1)


class CrossEntropyLoss(SegmentationLoss):
    r"""Cross-entropy: :math:`-\log \hat{p}_j^{y_j}`, averaged over voxels :math:`j`.

    Args:
        class_weights: One weight per class, as in ``torch.nn.CrossEntropyLoss``.
        ignore_index: Voxels of this label do not count.

    Shape:
        logits ``(B, C, *spatial)``, labels ``(B, 1, *spatial)`` or ``(B, *spatial)``; a scalar out.

    Raises:
        InputError: if shapes or label values do not fit.

    Note:
        ``torch.nn.CrossEntropyLoss`` computes it. Ours accepts the labels of a MONAI loader, names
        a label that is out of range, and is 0 rather than NaN where every voxel is ignored.
    """

    class_weights: torch.Tensor | None

    def __init__(
        self, *, class_weights: Sequence[float] | None = None, ignore_index: int | None = None
    ) -> None:
        super().__init__()
        weights = None if class_weights is None else torch.as_tensor(class_weights)
        self.register_buffer("class_weights", weights, persistent=False)
        self.ignore_index = ignore_index

    def terms(self, logits: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """``cross_entropy``."""
        logits, labels = checked_inputs(logits, labels, self.ignore_index)
        value = cross_entropy(logits, labels, self.class_weights, self.ignore_index)
        return {"cross_entropy": value}

    def extra_repr(self) -> str:
        """The settings, as they are printed."""
        weights = None if self.class_weights is None else self.class_weights.tolist()
        return f"class_weights={weights}, ignore_index={self.ignore_index}"
