"""Neighbor-aware calibration (NACL): logits near the class proportions around each voxel.

References:
    Neighbor-Aware Calibration of Segmentation Networks with Penalty-Based Constraints
    (Murugesan et al., 2024), equation 9, https://arxiv.org/abs/2401.14487
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from nacl_monai.losses.composed import ComposedLoss
from nacl_monai.losses.cross_entropy import CrossEntropyLoss, cross_entropy
from nacl_monai.losses.neighborhood import PerAxis
from nacl_monai.losses.neighborhood_penalty import NeighborhoodPenalty, neighborhood_penalty
from nacl_monai.losses.settings import check_not_negative


def nacl_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    *,
    prior: str = "mean",
    kernel_size: PerAxis[int] = 3,
    sigma: PerAxis[float] = 1.0,
    penalty: str = "l1",
    penalty_weight: float = 0.1,
    space: str = "logits",
    border: str = "valid",
    ignore_index: int | None = None,
    class_weights: Sequence[float] | None = None,
    image: torch.Tensor | None = None,
    intensity_sigma: float = 0.1,
    sharpness: float = 5.0,
    width_mm: float | None = None,
    spacing: Sequence[float] | None = None,
) -> torch.Tensor:
    r"""Computes cross-entropy plus a penalty on logits that differ from the proportions around them.

    .. math::

        \mathcal{L} = \mathcal{L}_{CE}
            + \lambda \frac{1}{K} \sum_k \mathcal{P}(|\tau_j^k - l_j^k|), \quad
        \text{averaged over voxels } j

    This is equation 9 of the paper, which sums over the classes; like the paper's own code, and as
    its weights were chosen, this is the mean over classes as well.

    Args:
        logits: :math:`l`, ``(B, C, *spatial)``, 2-D or 3-D.
        labels: Class indices, ``(B, 1, *spatial)`` or ``(B, *spatial)``, any dtype; or one-hot or
            soft labels, the shares of the classes, ``(B, C, *spatial)``.
        prior: How neighbors are weighted in :math:`\tau`: ``"mean"``, ``"gaussian"``,
            ``"blur"`` or ``"bilateral"``, see :func:`neighborhood_proportions`.
        kernel_size: The window's extent along each axis, odd; one for all axes, or one for each.
        sigma: Standard deviation of the Gaussian weights in voxels, for one axis or each;
            unused by ``"mean"``.
        penalty: :math:`\mathcal{P}`: ``"l1"`` for :math:`|d|`, ``"l2"`` for :math:`d^2` (section
            4.2.7 of the paper), or ``"log_barrier"`` for :func:`log_barrier`.
        penalty_weight: :math:`\lambda \ge 0`; 0 gives cross-entropy.
        space: What is constrained: ``"logits"``, or their ``"softmax"`` (section 4.2.2).
        border: What is outside the image: nothing (``"valid"``), or copies of its border
            (``"replicate"``).
        ignore_index: Voxels with this label are ignored, also as neighbors.
        class_weights: One weight per class, for cross-entropy only.
        image: ``(B, M, *spatial)``, needed by the bilateral prior only.
        intensity_sigma: Standard deviation of the bilateral weights, in the image's units.
        sharpness: :math:`t` of the log-barrier.
        width_mm: Standard deviation of the weights in mm, in place of ``kernel_size`` and ``sigma``.
        spacing: Size of a voxel along each axis, in mm; None for that of the labels, a ``MetaTensor``.

    Returns:
        A scalar.

    Raises:
        InputError: If a setting, shapes or label values do not fit.

    Note:
        MONAI's ``NACLLoss`` equals this one away from the border of the image, where it pads the
        labels with zeros; see :func:`neighborhood_proportions` for its Gaussian. It takes labels
        ``(B, *spatial)`` of int64 only, must be told the number of classes and of axes, has neither
        ``ignore_index`` nor the softmax, and returns the sum only.

    Example:
        >>> logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
        >>> loss = nacl_loss(logits, torch.zeros(1, 1, 4, 4), penalty_weight=0.1)
        >>> loss.detach()
        tensor(0.7431)
        >>> loss.backward()
    """
    check_not_negative("penalty_weight", penalty_weight)
    constraint = neighborhood_penalty(
        logits,
        labels,
        prior=prior,
        kernel_size=kernel_size,
        sigma=sigma,
        penalty=penalty,
        space=space,
        border=border,
        ignore_index=ignore_index,
        image=image,
        intensity_sigma=intensity_sigma,
        sharpness=sharpness,
        width_mm=width_mm,
        spacing=spacing,
    )
    entropy = cross_entropy(logits, labels, class_weights=class_weights, ignore_index=ignore_index)
    return entropy + penalty_weight * constraint


class NACLLoss(ComposedLoss):
    """NACL as a module: cross-entropy with :class:`NeighborhoodPenalty`, see :func:`nacl_loss`.

    Args:
        prior: ``"mean"``, ``"gaussian"``, ``"blur"`` or ``"bilateral"``.
        kernel_size: The window's extent along each axis, odd; one for all axes, or one for each.
        sigma: Standard deviation of the Gaussian weights in voxels, for one axis or each;
            unused by ``"mean"``.
        penalty: ``"l1"``, ``"l2"`` or ``"log_barrier"``.
        penalty_weight: Weight of the penalty, 0 or more; 0 gives cross-entropy.
        space: What is constrained: ``"logits"`` or ``"softmax"``.
        border: ``"valid"`` or ``"replicate"``.
        ignore_index: Voxels with this label are ignored, also as neighbors.
        class_weights: One weight per class, for cross-entropy only.
        intensity_sigma: Standard deviation of the bilateral weights, in the image's units.
        sharpness: That of the log-barrier.
        width_mm: Standard deviation of the weights in mm, in place of ``kernel_size`` and ``sigma``.
        spacing: Size of a voxel along each axis, in mm; None for that of the labels, a ``MetaTensor``.

    Shape:
        As :class:`NeighborhoodPenalty`.

    Raises:
        InputError: If a setting, shapes or label values do not fit.

    Example:
        >>> loss = NACLLoss(penalty_weight=0.1)
        >>> logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
        >>> loss(logits, torch.zeros(1, 1, 4, 4)).backward()
        >>> loss.latest_terms
        {'cross_entropy': tensor(0.6931), 'penalty': tensor(0.0500)}
    """

    def __init__(
        self,
        *,
        prior: str = "mean",
        kernel_size: PerAxis[int] = 3,
        sigma: PerAxis[float] = 1.0,
        penalty: str = "l1",
        penalty_weight: float = 0.1,
        space: str = "logits",
        border: str = "valid",
        ignore_index: int | None = None,
        class_weights: Sequence[float] | None = None,
        intensity_sigma: float = 0.1,
        sharpness: float = 5.0,
        width_mm: float | None = None,
        spacing: Sequence[float] | None = None,
    ) -> None:
        check_not_negative("penalty_weight", penalty_weight)
        neighborhood = NeighborhoodPenalty(
            weight=penalty_weight,
            prior=prior,
            kernel_size=kernel_size,
            sigma=sigma,
            penalty=penalty,
            space=space,
            border=border,
            ignore_index=ignore_index,
            intensity_sigma=intensity_sigma,
            sharpness=sharpness,
            width_mm=width_mm,
            spacing=spacing,
        )
        base = CrossEntropyLoss(class_weights=class_weights, ignore_index=ignore_index)
        super().__init__(base, [neighborhood])
