"""Explicit confidence penalty (ECP).

References:
    Regularizing Neural Networks by Penalizing Confident Output Distributions
    (Pereyra et al., 2017), section 3, https://arxiv.org/abs/1701.06548
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from nacl_monai.losses.base import ComposedLoss, Penalty
from nacl_monai.losses.cross_entropy import CrossEntropyLoss, cross_entropy
from nacl_monai.losses.inputs import check_not_negative, convert_inputs, voxel_mean
from nacl_monai.words import in_our_words


@in_our_words
def ecp_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    entropy_weight: float = 0.1,
    class_weights: Sequence[float] | None = None,
    ignore_index: int | None = None,
) -> Tensor:
    r"""Computes cross-entropy minus the weighted entropy of the prediction.

    .. math::

        \mathcal{L} = \mathcal{L}_{CE} - \beta \mathcal{H}(\hat{p}_j), \quad
        \text{averaged over voxels } j

    Args:
        entropy_weight: :math:`\beta \ge 0`; 0 gives cross-entropy.

    Raises:
        InputError: If a setting, shapes or label values do not fit.

    Note:
        MONAI and torch have no counterpart. The code published with the paper divides the entropy
        by the number of classes; this follows the published definition, which does not.

    Example:
        >>> import torch
        >>> logits = torch.zeros(1, 4, 8, 8, requires_grad=True)
        >>> loss = ecp_loss(logits, torch.ones(1, 1, 8, 8), entropy_weight=0.1)
        >>> loss.detach()
        tensor(1.2477)
        >>> loss.backward()
    """
    check_not_negative("entropy_weight", entropy_weight)
    penalty = entropy_penalty(logits, labels, ignore_index=ignore_index)
    entropy = cross_entropy(logits, labels, class_weights=class_weights, ignore_index=ignore_index)
    return entropy + entropy_weight * penalty


@in_our_words
def entropy_penalty(logits: Tensor, labels: Tensor, *, ignore_index: int | None = None) -> Tensor:
    r"""Computes the negative entropy of the prediction, averaged over voxels :math:`j`.

    .. math::

        -\mathcal{H}(\hat{p}_j) = \sum_k \hat{p}_j^k \log \hat{p}_j^k

    Args:
        labels: ``(B, 1, *spatial)`` or ``(B, *spatial)``; only ``ignore_index`` matters in them.

    Returns:
        A scalar between :math:`-\log K` and 0.

    Raises:
        InputError: If the shapes do not fit.

    Example:
        >>> import torch
        >>> logits = torch.zeros(1, 4, 8, 8, requires_grad=True)
        >>> penalty = entropy_penalty(logits, torch.ones(1, 1, 8, 8))
        >>> penalty.detach()
        tensor(-1.3863)
        >>> penalty.backward()
    """
    logits, labels = convert_inputs(logits, labels, ignore_index)
    log_probs = logits.log_softmax(1)
    negative_entropy = (log_probs.exp() * log_probs).sum(1, keepdim=True)
    return voxel_mean(negative_entropy, labels, ignore_index)


class EntropyPenalty(Penalty):
    """The negative entropy of the prediction as a module, see :func:`entropy_penalty`.

    Raises:
        InputError: If the weight is negative, or the shapes do not fit.

    Example:
        >>> import torch
        >>> logits = torch.zeros(1, 4, 8, 8, requires_grad=True)
        >>> EntropyPenalty(weight=0.1)(logits, torch.ones(1, 1, 8, 8)).backward()
    """

    def __init__(self, *, weight: float = 0.1, ignore_index: int | None = None) -> None:
        super().__init__(weight, ignore_index=ignore_index)

    def value(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The mean negative entropy."""
        return entropy_penalty(logits, labels, **self.settings)


class ECPLoss(ComposedLoss):
    """Cross-entropy with :class:`EntropyPenalty`, see :func:`ecp_loss`.

    Raises:
        InputError: If a setting, shapes or label values do not fit.

    Example:
        >>> import torch
        >>> loss = ECPLoss(entropy_weight=0.1)
        >>> logits = torch.zeros(1, 4, 8, 8, requires_grad=True)
        >>> loss(logits, torch.ones(1, 1, 8, 8)).backward()
        >>> loss.latest_terms
        {'cross_entropy': tensor(1.3863), 'penalty': tensor(-0.1386)}
    """

    def __init__(
        self,
        *,
        entropy_weight: float = 0.1,
        class_weights: Sequence[float] | None = None,
        ignore_index: int | None = None,
    ) -> None:
        check_not_negative("entropy_weight", entropy_weight)
        super().__init__(
            CrossEntropyLoss(class_weights=class_weights, ignore_index=ignore_index),
            [EntropyPenalty(weight=entropy_weight, ignore_index=ignore_index)],
        )
