"""Difference between confidence and accuracy (DCA).

References:
    Improved Trainable Calibration Method for Neural Networks on Medical Imaging Classification
    (Liang et al., 2020), https://arxiv.org/abs/2009.04057
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from nacl_monai.losses.base import ComposedLoss, Penalty
from nacl_monai.losses.cross_entropy import CrossEntropyLoss, cross_entropy
from nacl_monai.losses.inputs import check_inputs, check_not_negative, is_soft, voxel_mean
from nacl_monai.words import in_our_words


@in_our_words
def dca_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    penalty_weight: float = 10.0,
    class_weights: Sequence[float] | None = None,
    ignore_index: int | None = None,
) -> Tensor:
    r"""Computes cross-entropy plus the weighted gap between mean confidence and accuracy.

    .. math::

        \mathcal{L} = \mathcal{L}_{CE} + \beta \left|
            \frac{1}{N} \sum_j \max_k \hat{p}_j^k
            - \frac{1}{N} \sum_j [\operatorname{argmax}_k \hat{p}_j^k = y_j] \right|

    It was published for the classification of images; here the :math:`N` samples are the voxels
    :math:`j` of the batch.

    Args:
        penalty_weight: :math:`\beta \ge 0`; 0 gives cross-entropy. The default is that of its authors'
            code.

    Raises:
        InputError: If a setting, shapes or label values do not fit.

    Note:
        MONAI and torch have no counterpart. netcal's ``DCAPenalty`` computes the same gap.

    Example:
        >>> import torch
        >>> logits = torch.tensor([2.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 8, 8).requires_grad_()
        >>> loss = dca_loss(logits, torch.zeros(1, 1, 8, 8), penalty_weight=5.0)
        >>> loss.detach()  # all voxels are right, with a confidence of 0.88
        tensor(0.7229)
        >>> loss.backward()
    """
    check_not_negative("penalty_weight", penalty_weight)
    penalty = dca_penalty(logits, labels, ignore_index=ignore_index)
    entropy = cross_entropy(logits, labels, class_weights=class_weights, ignore_index=ignore_index)
    return entropy + penalty_weight * penalty


@in_our_words
def dca_penalty(logits: Tensor, labels: Tensor, *, ignore_index: int | None = None) -> Tensor:
    """Computes the absolute difference between the mean confidence and the accuracy of a batch.

    Its gradient is that of the mean confidence, since the accuracy has none. With soft labels, the
    accuracy is the mean share of the predicted class.

    Returns:
        A scalar between 0 and 1.

    Raises:
        InputError: If shapes or label values do not fit.

    Example:
        >>> import torch
        >>> logits = torch.zeros(1, 4, 8, 8, requires_grad=True)
        >>> penalty = dca_penalty(logits, torch.ones(1, 1, 8, 8))
        >>> penalty.detach()  # no voxel is right, with a confidence of 1/4
        tensor(0.2500)
        >>> penalty.backward()
    """
    logits, labels = check_inputs(logits, labels, ignore_index)
    confidence = logits.softmax(1).amax(1, keepdim=True)
    predicted = logits.argmax(1, keepdim=True)
    right = labels.gather(1, predicted) if is_soft(labels) else predicted == labels.unsqueeze(1)
    return voxel_mean(confidence - right.to(confidence.dtype), labels, ignore_index).abs()


class DCAPenalty(Penalty):
    """The gap between mean confidence and accuracy as a module, see :func:`dca_penalty`.

    Raises:
        InputError: If the weight is negative, or shapes or label values do not fit.

    Example:
        >>> import torch
        >>> logits = torch.zeros(1, 4, 8, 8, requires_grad=True)
        >>> DCAPenalty(weight=5.0)(logits, torch.ones(1, 1, 8, 8)).backward()
    """

    def __init__(self, *, weight: float = 10.0, ignore_index: int | None = None) -> None:
        super().__init__(weight, ignore_index=ignore_index)

    def value(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The absolute gap."""
        return dca_penalty(logits, labels, **self.settings)


class DCALoss(ComposedLoss):
    """Cross-entropy with :class:`DCAPenalty`, see :func:`dca_loss`.

    Raises:
        InputError: If a setting, shapes or label values do not fit.

    Example:
        >>> import torch
        >>> loss = DCALoss(penalty_weight=5.0)
        >>> logits = torch.zeros(1, 4, 8, 8, requires_grad=True)
        >>> loss(logits, torch.ones(1, 1, 8, 8)).backward()
        >>> loss.latest_terms
        {'cross_entropy': tensor(1.3863), 'penalty': tensor(1.2500)}
    """

    def __init__(
        self,
        *,
        penalty_weight: float = 10.0,
        class_weights: Sequence[float] | None = None,
        ignore_index: int | None = None,
    ) -> None:
        check_not_negative("penalty_weight", penalty_weight)
        super().__init__(
            CrossEntropyLoss(class_weights=class_weights, ignore_index=ignore_index),
            [DCAPenalty(weight=penalty_weight, ignore_index=ignore_index)],
        )
