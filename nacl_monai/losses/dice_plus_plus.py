"""DSC++: soft Dice in which confident errors count more, and its relative, the Tversky loss.

References:
    - Calibrating the Dice Loss to Handle Neural Network Overconfidence for Biomedical Image Segmentation
      (Yeung et al., 2023), https://doi.org/10.1007/s10278-022-00735-3, https://arxiv.org/abs/2111.00528
    - Tversky Loss Function for Image Segmentation Using 3D Fully Convolutional Deep Networks (Salehi et
      al., 2017), https://arxiv.org/abs/1706.05721
"""

from __future__ import annotations

import torch
from torch import Tensor

from nacl_monai.losses.base import SegmentationLoss
from nacl_monai.losses.cross_entropy import cross_entropy
from nacl_monai.losses.inputs import (
    at_least_float32,
    check_inputs,
    check_not_negative,
    counted_voxels,
    memberships,
    require,
)
from nacl_monai.words import in_our_words

_SMOOTH = 1e-5


@in_our_words
def dice_plus_plus_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    gamma: float = 2.0,
    false_positive_weight: float = 0.5,
    cross_entropy_weight: float = 0.0,
    ignore_index: int | None = None,
) -> Tensor:
    r"""Computes one minus a Dice score with errors raised to a power, a mean over images and classes.

    .. math::

        \mathcal{L} = w \mathcal{L}_{CE} + 1 - \frac{\sum_j \hat{p}_j^k y_j^k}
            {\sum_j \hat{p}_j^k y_j^k + \alpha \sum_j (\hat{p}_j^k (1 - y_j^k))^\gamma
             + (1 - \alpha) \sum_j ((1 - \hat{p}_j^k) y_j^k)^\gamma}

    With :math:`\gamma > 1`, a doubt costs less than a certain error, so that there is a price on
    overconfidence, which the Dice loss lacks. With :math:`\gamma = 1` this is the Tversky loss, and, if
    both kinds of error weigh the same, soft Dice. For soft labels, the errors are what :math:`\hat{p}`
    has beyond :math:`y`, and what it lacks, so that the loss is 0 where both are equal.

    Args:
        gamma: The focusing exponent :math:`\gamma \ge 1`. The default is that of the authors' code.
        false_positive_weight: :math:`\alpha` between 0 and 1. Below 0.5, as published, a network marks
            too much; above, too little.
        cross_entropy_weight: :math:`w \ge 0` of cross-entropy, 0 as published: DSC++ is proposed alone.

    Raises:
        InputError: If a setting, shapes or label values do not fit.

    Note:
        MONAI has no counterpart. With ``gamma=1.0`` this equals
        ``monai.losses.TverskyLoss(to_onehot_y=True, softmax=True)``. The authors' code cuts
        probabilities and labels off at 1e-7, and adds as much above and below the line; here it is 1e-5,
        as in :func:`soft_dice_loss`.

    Example:
        >>> logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
        >>> loss = dice_plus_plus_loss(logits, torch.zeros(1, 1, 4, 4))
        >>> loss.detach()  # 1 - 8 / (8 + 4 / 2) for one class, 1 for the other
        tensor(0.6000)
        >>> loss.backward()
    """
    weights = false_positive_weight, cross_entropy_weight
    terms = _terms(logits, labels, gamma, *weights, ignore_index)
    return torch.stack(list(terms.values())).sum()


def _terms(
    logits: Tensor,
    labels: Tensor,
    gamma: float,
    false_positive_weight: float,
    cross_entropy_weight: float,
    ignore_index: int | None,
) -> dict[str, Tensor]:
    _check(gamma, false_positive_weight, cross_entropy_weight)
    logits = at_least_float32(logits)  # once, so that both gradients are added before rounding
    terms = {}
    if cross_entropy_weight > 0:
        entropy = cross_entropy(logits, labels, ignore_index=ignore_index)
        terms["cross_entropy"] = cross_entropy_weight * entropy
    logits, labels = check_inputs(logits, labels, ignore_index)
    probs = logits.softmax(1)
    members = memberships(labels, logits.shape[1], ignore_index).to(probs.dtype)
    counted = counted_voxels(labels, ignore_index)
    if counted is not None:
        probs = torch.where(counted.unsqueeze(1), probs, 0)
    axes = tuple(range(2, logits.ndim))
    right = torch.minimum(probs, members).sum(axes)
    wrong = (probs - members).clamp_min(0).pow(gamma).sum(axes)
    missed = (members - probs).clamp_min(0).pow(gamma).sum(axes)
    errors = false_positive_weight * wrong + (1 - false_positive_weight) * missed
    terms["dice_plus_plus"] = 1 - ((right + _SMOOTH) / (right + errors + _SMOOTH)).mean()
    return terms


def _check(gamma: float, false_positive_weight: float, cross_entropy_weight: float) -> None:
    require(gamma >= 1, "gamma", gamma, "1 or more")
    between = 0 <= false_positive_weight <= 1
    require(between, "false_positive_weight", false_positive_weight, "a number from 0 to 1")
    check_not_negative("cross_entropy_weight", cross_entropy_weight)


class DicePlusPlusLoss(SegmentationLoss):
    """DSC++ as a module, see :func:`dice_plus_plus_loss`.

    Raises:
        InputError: If a setting, shapes or label values do not fit.

    Example:
        >>> loss = DicePlusPlusLoss(gamma=2.0)
        >>> logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
        >>> loss(logits, torch.zeros(1, 1, 4, 4)).backward()
        >>> loss.latest_terms
        {'dice_plus_plus': tensor(0.6000)}
    """

    def __init__(
        self,
        *,
        gamma: float = 2.0,
        false_positive_weight: float = 0.5,
        cross_entropy_weight: float = 0.0,
        ignore_index: int | None = None,
    ) -> None:
        _check(gamma, false_positive_weight, cross_entropy_weight)
        super().__init__(
            gamma=gamma,
            false_positive_weight=false_positive_weight,
            cross_entropy_weight=cross_entropy_weight,
            ignore_index=ignore_index,
        )

    def terms(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """``cross_entropy``, if it has a weight, and ``dice_plus_plus``."""
        return _terms(logits, labels, **self.settings)
