"""Label smoothing (LS).

References:
    Rethinking the Inception Architecture for Computer Vision (Szegedy et al., 2016), section 7,
    https://arxiv.org/abs/1512.00567
"""

from __future__ import annotations

import torch

from nacl_monai.errors import InputError
from nacl_monai.losses.base import SegmentationLoss
from nacl_monai.losses.cross_entropy import cross_entropy
from nacl_monai.losses.voxels import checked_inputs


class LabelSmoothingLoss(SegmentationLoss):
    r"""Cross-entropy with a share of each label spread evenly over all classes.

    .. math::

        \mathcal{L} = -\sum_k \left( (1 - \alpha) y_k + \frac{\alpha}{K} \right) \log \hat{p}_k,

    averaged over voxels (footnote 1 of the paper).

    Args:
        label_smoothing: :math:`\alpha` in [0, 1]; 0 is cross-entropy.
        ignore_index: Voxels of this label do not count.

    Shape:
        logits ``(B, C, *spatial)``, labels ``(B, 1, *spatial)`` or ``(B, *spatial)``; a scalar out.

    Raises:
        InputError: if α, shapes or label values do not fit.

    Note:
        ``torch.nn.CrossEntropyLoss(label_smoothing=…)`` computes it. MONAI has no loss of this
        name, its ``DiceCELoss(label_smoothing=…)`` passes the value to torch's.
    """

    def __init__(self, *, label_smoothing: float = 0.1, ignore_index: int | None = None) -> None:
        super().__init__()
        if not 0 <= label_smoothing <= 1:
            raise InputError(f"label_smoothing is {label_smoothing}; expected 0 to 1")
        self.label_smoothing = label_smoothing
        self.ignore_index = ignore_index

    def terms(self, logits: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """``cross_entropy`` with the smoothed labels."""
        logits, labels = checked_inputs(logits, labels, self.ignore_index)
        value = cross_entropy(
            logits,
            labels,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
        )
        return {"cross_entropy": value}

    def extra_repr(self) -> str:
        """The settings, as they are printed."""
        return f"label_smoothing={self.label_smoothing}, ignore_index={self.ignore_index}"
