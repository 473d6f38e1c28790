"""Cross-entropy, the control of every comparison and the base of the calibration losses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from nacl_monai.errors import InputError
from nacl_monai.losses.base import SegmentationLoss
from nacl_monai.losses.inputs import check_inputs, check_weights, is_soft, voxel_mean
from nacl_monai.words import in_our_words

#: Torch's own default of ``ignore_index``, which no label is.
_NO_LABEL = -100


@in_our_words
def cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    class_weights: Sequence[float] | Tensor | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    r"""Computes the cross-entropy, averaged over voxels :math:`j`.

    .. math::

        \mathcal{L}_{CE} = -\log \hat{p}_j^{y_j}, \quad \text{or} \quad
            -\sum_k y_j^k \log \hat{p}_j^k \text{ for soft labels } y

    Args:
        class_weights: One weight per class; the mean over voxels is weighted by them.
        label_smoothing: The share of each label that is spread evenly over all classes.

    Returns:
        A scalar; 0 if every voxel is ignored or of a class without weight.

    Raises:
        InputError: If shapes, label values or class weights do not fit.

    Note:
        ``torch.nn.functional.cross_entropy`` computes it. Ours accepts the labels of a MONAI loader,
        names a label that is out of range, and is 0 rather than NaN if no voxel counts.

    Example:
        >>> logits = torch.zeros(1, 4, 8, 8, requires_grad=True)
        >>> loss = cross_entropy(logits, torch.ones(1, 1, 8, 8))
        >>> loss
        tensor(1.3863, grad_fn=<NllLoss2DBackward0>)
        >>> loss.backward()
    """
    logits, labels = check_inputs(logits, labels, ignore_index)
    weights = _per_class(class_weights, logits)
    if is_soft(labels):
        return _of_soft_labels(logits, labels, weights, ignore_index, label_smoothing)
    if ignore_index is None and weights is None:
        return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    ignored = _NO_LABEL if ignore_index is None else ignore_index
    total = F.cross_entropy(
        logits,
        labels,
        weights,
        ignore_index=ignored,
        reduction="sum",
        label_smoothing=label_smoothing,
    )
    counted = labels != ignored
    share = counted if weights is None else weights[labels.where(counted, 0)].where(counted, 0)
    mass = share.sum()
    return total / mass.where(mass > 0, 1)


def _of_soft_labels(
    logits: Tensor,
    labels: Tensor,
    weights: Tensor | None,
    ignore_index: int | None,
    label_smoothing: float,
) -> Tensor:
    """Torch averages over voxels whatever they weigh; here one-hot labels give what indices give."""
    entropies = F.cross_entropy(
        logits, labels, weights, reduction="none", label_smoothing=label_smoothing
    ).unsqueeze(1)
    mean = voxel_mean(entropies, labels, ignore_index)
    if weights is None:
        return mean
    # No product of matrices, which autocast would compute in half precision.
    mass = (labels * weights.view(-1, *[1] * (labels.ndim - 2))).sum(1, keepdim=True)
    average = voxel_mean(mass, labels, ignore_index)
    return mean / average.where(average > 0, 1)


def _per_class(class_weights: Sequence[float] | Tensor | None, logits: Tensor) -> Tensor | None:
    if class_weights is None:
        return None
    if len(class_weights) != logits.shape[1]:
        raise InputError(
            f"class_weights: has {len(class_weights)} values, but logits have {logits.shape[1]} "
            "classes; pass one weight per class"
        )
    check_class_weights(class_weights)
    return torch.as_tensor(class_weights).to(logits)


def check_class_weights(class_weights: Sequence[float] | Tensor | None) -> None:
    """Refuses class weights that are negative, or all 0; the values of a tensor are not looked at.

    Raises:
        SettingError: If they are.
    """
    if not (class_weights is None or isinstance(class_weights, Tensor)):
        check_weights("class_weights", class_weights)


class CrossEntropyLoss(SegmentationLoss):
    """Cross-entropy as a module, see :func:`cross_entropy`.

    Raises:
        InputError: If shapes, label values or class weights do not fit.

    Example:
        >>> logits = torch.zeros(1, 4, 8, 8, requires_grad=True)
        >>> CrossEntropyLoss(ignore_index=255)(logits, torch.ones(1, 1, 8, 8)).backward()
    """

    def __init__(
        self, *, class_weights: Sequence[float] | None = None, ignore_index: int | None = None
    ) -> None:
        check_class_weights(class_weights)
        super().__init__(class_weights=class_weights, ignore_index=ignore_index)

    def terms(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """``cross_entropy``."""
        return {"cross_entropy": cross_entropy(logits, labels, **self.settings)}
