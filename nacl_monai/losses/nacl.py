"""Neighbor-aware calibration (NACL): logits near the class proportions around each voxel.

References:
    Neighbor-Aware Calibration of Segmentation Networks with Penalty-Based Constraints
    (Murugesan et al., 2024), equation 9, https://arxiv.org/abs/2401.14487
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from nacl_monai.losses.composed import ComposedLoss, Penalty
from nacl_monai.losses.cross_entropy import CrossEntropyLoss, cross_entropy
from nacl_monai.losses.neighborhood import (
    IMAGE_PRIORS,
    check_neighborhood,
    member_proportions,
)
from nacl_monai.losses.penalties import PENALTIES, SPACES
from nacl_monai.losses.settings import check_option, require
from nacl_monai.losses.voxels import convert_inputs, memberships, split_image, voxel_mean


def nacl_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    *,
    prior: str = "mean",
    kernel_size: int = 3,
    sigma: float = 1.0,
    penalty: str = "l1",
    penalty_weight: float = 0.1,
    space: str = "logits",
    border: str = "valid",
    ignore_index: int | None = None,
    class_weights: Sequence[float] | None = None,
    image: torch.Tensor | None = None,
    intensity_sigma: float = 0.1,
    sharpness: float = 5.0,
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
        prior: How neighbors are weighted in :math:`\tau`: ``"mean"``, ``"gaussian"`` or
            ``"bilateral"``, see :func:`neighborhood_proportions`.
        kernel_size: The window's extent along each axis, odd.
        sigma: Standard deviation of the Gaussian weights in voxels; unused by ``"mean"``.
        penalty: :math:`\mathcal{P}`: ``"l1"`` for :math:`|d|`, ``"l2"`` for :math:`d^2` (section
            4.2.7 of the paper), or ``"log_barrier"`` for :func:`log_barrier`.
        penalty_weight: :math:`\lambda \ge 0`; 0 gives cross-entropy.
        space: What is constrained: ``"logits"``, or their ``"softmax"`` (section 4.2.2).
        border: What lies outside the image: nothing (``"valid"``), or copies of its border
            (``"replicate"``).
        ignore_index: Voxels with this label are ignored, also as neighbors.
        class_weights: One weight per class, for cross-entropy only.
        image: ``(B, M, *spatial)``, needed by the bilateral prior only.
        intensity_sigma: Standard deviation of the bilateral weights, in the image's units.
        sharpness: :math:`t` of the log-barrier.

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
    _check(penalty_weight)
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
    )
    entropy = cross_entropy(logits, labels, class_weights=class_weights, ignore_index=ignore_index)
    return entropy + penalty_weight * constraint


def neighborhood_penalty(
    logits: torch.Tensor,
    labels: torch.Tensor,
    *,
    prior: str = "mean",
    kernel_size: int = 3,
    sigma: float = 1.0,
    penalty: str = "l1",
    space: str = "logits",
    border: str = "valid",
    ignore_index: int | None = None,
    image: torch.Tensor | None = None,
    intensity_sigma: float = 0.1,
    sharpness: float = 5.0,
) -> torch.Tensor:
    r"""Computes the penalty of NACL, :math:`\frac{1}{K} \sum_k \mathcal{P}(|\tau_j^k - l_j^k|)`.

    It is averaged over voxels :math:`j`. Arguments are those of :func:`nacl_loss`.

    Raises:
        InputError: If a setting or a shape cannot be used.

    Example:
        >>> logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
        >>> penalty = neighborhood_penalty(logits, torch.zeros(1, 1, 4, 4))
        >>> penalty.detach()
        tensor(0.5000)
        >>> penalty.backward()
    """
    _check_penalty(penalty, space, sharpness)
    logits, labels = convert_inputs(logits, labels, ignore_index)
    members = memberships(labels, logits.shape[1], ignore_index)
    proportions = member_proportions(
        members, kernel_size, prior, sigma, border, image, intensity_sigma, logits.dtype
    )
    scores = SPACES[space](logits)
    penalize = PENALTIES[penalty]
    if ignore_index is None:
        return penalize(scores, proportions, "mean", sharpness)
    penalties = penalize(scores, proportions, "none", sharpness)
    return voxel_mean(penalties, labels, ignore_index)


def _check(penalty_weight: float) -> None:
    require(penalty_weight >= 0, "penalty_weight", penalty_weight, "0 or more")


def _check_penalty(penalty: str, space: str, sharpness: float) -> None:
    check_option("penalty", PENALTIES, penalty)
    check_option("space", SPACES, space)
    require(sharpness > 0, "sharpness", sharpness, "a positive number")


class NeighborhoodPenalty(Penalty):
    """The penalty of NACL as a module, to be added to any loss by :class:`ComposedLoss`.

    Args:
        weight: What the penalty is multiplied with, 0 or more.

    All other arguments are those of :func:`nacl_loss`.

    Shape:
        logits ``(B, C, *spatial)``; labels ``(B, 1, *spatial)`` or ``(B, *spatial)``, or soft ones
        ``(B, C, *spatial)``; a scalar out.
        With ``prior="bilateral"``, labels are ``(B, 1 + M, *spatial)``: class indices, then the
        image's :math:`M` channels, as MONAI's ``ConcatItemsd(keys=["label", "image"],
        name="label")`` makes them at the end of a training pipeline.

    Raises:
        InputError: If a setting or a shape cannot be used.

    Example:
        >>> logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
        >>> NeighborhoodPenalty(weight=0.1)(logits, torch.zeros(1, 1, 4, 4)).backward()
    """

    def __init__(
        self,
        *,
        weight: float = 0.1,
        prior: str = "mean",
        kernel_size: int = 3,
        sigma: float = 1.0,
        penalty: str = "l1",
        space: str = "logits",
        border: str = "valid",
        ignore_index: int | None = None,
        intensity_sigma: float = 0.1,
        sharpness: float = 5.0,
    ) -> None:
        check_neighborhood(kernel_size, prior, sigma, border, intensity_sigma)
        _check_penalty(penalty, space, sharpness)
        super().__init__(
            weight,
            prior=prior,
            kernel_size=kernel_size,
            sigma=sigma,
            penalty=penalty,
            space=space,
            border=border,
            ignore_index=ignore_index,
            intensity_sigma=intensity_sigma,
            sharpness=sharpness,
        )

    @property
    def needs_image(self) -> bool:
        """Whether ``labels`` carry the image in their further channels."""
        return self.settings["prior"] in IMAGE_PRIORS

    def value(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The mean penalty over classes and voxels."""
        image = None
        if self.needs_image:
            labels, image = split_image(labels, logits.ndim)
        return neighborhood_penalty(logits, labels, image=image, **self.settings)


class NACLLoss(ComposedLoss):
    """NACL as a module: cross-entropy with :class:`NeighborhoodPenalty`, see :func:`nacl_loss`.

    Args:
        prior: ``"mean"``, ``"gaussian"`` or ``"bilateral"``.
        kernel_size: The window's extent along each axis, odd.
        sigma: Standard deviation of the Gaussian weights in voxels; unused by ``"mean"``.
        penalty: ``"l1"``, ``"l2"`` or ``"log_barrier"``.
        penalty_weight: Weight of the penalty, 0 or more; 0 gives cross-entropy.
        space: What is constrained: ``"logits"`` or ``"softmax"``.
        border: ``"valid"`` or ``"replicate"``.
        ignore_index: Voxels with this label are ignored, also as neighbors.
        class_weights: One weight per class, for cross-entropy only.
        intensity_sigma: Standard deviation of the bilateral weights, in the image's units.
        sharpness: That of the log-barrier.

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
        kernel_size: int = 3,
        sigma: float = 1.0,
        penalty: str = "l1",
        penalty_weight: float = 0.1,
        space: str = "logits",
        border: str = "valid",
        ignore_index: int | None = None,
        class_weights: Sequence[float] | None = None,
        intensity_sigma: float = 0.1,
        sharpness: float = 5.0,
    ) -> None:
        _check(penalty_weight)
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
        )
        base = CrossEntropyLoss(class_weights=class_weights, ignore_index=ignore_index)
        super().__init__(base, [neighborhood])
