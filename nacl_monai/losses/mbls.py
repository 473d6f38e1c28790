"""Margin-based label smoothing (MbLS).

References:
    The Devil is in the Margin: Margin-based Label Smoothing for Network Calibration
    (Liu et al., 2022), equation 6, https://arxiv.org/abs/2111.15430
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from nacl_monai.losses.base import ComposedLoss, Penalty
from nacl_monai.losses.cross_entropy import CrossEntropyLoss, cross_entropy
from nacl_monai.losses.inputs import check_not_negative, convert_inputs, voxel_mean
from nacl_monai.words import in_our_words


@in_our_words
def mbls_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    margin: float = 5.0,
    penalty_weight: float = 0.1,
    class_weights: Sequence[float] | None = None,
    ignore_index: int | None = None,
) -> Tensor:
    r"""Computes cross-entropy plus a penalty on logits far below the largest one.

    .. math::

        \mathcal{L} = \mathcal{L}_{CE}
            + \lambda \frac{1}{K} \sum_k \max(0, \max_i l_j^i - l_j^k - m), \quad
        \text{averaged over voxels } j

    The published equation sums over the classes; like its authors' code, this is the mean.

    Args:
        margin: :math:`m`.
        penalty_weight: :math:`\lambda \ge 0`; 0 gives cross-entropy.

    Raises:
        InputError: If a setting, shapes or label values do not fit.

    Note:
        MONAI and torch have no counterpart.

    Example:
        >>> import torch
        >>> logits = torch.tensor([9.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 8, 8).requires_grad_()
        >>> loss = mbls_loss(logits, torch.zeros(1, 1, 8, 8), margin=5.0, penalty_weight=0.1)
        >>> loss.detach()  # half of the logits exceed the margin, by 4
        tensor(0.2001)
        >>> loss.backward()
    """
    check_not_negative("penalty_weight", penalty_weight)
    penalty = margin_penalty(logits, labels, margin=margin, ignore_index=ignore_index)
    entropy = cross_entropy(logits, labels, class_weights=class_weights, ignore_index=ignore_index)
    return entropy + penalty_weight * penalty


@in_our_words
def margin_penalty(
    logits: Tensor, labels: Tensor, *, margin: float = 5.0, ignore_index: int | None = None
) -> Tensor:
    r"""Computes how far logits are beyond a margin below the largest one.

    .. math::

        \frac{1}{K} \sum_k \max(0, \max_i l_j^i - l_j^k - m), \quad
        \text{averaged over voxels } j

    Args:
        labels: ``(B, 1, *spatial)`` or ``(B, *spatial)``; only ``ignore_index`` matters in them.
        margin: :math:`m`.

    Returns:
        A scalar, 0 or more.

    Raises:
        InputError: If the shapes do not fit.

    Example:
        >>> import torch
        >>> logits = torch.tensor([9.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 8, 8).requires_grad_()
        >>> penalty = margin_penalty(logits, torch.zeros(1, 1, 8, 8), margin=5.0)
        >>> penalty.detach()
        tensor(2.)
        >>> penalty.backward()
    """
    logits, labels = convert_inputs(logits, labels, ignore_index)
    distances = logits.amax(1, keepdim=True) - logits
    return voxel_mean((distances - margin).relu(), labels, ignore_index)


class MarginPenalty(Penalty):
    """The penalty of MbLS as a module, see :func:`margin_penalty`.

    Raises:
        InputError: If the weight is negative, or the shapes do not fit.

    Example:
        >>> import torch
        >>> logits = torch.zeros(1, 4, 8, 8, requires_grad=True)
        >>> MarginPenalty(margin=5.0, weight=0.1)(logits, torch.ones(1, 1, 8, 8)).backward()
    """

    def __init__(
        self, *, margin: float = 5.0, weight: float = 0.1, ignore_index: int | None = None
    ) -> None:
        super().__init__(weight, margin=margin, ignore_index=ignore_index)

    def value(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The mean excess over the margin."""
        return margin_penalty(logits, labels, **self.settings)


class MbLSLoss(ComposedLoss):
    """Cross-entropy with :class:`MarginPenalty`, see :func:`mbls_loss`.

    Raises:
        InputError: If a setting, shapes or label values do not fit.

    Example:
        >>> import torch
        >>> logits = torch.zeros(1, 4, 8, 8, requires_grad=True)
        >>> MbLSLoss(margin=5.0)(logits, torch.ones(1, 1, 8, 8)).backward()
    """

    def __init__(
        self,
        *,
        margin: float = 5.0,
        penalty_weight: float = 0.1,
        class_weights: Sequence[float] | None = None,
        ignore_index: int | None = None,
    ) -> None:
        check_not_negative("penalty_weight", penalty_weight)
        super().__init__(
            CrossEntropyLoss(class_weights=class_weights, ignore_index=ignore_index),
            [MarginPenalty(margin=margin, weight=penalty_weight, ignore_index=ignore_index)],
        )
