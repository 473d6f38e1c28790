r"""Neighbor-aware calibration (NACL): logits near the class proportions around each voxel.

.. math::

    \mathcal{L} = \mathcal{L}_{CE} + \lambda \frac{1}{K} \sum_k \mathcal{P}(|\tau_j^k - l_j^k|), \quad
    \text{averaged over voxels } j

References:
    - Neighbor-Aware Calibration of Segmentation Networks with Penalty-Based Constraints (Murugesan et
      al., 2024), equation 9 and, for L2, section 4.2.7, https://arxiv.org/abs/2401.14487
    - Log-barrier: Constrained Deep Networks: Lagrangian Optimization via Log-Barrier Extensions
      (Kervadec et al., 2022), https://arxiv.org/abs/1904.04205
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import TYPE_CHECKING, Any, TypedDict

import torch
from torch import Tensor
from torch.nn import functional as F

from nacl_monai.errors import SettingError
from nacl_monai.losses.base import ComposedLoss, Penalty
from nacl_monai.losses.cross_entropy import CrossEntropyLoss, cross_entropy
from nacl_monai.losses.dice_ce import DiceCELoss, dice_ce_loss
from nacl_monai.losses.inputs import (
    check_not_negative,
    check_option,
    convert_inputs,
    counted_mask,
    masked_mean,
    memberships,
    require,
    split_image,
    voxel_mean,
)
from nacl_monai.losses.neighborhood import (
    IMAGE_PRIORS,
    PerAxis,
    check_neighborhood,
    check_width,
    member_sums,
    mixed_windows,
    proportions_of,
    window_in_voxels,
)
from nacl_monai.words import in_our_words, with_settings_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

_OF_PENALTY = ("penalty", "space", "sharpness", "where", "mean_over")
_OF_PRIOR = ("kernel_size", "prior", "sigma", "border", "intensity_sigma")
# What MONAI calls settings of ours.
_MONAIS = {"alpha": "penalty_weight", "distance_type": "penalty", "kernel_ops": "prior"}
# What is near the proportions, computed from logits.
SPACES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "logits": lambda logits: logits,
    "softmax": lambda logits: logits.softmax(1),
}


class Constraint(TypedDict, total=False):
    """The settings of :func:`neighborhood_penalty`, which says what they are by default."""

    prior: str
    kernel_size: PerAxis[int]
    sigma: PerAxis[float]
    penalty: str
    space: str
    where: str
    mean_over: str
    border: str
    include_center: bool
    ignore_index: int | None
    image: Tensor | None
    intensity_sigma: float
    sharpness: float
    width_mm: float | None
    spacing: Sequence[float] | None


@in_our_words
def neighborhood_penalty(
    logits: Tensor,
    labels: Tensor,
    *,
    prior: str = "mean",
    kernel_size: PerAxis[int] = 3,
    sigma: PerAxis[float] = 1.0,
    penalty: str = "l1",
    space: str = "logits",
    where: str = "everywhere",
    mean_over: str = "all",
    border: str = "valid",
    include_center: bool = True,
    ignore_index: int | None = None,
    image: Tensor | None = None,
    intensity_sigma: float = 0.1,
    sharpness: float = 5.0,
    width_mm: float | None = None,
    spacing: Sequence[float] | None = None,
) -> Tensor:
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
    _check_penalty(penalty, space, sharpness, where, mean_over)
    original = labels  # which may know the size of their voxels
    logits, labels = convert_inputs(logits, labels, ignore_index)
    axes = logits.ndim - 2
    kernel_size, sigma = window_in_voxels(
        original, axes, prior, kernel_size, sigma, width_mm, spacing
    )
    members = memberships(labels, logits.shape[1], ignore_index)
    settings = border, image, intensity_sigma, logits.dtype, include_center
    sums = member_sums(members, kernel_size, prior, sigma, *settings)
    proportions = proportions_of(sums, logits.dtype)
    scores = SPACES[space](logits)
    penalize = PENALTIES[penalty]
    if where == "everywhere" and ignore_index is None:
        return penalize(scores, proportions, "mean", sharpness)
    penalties = penalize(scores, proportions, "none", sharpness)
    if where == "everywhere":
        return voxel_mean(penalties, labels, ignore_index)
    mixed = mixed_windows(sums)
    penalties = penalties * mixed.to(penalties.dtype)
    if mean_over == "all":
        return voxel_mean(penalties, labels, ignore_index)
    if ignore_index is None:
        return penalties.sum() / (mixed.sum() * penalties.shape[1]).clamp_min(1)
    return masked_mean(penalties, mixed & counted_mask(labels, ignore_index))


def _check_penalty(penalty: str, space: str, sharpness: float, where: str, mean_over: str) -> None:
    check_option("penalty", PENALTIES, penalty)
    check_option("space", SPACES, space)
    require(sharpness > 0, "sharpness", sharpness, "a positive number")
    check_option("where", ("everywhere", "mixed"), where)
    check_option("mean_over", ("all", "mixed"), mean_over)
    useful = where == "mixed" or mean_over == "all"
    require(useful, "mean_over", mean_over, "where='mixed' with it, or leave it out")


@in_our_words
@with_settings_of(neighborhood_penalty)
def nacl_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    penalty_weight: float = 0.1,
    dice_weight: float = 0.0,
    class_weights: Sequence[float] | None = None,
    **constraint: Unpack[Constraint],
) -> Tensor:
    r"""Computes cross-entropy plus a penalty on logits that differ from the proportions around them.

    .. math::

        \mathcal{L} = \mathcal{L}_{CE}
            + \lambda \frac{1}{K} \sum_k \mathcal{P}(|\tau_j^k - l_j^k|), \quad
        \text{averaged over voxels } j

    This is equation 9 of the paper, which sums over the classes; like the paper's own code, and as
    its weights were chosen, this is the mean over classes as well. In 2-D with the paper's prior,
    with labels of int64::

        tau = avg_pool2d(one_hot(labels), 3, 1, 1, count_include_pad=False)
        loss = cross_entropy(logits, labels) + 0.1 * (tau - logits).abs().mean()

    Those of the prior :math:`\tau` (``prior``, ``kernel_size``, ``sigma``, ``border``,
    ``include_center``, ``image``, ``intensity_sigma``, ``width_mm`` and ``spacing``) are the arguments
    of :func:`neighborhood_proportions`.

    Args:
        logits: ``(B, C, *spatial)`` before softmax, 2-D or 3-D.
        labels: Class indices, ``(B, 1, *spatial)`` or ``(B, *spatial)``.
        penalty: :math:`\mathcal{P}`: ``"l1"`` for :math:`|d|`, ``"l2"`` for :math:`d^2`, or
            ``"log_barrier"`` for :func:`log_barrier`.
        penalty_weight: :math:`\lambda \ge 0`; 0 gives cross-entropy.
        dice_weight: Weight of soft Dice in a base of cross-entropy and Dice, see :func:`dice_ce_loss`.
        space: What is constrained: ``"logits"``, or their ``"softmax"`` (section 4.2.2).
        where: ``"everywhere"`` as in the paper, or only where the window holds several classes, so that
            no :math:`\tau_j^k` is 1: ``"mixed"``. Elsewhere the penalty is then 0.
        mean_over: The voxels over which the penalty is averaged: ``"all"``, so that it is the paper's
            without the other voxels; or the ``"mixed"`` ones, so that their penalty weighs the same
            however few they are.
        sharpness: :math:`t` of the log-barrier.

    Returns:
        The loss, 0-d.

    Raises:
        InputError: If a setting, shapes or label values do not fit.

    Note:
        MONAI's ``NACLLoss`` equals this one away from the border of the image, where it pads the
        labels with zeros; see :func:`neighborhood_proportions` for its Gaussian. It takes labels
        ``(B, *spatial)`` of int64 only, must be told the number of classes and of axes, has neither
        ``ignore_index`` nor the softmax, and returns the sum only. Its words (``classes``, ``dim``,
        ``distance_type``, ``alpha``, and ``kernel_ops="mean"``) are taken by the module.

    Example:
        >>> logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
        >>> loss = nacl_loss(logits, torch.zeros(1, 1, 4, 4), penalty_weight=0.1)
        >>> loss.detach()
        tensor(0.7431)
        >>> loss.backward()
    """
    _check_weights(penalty_weight, dice_weight)
    gap = neighborhood_penalty(logits, labels, **constraint)
    shared: dict[str, Any] = {
        "class_weights": class_weights,
        "ignore_index": constraint.get("ignore_index"),
    }
    if dice_weight > 0:
        base = dice_ce_loss(logits, labels, dice_weight=dice_weight, **shared)
    else:
        base = cross_entropy(logits, labels, **shared)
    return base + penalty_weight * gap


class NACLLoss(ComposedLoss):
    """NACL as a module: cross-entropy with :class:`NeighborhoodPenalty`, see :func:`nacl_loss`.

    Raises:
        InputError: If a setting, shapes or label values do not fit.

    Example:
        >>> loss = NACLLoss(penalty_weight=0.1)
        >>> logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
        >>> loss(logits, torch.zeros(1, 1, 4, 4)).backward()
        >>> loss.latest_terms
        {'cross_entropy': tensor(0.6931), 'penalty': tensor(0.0500)}
    """

    #: MONAI's words: a configuration of ``monai.losses.NACLLoss`` needs only another ``_target_``.
    accepted = frozenset({"classes", "dim", *_MONAIS})

    @with_settings_of(nacl_loss, "image")
    def __init__(self, **settings: Any) -> None:
        self._expected = _without_monais(settings)
        bound = signature(NACLLoss).bind(**settings)
        bound.apply_defaults()
        constraint = bound.arguments
        penalty_weight, dice_weight, class_weights = (
            constraint.pop(name) for name in ("penalty_weight", "dice_weight", "class_weights")
        )
        _check_weights(penalty_weight, dice_weight)
        shared: dict[str, Any] = {
            "class_weights": class_weights,
            "ignore_index": constraint["ignore_index"],
        }
        base = (
            DiceCELoss(dice_weight=dice_weight, **shared)
            if dice_weight > 0
            else CrossEntropyLoss(**shared)
        )
        super().__init__(base, [NeighborhoodPenalty(weight=penalty_weight, **constraint)])

    def terms(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """``cross_entropy``, with Dice ``dice``, and ``penalty``."""
        for word, expected in self._expected.items():
            found = logits.shape[1] if word == "classes" else logits.ndim - 2
            remedy = f"{found}, as the logits have, or leave it out"
            require(expected == found, word, expected, remedy)
        return super().terms(logits, labels)


def _without_monais(settings: dict[str, Any]) -> dict[str, int]:
    """Puts our words in place of MONAI's; returns the classes and axes that the logits must have."""
    for word, ours in _MONAIS.items():
        if word in settings:
            alone = ours not in settings
            require(alone, word, settings[word], f"either it or {ours}, which is its name here")
            settings[ours] = settings.pop(word)
            if word == "kernel_ops" and settings[ours] == "gaussian":
                raise SettingError(
                    "kernel_ops: is 'gaussian', an ordinary Gaussian of any extent in MONAI; pass "
                    "prior='blur' with kernel_size, or prior='gaussian' for the paper's"
                )
    return {word: settings.pop(word) for word in ("classes", "dim") if word in settings}


def _check_weights(penalty_weight: float, dice_weight: float) -> None:
    check_not_negative("penalty_weight", penalty_weight)
    check_not_negative("dice_weight", dice_weight)


def log_barrier(gap: Tensor, sharpness: float = 5.0) -> Tensor:
    r"""Computes the log-barrier extension of the constraint :math:`d = 0`, element by element.

    An equality is a pair of inequalities, :math:`d \le 0` and :math:`-d \le 0`, each with the
    extension :math:`\tilde\psi_t` of Kervadec et al. (equation 8). Their sum, less its constant, is

    .. math::

        \tilde\psi_t(d) + \tilde\psi_t(-d) - 2 \tilde\psi_t(0) = \frac{u - 1 - \log u}{t}, \quad
        u = \max(1, t^2 |d|):

    zero within a tolerance of :math:`1/t^2`, smooth beyond it, with a slope that tends to
    :math:`t`.

    Args:
        gap: The constrained value :math:`d`.
        sharpness: :math:`t`.

    Returns:
        A tensor of the same shape.

    Example:
        >>> gap = torch.tensor([0.0, 0.04, 1.0], requires_grad=True)
        >>> penalty = log_barrier(gap, sharpness=5.0)
        >>> penalty.detach()
        tensor([0.0000, 0.0000, 4.1562])
        >>> penalty.sum().backward()
    """
    excess = (sharpness**2 * gap.abs()).clamp_min(1)
    return (excess - 1 - excess.log()) / sharpness


def _l1(scores: Tensor, proportions: Tensor, reduction: str, _sharpness: float) -> Tensor:
    # Quadratic only below the smallest normal float, so this is L1. Unlike l1_loss, it is one
    # kernel forward and one backward, and keeps no copy of the difference.
    tiny = torch.finfo(scores.dtype).tiny
    return F.smooth_l1_loss(scores, proportions, beta=tiny, reduction=reduction)


def _l2(scores: Tensor, proportions: Tensor, reduction: str, _sharpness: float) -> Tensor:
    return F.mse_loss(scores, proportions, reduction=reduction)


def _log_barrier(scores: Tensor, proportions: Tensor, reduction: str, sharpness: float) -> Tensor:
    penalties = log_barrier(scores - proportions, sharpness)
    return penalties.mean() if reduction == "mean" else penalties


# P(|τ - l|), called with (scores, proportions, reduction, sharpness).
PENALTIES: Mapping[str, Callable[[Tensor, Tensor, str, float], Tensor]] = {
    "l1": _l1,
    "l2": _l2,
    "log_barrier": _log_barrier,
}


class NeighborhoodPenalty(Penalty):
    """The penalty of NACL as a module, to be added to any loss by :class:`ComposedLoss`.

    ``weight`` multiplies it; all other arguments are those of :func:`nacl_loss`.

    Shape:
        As for any loss. With ``prior="bilateral"``, labels are ``(B, 1 + M, *spatial)``: class indices,
        then the image's :math:`M` channels, as MONAI's ``ConcatItemsd(keys=["label", "image"],
        name="label")`` makes them at the end of a training pipeline.

    Raises:
        InputError: If a setting or a shape cannot be used.

    Example:
        >>> logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
        >>> NeighborhoodPenalty(weight=0.1)(logits, torch.zeros(1, 1, 4, 4)).backward()
    """

    @with_settings_of(neighborhood_penalty, "image")
    def __init__(self, *, weight: float = 0.1, **constraint: Unpack[Constraint]) -> None:
        bound = signature(NeighborhoodPenalty).bind(weight=weight, **constraint)
        bound.apply_defaults()
        settings = {name: value for name, value in bound.arguments.items() if name != "weight"}
        check_neighborhood(**{name: settings[name] for name in _OF_PRIOR})
        _check_penalty(**{name: settings[name] for name in _OF_PENALTY})
        check_width(settings["width_mm"], settings["spacing"])
        super().__init__(weight, **settings)

    @property
    def needs_image(self) -> bool:
        """Whether ``labels`` carry the image in their further channels."""
        return self.settings["prior"] in IMAGE_PRIORS

    def value(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The mean penalty over classes and voxels."""
        image = None
        if self.needs_image:
            labels, image = split_image(labels, logits.ndim)
        return neighborhood_penalty(logits, labels, image=image, **self.settings)
