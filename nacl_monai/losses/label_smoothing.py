"""Label smoothing (LS).

References:
    Rethinking the Inception Architecture for Computer Vision (Szegedy et al., 2016), section 7,
    https://arxiv.org/abs/1512.00567
"""

from __future__ import annotations

import torch

from nacl_monai.losses.base import SegmentationLoss
from nacl_monai.losses.cross_entropy import cross_entropy
from nacl_monai.losses.settings import require


def label_smoothing_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    *,
    label_smoothing: float = 0.1,
    ignore_index: int | None = None,
) -> torch.Tensor:
    r"""Computes cross-entropy with a share of each label spread evenly over all classes.

    .. math::

        \mathcal{L} = -\sum_k \left( (1 - \alpha) [y_j = k] + \frac{\alpha}{K} \right)
            \log \hat{p}_j^k, \quad \text{averaged over voxels } j

    This is footnote 1 of the paper that the package reproduces.

    Args:
        logits: ``(B, C, *spatial)``, 2-D or 3-D.
        labels: Class indices, ``(B, 1, *spatial)`` or ``(B, *spatial)``, any dtype; or one-hot or
            soft labels, the shares of the classes, ``(B, C, *spatial)``.
        label_smoothing: :math:`\alpha` in [0, 1]; 0 gives cross-entropy.
        ignore_index: Voxels with this label are ignored.

    Returns:
        A scalar.

    Raises:
        InputError: If α, shapes or label values do not fit.

    Note:
        ``torch.nn.CrossEntropyLoss(label_smoothing=…)`` computes it. MONAI has no loss of this
        name; its ``DiceCELoss(label_smoothing=…)`` passes the value on to torch's.

    Example:
        >>> logits = torch.tensor([3.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 8, 8).requires_grad_()
        >>> loss = label_smoothing_loss(logits, torch.zeros(1, 1, 8, 8), label_smoothing=0.1)
        >>> loss.detach()
        tensor(0.1986)
        >>> loss.backward()
    """
    _check(label_smoothing)
    return cross_entropy(logits, labels, ignore_index=ignore_index, label_smoothing=label_smoothing)


def _check(label_smoothing: float) -> None:
    require(0 <= label_smoothing <= 1, "label_smoothing", label_smoothing, "0 to 1")


class LabelSmoothingLoss(SegmentationLoss):
    """Label smoothing as a module, see :func:`label_smoothing_loss`.

    Args:
        label_smoothing: The share of each label that is spread, in [0, 1]; 0 gives cross-entropy.
        ignore_index: Voxels with this label are ignored.

    Shape:
        logits ``(B, C, *spatial)``; labels ``(B, 1, *spatial)`` or ``(B, *spatial)``, or soft ones
        ``(B, C, *spatial)``; a scalar out.

    Raises:
        InputError: If the share, shapes or label values do not fit.

    Example:
        >>> logits = torch.zeros(1, 4, 8, 8, requires_grad=True)
        >>> LabelSmoothingLoss(label_smoothing=0.1)(logits, torch.ones(1, 1, 8, 8)).backward()
    """

    def __init__(self, *, label_smoothing: float = 0.1, ignore_index: int | None = None) -> None:
        _check(label_smoothing)
        super().__init__(label_smoothing=label_smoothing, ignore_index=ignore_index)

    def terms(self, logits: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """``cross_entropy`` with the smoothed labels."""
        return {"cross_entropy": label_smoothing_loss(logits, labels, **self.settings)}
