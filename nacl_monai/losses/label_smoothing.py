"""Label smoothing (LS).

References:
    Rethinking the Inception Architecture for Computer Vision (Szegedy et al., 2016), section 7,
    https://arxiv.org/abs/1512.00567
"""

from __future__ import annotations

from torch import Tensor

from nacl_monai.losses.base import SegmentationLoss
from nacl_monai.losses.cross_entropy import cross_entropy
from nacl_monai.losses.inputs import require
from nacl_monai.words import in_our_words


@in_our_words
def label_smoothing_loss(
    logits: Tensor, labels: Tensor, *, label_smoothing: float = 0.1, ignore_index: int | None = None
) -> Tensor:
    r"""Computes cross-entropy with a share of each label spread evenly over all classes.

    .. math::

        \mathcal{L} = -\sum_k \left( (1 - \alpha) [y_j = k] + \frac{\alpha}{K} \right)
            \log \hat{p}_j^k, \quad \text{averaged over voxels } j

    This is footnote 1 of the paper that the package reproduces.

    Args:
        label_smoothing: :math:`\alpha` in [0, 1]; 0 gives cross-entropy.

    Raises:
        InputError: If α, shapes or label values do not fit.

    Note:
        ``torch.nn.CrossEntropyLoss(label_smoothing=…)`` computes it. MONAI has no loss of this
        name; its ``DiceCELoss(label_smoothing=…)`` passes the value on to torch's.

    Example:
        >>> import torch
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

    Raises:
        InputError: If the share, shapes or label values do not fit.

    Example:
        >>> import torch
        >>> logits = torch.zeros(1, 4, 8, 8, requires_grad=True)
        >>> LabelSmoothingLoss(label_smoothing=0.1)(logits, torch.ones(1, 1, 8, 8)).backward()
    """

    def __init__(self, *, label_smoothing: float = 0.1, ignore_index: int | None = None) -> None:
        _check(label_smoothing)
        super().__init__(label_smoothing=label_smoothing, ignore_index=ignore_index)

    def terms(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """``cross_entropy`` with the smoothed labels."""
        return {"cross_entropy": label_smoothing_loss(logits, labels, **self.settings)}
