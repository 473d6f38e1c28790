"""Signed distance calibration (SDC).

References:
    We Care Each Pixel: Calibrating on Medical Segmentation Model (Liang et al., 2025),
    https://arxiv.org/abs/2503.05107, and its code, https://github.com/EagleAdelaide/SDC-Loss
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from nacl_monai.losses.composed import ComposedLoss
from nacl_monai.losses.cross_entropy import CrossEntropyLoss, cross_entropy
from nacl_monai.losses.morphology import MorphologyPenalty, morphology_penalty
from nacl_monai.losses.settings import check_not_negative
from nacl_monai.losses.signed_distance import DistancePenalty, distance_penalty


def sdc_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    *,
    morphology: str = "gradient",
    kernel_size: int = 3,
    morphology_weight: float = 0.1,
    distance_weight: float = 0.001,
    class_weights: Sequence[float] | None = None,
    ignore_index: int | None = None,
) -> torch.Tensor:
    r"""Computes cross-entropy plus two penalties: by the labels' morphology, and by signed distance.

    .. math::

        \mathcal{L} = \mathcal{L}_{CE} + \alpha \mathcal{P}_{morphology} + \lambda \mathcal{P}_{distance}

    Args:
        logits: ``(B, C, *spatial)``, 2-D or 3-D.
        labels: Class indices, ``(B, 1, *spatial)`` or ``(B, *spatial)``, any dtype; or one-hot labels,
            ``(B, C, *spatial)``. Soft labels have no border to which a distance could be measured.
        morphology: What is done to the labels, see :func:`morphology_penalty`.
        kernel_size: The extent of its window along each axis, odd.
        morphology_weight: :math:`\alpha \ge 0`.
        distance_weight: :math:`\lambda \ge 0`. The published 0.1 is that of a penalty that is divided by
            100; here both are one factor.
        class_weights: One weight per class, for cross-entropy only.
        ignore_index: Voxels with this label are ignored.

    Returns:
        A scalar.

    Raises:
        InputError: If a setting, shapes or label values do not fit, or labels are soft.

    Note:
        MONAI and torch have no counterpart. See :func:`distance_penalty` for the sign, in which this
        differs from the published code.

    Example:
        >>> logits = torch.zeros(1, 2, 8, 8, requires_grad=True)
        >>> loss = sdc_loss(logits, (torch.arange(8) < 4).expand(1, 1, 8, 8))
        >>> loss.detach()
        tensor(0.7188)
        >>> loss.backward()
    """
    _check(morphology_weight, distance_weight)
    by_morphology = morphology_penalty(
        logits, labels, morphology=morphology, kernel_size=kernel_size, ignore_index=ignore_index
    )
    by_distance = distance_penalty(logits, labels, ignore_index=ignore_index)
    entropy = cross_entropy(logits, labels, class_weights=class_weights, ignore_index=ignore_index)
    return entropy + morphology_weight * by_morphology + distance_weight * by_distance


def _check(morphology_weight: float, distance_weight: float) -> None:
    check_not_negative("morphology_weight", morphology_weight)
    check_not_negative("distance_weight", distance_weight)


class SDCLoss(ComposedLoss):
    """Cross-entropy with :class:`MorphologyPenalty` and :class:`DistancePenalty`, see :func:`sdc_loss`.

    Args:
        morphology: What is done to the labels.
        kernel_size: The extent of its window along each axis, odd.
        morphology_weight: Weight of the penalty by morphology, 0 or more.
        distance_weight: Weight of the penalty by distance, 0 or more.
        class_weights: One weight per class, for cross-entropy only.
        ignore_index: Voxels with this label are ignored.

    Shape:
        logits ``(B, C, *spatial)``; labels ``(B, 1, *spatial)`` or ``(B, *spatial)``, or one-hot ones
        ``(B, C, *spatial)``; a scalar out.

    Raises:
        InputError: If a setting, shapes or label values do not fit, or labels are soft.

    Example:
        >>> loss = SDCLoss()
        >>> logits = torch.zeros(1, 2, 8, 8, requires_grad=True)
        >>> loss(logits, (torch.arange(8) < 4).expand(1, 1, 8, 8)).backward()
        >>> loss.latest_terms
        {'cross_entropy': tensor(0.6931), 'penalty': tensor(0.0250), 'penalty_2': tensor(0.0006)}
    """

    def __init__(
        self,
        *,
        morphology: str = "gradient",
        kernel_size: int = 3,
        morphology_weight: float = 0.1,
        distance_weight: float = 0.001,
        class_weights: Sequence[float] | None = None,
        ignore_index: int | None = None,
    ) -> None:
        _check(morphology_weight, distance_weight)
        by_morphology = MorphologyPenalty(
            weight=morphology_weight,
            morphology=morphology,
            kernel_size=kernel_size,
            ignore_index=ignore_index,
        )
        by_distance = DistancePenalty(weight=distance_weight, ignore_index=ignore_index)
        base = CrossEntropyLoss(class_weights=class_weights, ignore_index=ignore_index)
        super().__init__(base, [by_morphology, by_distance])
