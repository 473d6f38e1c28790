"""Neighbor-aware calibration (NACL): logits held to the class proportions around them.

References:
    - Neighbor-Aware Calibration of Segmentation Networks with Penalty-Based Constraints
      (Murugesan et al., 2024), equation 9, https://arxiv.org/abs/2401.14487
    - Log-barrier: Constrained Deep Networks: Lagrangian Optimization via Log-Barrier Extensions
      (Kervadec et al., 2022), https://arxiv.org/abs/1904.04205
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from nacl_monai.errors import InputError
from nacl_monai.losses.composed import ComposedLoss, Penalty
from nacl_monai.losses.cross_entropy import CrossEntropyLoss
from nacl_monai.losses.neighborhood import check_neighborhood, neighborhood_proportions
from nacl_monai.losses.voxels import counted_voxels, plain_inputs, voxel_mean

PENALTIES = ("l1", "l2", "log_barrier")
SPACES = ("logits", "softmax")


def log_barrier(gap: torch.Tensor, sharpness: float) -> torch.Tensor:
    r"""The log-barrier extension of the constraint :math:`d = 0`, element by element.

    An equality is a pair of inequalities, :math:`d \le 0` and :math:`-d \le 0`, each with the
    extension :math:`\tilde\psi_t` of Kervadec et al. Their sum, less its constant, is

    .. math::

        \tilde\psi_t(d) + \tilde\psi_t(-d) - 2 \tilde\psi_t(0) = \frac{u - 1 - \log u}{t}, \quad
        u = \max(1, t^2 |d|):

    zero within a tolerance of :math:`1/t^2`, smooth beyond it, with a slope that tends to
    :math:`t`.

    Args:
        gap: The constrained value :math:`d`.
        sharpness: :math:`t`.
    """
    excess = (sharpness**2 * gap.abs()).clamp_min(1)
    return (excess - 1 - excess.log()) / sharpness


def constraint_penalty(
    scores: torch.Tensor,
    proportions: torch.Tensor,
    penalty: str = "l1",
    sharpness: float = 5.0,
    reduction: str = "mean",
) -> torch.Tensor:
    r"""The penalty :math:`\mathcal{P}(|\tau - l|)`.

    Args:
        scores: :math:`l`, ``(B, C, *spatial)``.
        proportions: :math:`\tau`, of the same shape.
        penalty: ``"l1"`` for :math:`|d|`, ``"l2"`` for :math:`d^2` (section 4.2.7 of the paper), or
            ``"log_barrier"`` for :func:`log_barrier`.
        sharpness: :math:`t` of the log-barrier.
        reduction: ``"mean"`` over all elements, or ``"none"``.
    """
    if penalty == "l1":
        # Quadratic only below the smallest normal float, so this is L1. Unlike l1_loss, it is one
        # kernel forward and one backward, and keeps no copy of the difference.
        tiny = torch.finfo(scores.dtype).tiny
        return F.smooth_l1_loss(scores, proportions, beta=tiny, reduction=reduction)
    if penalty == "l2":
        return F.mse_loss(scores, proportions, reduction=reduction)
    values = log_barrier(scores - proportions, sharpness)
    return values.mean() if reduction == "mean" else values


class NeighborhoodPenalty(Penalty):
    r"""The penalty of NACL, to be added to any loss by :class:`ComposedLoss`.

    .. math::

        \lambda \frac{1}{K} \sum_k \mathcal{P}(|\tau_j^k - l_j^k|), \quad
        \text{averaged over voxels } j

    Equation 9 of the paper sums over the classes; like the paper's own code, and as its weights
    were chosen, this is the mean over classes as well.

    Args:
        weight: :math:`\lambda`.
        prior: ``"mean"``, ``"gaussian"`` or ``"bilateral"``, see :func:`neighborhood_proportions`.
        kernel_size: The window's extent along each axis, odd.
        sigma: Standard deviation of the Gaussian weights in voxels; unused by ``"mean"``.
        penalty: ``"l1"``, ``"l2"`` or ``"log_barrier"``, see :func:`constraint_penalty`.
        space: What is held to the proportions: ``"logits"`` or ``"softmax"`` (section 4.2.2).
        border: ``"valid"`` or ``"replicate"``.
        ignore_index: Voxels of this label do not count, neither as neighbors.
        intensity_sigma: Of the bilateral prior, in the image's units.
        sharpness: :math:`t` of the log-barrier.

    Shape:
        logits ``(B, C, *spatial)``, labels ``(B, 1, *spatial)`` or ``(B, *spatial)``; a scalar out.
        With ``prior="bilateral"``, labels are ``(B, 1 + M, *spatial)``: class indices, then the
        image's :math:`M` channels, as MONAI's ``ConcatItemsd(keys=["label", "image"],
        name="label")`` makes them at the end of a training pipeline.

    Raises:
        InputError: if a setting or a shape cannot be used.
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
        super().__init__(weight, ignore_index)
        check_neighborhood(kernel_size, prior, sigma, border, intensity_sigma)
        if penalty not in PENALTIES:
            raise InputError(f"penalty is {penalty!r}; expected one of {', '.join(PENALTIES)}")
        if space not in SPACES:
            raise InputError(f"space is {space!r}; expected one of {', '.join(SPACES)}")
        if not sharpness > 0:
            raise InputError(f"sharpness is {sharpness}; expected a positive number")
        self.prior = prior
        self.kernel_size = kernel_size
        self.sigma = sigma
        self.penalty = penalty
        self.space = space
        self.border = border
        self.intensity_sigma = intensity_sigma
        self.sharpness = sharpness

    @property
    def needs_image(self) -> bool:
        """Whether ``labels`` carry the image in their further channels."""
        return self.prior == "bilateral"

    def value(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        r"""The mean of :math:`\mathcal{P}(|\tau - l|)` over classes and voxels."""
        image = None
        if self.needs_image:
            labels, image = _split_image(labels, logits.ndim)
        logits, labels = plain_inputs(logits, labels)
        proportions = neighborhood_proportions(
            labels.unsqueeze(1),
            logits.shape[1],
            self.kernel_size,
            self.prior,
            self.sigma,
            self.border,
            ignore_index=self.ignore_index,
            image=image,
            intensity_sigma=self.intensity_sigma,
            dtype=logits.dtype,
        )
        scores = logits if self.space == "logits" else logits.softmax(1)
        counted = counted_voxels(labels, self.ignore_index)
        if counted is None:
            return constraint_penalty(scores, proportions, self.penalty, self.sharpness)
        values = constraint_penalty(scores, proportions, self.penalty, self.sharpness, "none")
        return voxel_mean(values, counted)

    def extra_repr(self) -> str:
        """The settings, as they are printed."""
        return (
            f"{super().extra_repr()}, prior={self.prior!r}, kernel_size={self.kernel_size}, "
            f"sigma={self.sigma}, penalty={self.penalty!r}, space={self.space!r}, border={self.border!r}"
        )


def _split_image(labels: torch.Tensor, ndim: int) -> tuple[torch.Tensor, torch.Tensor]:
    if labels.ndim != ndim or labels.shape[1] < 2:
        raise InputError(
            f"labels have the shape {tuple(labels.shape)}, but prior 'bilateral' needs "
            "(batch, 1 + image channels, *spatial): the class indices, then the image"
        )
    return labels[:, :1], labels[:, 1:]


class NACLLoss(ComposedLoss):
    r"""Cross-entropy with logits held to the proportions of the classes around each voxel.

    .. math::

        \mathcal{L} = \mathcal{L}_{CE} + \lambda \frac{1}{K} \sum_k |\tau_j^k - l_j^k|, \quad
        \text{averaged over voxels } j

    This is equation 9 of the paper; see :class:`NeighborhoodPenalty` for the :math:`1/K`.

    Args:
        prior: ``"mean"``, ``"gaussian"`` or ``"bilateral"``, see :func:`neighborhood_proportions`.
        kernel_size: The window's extent along each axis, odd.
        sigma: Standard deviation of the Gaussian weights in voxels; unused by ``"mean"``.
        penalty: ``"l1"``, ``"l2"`` or ``"log_barrier"``, see :func:`constraint_penalty`.
        penalty_weight: :math:`\lambda`; 0 is cross-entropy.
        space: What is held to the proportions: ``"logits"`` or ``"softmax"``.
        border: ``"valid"`` or ``"replicate"``.
        ignore_index: Voxels of this label do not count, neither as neighbors.
        class_weights: One weight per class, for cross-entropy.
        intensity_sigma: Of the bilateral prior, in the image's units.
        sharpness: :math:`t` of the log-barrier.

    Shape:
        As :class:`NeighborhoodPenalty`.

    Raises:
        InputError: if a setting, shapes or label values do not fit.

    Note:
        MONAI's ``NACLLoss`` equals this one away from the border of the image, and pads the labels
        with zeros at it; see :func:`neighborhood_proportions` for its Gaussian. It takes labels
        ``(B, *spatial)`` of int64 only, needs the number of classes and of axes, has neither
        ``ignore_index`` nor the softmax, and returns the sum alone.

    Example:
        >>> loss = NACLLoss(penalty_weight=0.1)
        >>> logits = torch.zeros(1, 2, 4, 4)
        >>> labels = torch.zeros(1, 1, 4, 4)
        >>> loss(logits, labels)
        tensor(0.7431)
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
