"""Class- and region-adaptive constraints (CRaC): NACL with multipliers that are learned.

References:
    - Class and Region-Adaptive Constraints for Network Calibration (Murugesan et al., 2024),
      https://arxiv.org/abs/2403.12364, and its code, https://github.com/Bala93/CRac
    - Class Adaptive Network Calibration (Liu et al., 2023), from which the augmented Lagrangian comes,
      https://arxiv.org/abs/2211.15088
    - Practical Augmented Lagrangian Methods for Constrained Optimization (Birgin and Martínez, 2014)
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nacl_monai.errors import InputError
from nacl_monai.losses.base import ComposedLoss, Penalty
from nacl_monai.losses.cross_entropy import CrossEntropyLoss, cross_entropy
from nacl_monai.losses.inputs import (
    check_not_negative,
    convert_inputs,
    counted_mask,
    memberships,
    require,
    voxel_mean,
)
from nacl_monai.losses.neighborhood import (
    check_neighborhood,
    member_sums,
    mixed_windows,
    proportions_of,
)
from nacl_monai.words import in_our_words

# The range of a multiplier, which starts with the least.
_LEAST, _MOST = 1e-6, 1e6


@in_our_words
def crac_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    margin: float = 5.0,
    kernel_size: int = 3,
    multipliers: Tensor | float = _LEAST,
    penalty_parameter: Tensor | float = 0.1,
    class_weights: Sequence[float] | None = None,
    ignore_index: int | None = None,
) -> Tensor:
    r"""Computes cross-entropy plus the augmented Lagrangian of constraints on the logits.

    .. math::

        \mathcal{L} = \mathcal{L}_{CE} + \frac{1}{2K} \sum_k P(h_j^k, \rho_{r(j)}^k, \lambda_{r(j)}^k),
        \quad \text{averaged over voxels } j,

    see :func:`crac_penalty`.

    Args:
        margin: :math:`m`.
        kernel_size: The window's extent along each axis, odd.
        multipliers: :math:`\lambda`, ``(2, C)``, or one for all.
        penalty_parameter: :math:`\rho`, ``(2, C)``, or one for all.

    Raises:
        InputError: If a setting, shapes or label values do not fit.

    Note:
        MONAI and torch have no counterpart.

    Example:
        >>> logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
        >>> loss = crac_loss(logits, torch.zeros(1, 1, 4, 4), margin=5.0, penalty_parameter=0.1)
        >>> loss.detach()  # 0.1 · 5² / 2 for one class of two, in one of two regions
        tensor(1.0056)
        >>> loss.backward()
    """
    penalty = crac_penalty(
        logits,
        labels,
        margin=margin,
        kernel_size=kernel_size,
        multipliers=multipliers,
        penalty_parameter=penalty_parameter,
        ignore_index=ignore_index,
    )
    entropy = cross_entropy(logits, labels, class_weights=class_weights, ignore_index=ignore_index)
    return entropy + penalty


@in_our_words
def crac_penalty(
    logits: Tensor,
    labels: Tensor,
    *,
    margin: float = 5.0,
    kernel_size: int = 3,
    multipliers: Tensor | float = _LEAST,
    penalty_parameter: Tensor | float = 0.1,
    ignore_index: int | None = None,
) -> Tensor:
    r"""Computes the augmented Lagrangian of one constraint per voxel and class.

    .. math::

        \frac{1}{2K} \sum_k P(h_j^k, \rho_{r(j)}^k, \lambda_{r(j)}^k), \quad
        P(h, \rho, \lambda) = \lambda h + \tfrac{\rho}{2} h^2, \quad
        h_j^k = \begin{cases} |m \tau_j^k - l_j^k| & r(j) = \text{inner} \\
                              |\tau_j^k - l_j^k| & r(j) = \text{outer} \end{cases}

    averaged over voxels :math:`j`, where :math:`\tau` is the ``mean`` prior of
    :func:`neighborhood_proportions`. A voxel is in the outer region if there are several classes in the
    window around it, and else in the inner one. In each region, each class has a multiplier
    :math:`\lambda` and a penalty parameter :math:`\rho`.

    :math:`P` is the function of Powell, Hestenes and Rockafellar, which has this form since neither
    :math:`h` nor :math:`\lambda` is negative. As in the authors' code, it is a mean over classes and
    regions, though each voxel is in one region only.

    Args:
        margin: :math:`m`, the logit of the only class of a window.
        kernel_size: The window's extent along each axis, odd.
        multipliers: :math:`\lambda`, ``(2, C)``, inner region first; or one for all.
        penalty_parameter: :math:`\rho`, ``(2, C)``; or one for all.

    Returns:
        A scalar, 0 or more.

    Raises:
        InputError: If a setting or the shapes do not fit.

    Example:
        >>> logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
        >>> multipliers = torch.tensor([[0.4, 0.2], [0.0, 0.0]])
        >>> penalty = crac_penalty(
        ...     logits, torch.zeros(1, 1, 4, 4), multipliers=multipliers, penalty_parameter=0.0
        ... )
        >>> penalty.detach()  # 0.4 · 5 for one class of two, in one of two regions
        tensor(0.5000)
        >>> penalty.backward()
    """
    _check(margin, kernel_size)
    logits, labels = convert_inputs(logits, labels, ignore_index)
    violations, outer = _violations(logits, labels, margin, kernel_size, ignore_index)
    weight = _of_voxels("multipliers", multipliers, outer, logits)
    parameter = _of_voxels("penalty_parameter", penalty_parameter, outer, logits)
    penalties = violations * (weight + parameter / 2 * violations)
    return voxel_mean(penalties, labels, ignore_index) / 2


def _violations(
    logits: Tensor, labels: Tensor, margin: float, kernel_size: int, ignore_index: int | None
) -> tuple[Tensor, Tensor]:
    """The violation h of each constraint, ``(B, C, *spatial)``, and the outer region."""
    members = memberships(labels, logits.shape[1], ignore_index)
    sums = member_sums(members, kernel_size, "mean", 1.0, "valid", dtype=logits.dtype)
    proportions = proportions_of(sums, logits.dtype)
    outer = mixed_windows(sums)
    return (torch.where(outer, proportions, margin * proportions) - logits).abs(), outer


def _of_voxels(name: str, values: Tensor | float, outer: Tensor, logits: Tensor) -> Tensor:
    """The value of its region and class for each voxel.

    Raises:
        InputError: If values are of another number of classes.
    """
    each = torch.as_tensor(values, dtype=logits.dtype, device=logits.device)
    classes = logits.shape[1]
    if each.ndim and each.shape != (2, classes):
        raise InputError(
            f"{name}: have the shape {tuple(each.shape)}, but logits have {classes} classes; pass "
            f"{(2, classes)}, the inner region first, or one number"
        )
    inner, other = each.expand(2, classes).view(2, 1, -1, *[1] * (logits.ndim - 2))
    return torch.where(outer, other, inner)


def _check(margin: float, kernel_size: int) -> None:
    require(margin > 0, "margin", margin, "a positive number")
    check_neighborhood(kernel_size, "mean", 1.0, "valid")


class LearnedPenalty(Penalty):
    r"""An augmented Lagrangian of constraints :math:`h = 0`, with the function :math:`h \ge 0`.

    .. math::

        P(h, \rho, \lambda) = \lambda h + \tfrac{\rho}{2} h^2

    Multipliers :math:`\lambda` and penalty parameters :math:`\rho` are buffers, and so a part of
    ``state_dict()``. They are one number until :meth:`update` is called for the first time, and then
    there is one for each constraint. Calling the module changes neither. In a bundle,
    ``nacl_monai.training.Multipliers`` updates them after each validation; in a loop of your own::

        measured = [penalty.measure(network(image), label) for image, label in validation]
        penalty.update(sum(sums for sums, _ in measured), sum(voxels for _, voxels in measured))

    Args:
        weight: What the penalty is multiplied with, 0 or more.
        penalty_parameter: What each constraint starts with, 0 or more.
        **settings: What :meth:`value` passes on to its function, kept in ``settings``.

    Raises:
        InputError: If the weight or the penalty parameter is negative.
    """

    multipliers: Tensor
    penalty_parameters: Tensor
    violations: Tensor
    updates: Tensor

    def __init__(self, weight: float, penalty_parameter: float, **settings: Any) -> None:
        super().__init__(weight, **settings)
        check_not_negative("penalty_parameter", penalty_parameter)
        self.penalty_parameter = penalty_parameter
        for name, start in (
            ("multipliers", _LEAST),
            ("penalty_parameters", penalty_parameter),
            ("violations", 0.0),
        ):
            self.register_buffer(name, torch.tensor(start, dtype=torch.float64))
        self.register_buffer("updates", torch.tensor(0))

    @abstractmethod
    def measure(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, int]:
        """Sums the violations of a batch, for :meth:`update`.

        Returns:
            Their sum for each constraint, and the number of voxels.
        """

    @torch.no_grad()
    def update(
        self,
        sums: Tensor,
        voxels: int,
        *,
        growth: float = 1.2,
        decrease: float = 0.9,
        interval: int = 10,
        largest: float = 10.0,
    ) -> None:
        r"""Learns from the violations of the validation cases, which :meth:`measure` has summed.

        A multiplier becomes the mean of :math:`P'(h) = \lambda + \rho h` over all voxels. A penalty
        parameter grows at every tenth update if the mean violation of its constraint is then more than
        0.9 of that of the update before.

        Args:
            sums: The sum of each constraint.
            voxels: Their number; 0 changes nothing.
            growth: By what a penalty parameter is multiplied.
            decrease: How much of the violation before is little enough.
            interval: The number of updates from one such comparison to the next.
            largest: Beyond which no penalty parameter grows.
        """
        if not voxels:
            return
        before, self.violations = self.violations, sums.to(self.violations) / voxels
        learned = self.multipliers + self.penalty_parameters * self.violations
        self.multipliers = learned.clamp(_LEAST, _MOST)
        self.updates = self.updates + 1
        parameters = self.penalty_parameters.expand_as(self.violations).clone()
        if self.updates % interval == 0 and self.updates > 1:
            slow = self.violations > decrease * before
            grown = torch.maximum(parameters, (growth * parameters).clamp_max(largest))
            parameters = torch.where(slow, grown, parameters)
        self.penalty_parameters = parameters

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *arguments: Any
    ) -> None:
        """Takes buffers of any shape, since the number of constraints is unknown before an update."""
        for name, buffer in list(self.named_buffers()):
            if isinstance(saved := state_dict.get(prefix + name), Tensor):
                setattr(self, name, buffer.new_empty(saved.shape))
        super()._load_from_state_dict(state_dict, prefix, *arguments)

    def extra_repr(self) -> str:
        """The weight, the settings and the penalty parameter, as they would be passed."""
        return f"{super().extra_repr()}, penalty_parameter={self.penalty_parameter!r}"


class CRaCPenalty(LearnedPenalty):
    """The augmented Lagrangian as a module that keeps its multipliers, see :func:`crac_penalty`.

    :class:`LearnedPenalty` says how they are learned. Until then it is a quadratic penalty.

    Raises:
        InputError: If a setting or the shapes do not fit.

    Example:
        >>> penalty = CRaCPenalty()
        >>> logits, labels = torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 4, 4)
        >>> penalty.update(*penalty.measure(logits, labels))
        >>> penalty.multipliers[0]  # 0.1 · 5 for the class that is there
        tensor([5.0000e-01, 1.0000e-06], dtype=torch.float64)
    """

    def __init__(
        self,
        *,
        weight: float = 1.0,
        margin: float = 5.0,
        kernel_size: int = 3,
        penalty_parameter: float = 0.1,
        ignore_index: int | None = None,
    ) -> None:
        _check(margin, kernel_size)
        super().__init__(
            weight,
            penalty_parameter,
            margin=margin,
            kernel_size=kernel_size,
            ignore_index=ignore_index,
        )

    def value(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The mean over classes, regions and voxels, with the multipliers as they are."""
        return crac_penalty(
            logits,
            labels,
            multipliers=self.multipliers,
            penalty_parameter=self.penalty_parameters,
            **self.settings,
        )

    @torch.no_grad()
    def measure(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, int]:
        """Sums :math:`h` over a batch per region and class, ``(2, C)``, and counts the voxels."""
        ignore_index = self.settings["ignore_index"]
        logits, labels = convert_inputs(logits, labels, ignore_index)
        violations, outer = _violations(logits, labels, **self.settings)
        counted = counted_mask(labels, ignore_index)
        axes = (0, *range(2, logits.ndim))
        sums = [
            torch.where(counted & region, violations, 0).sum(axes) for region in (~outer, outer)
        ]
        return torch.stack(sums), int(counted.sum())


class CRaCLoss(ComposedLoss):
    """Cross-entropy with :class:`CRaCPenalty`, see :func:`crac_loss`.

    Raises:
        InputError: If a setting, shapes or label values do not fit.

    Example:
        >>> loss = CRaCLoss(margin=5.0)
        >>> logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
        >>> loss(logits, torch.zeros(1, 1, 4, 4)).backward()
        >>> loss.latest_terms
        {'cross_entropy': tensor(0.6931), 'penalty': tensor(0.3125)}
    """

    def __init__(
        self,
        *,
        margin: float = 5.0,
        kernel_size: int = 3,
        penalty_parameter: float = 0.1,
        class_weights: Sequence[float] | None = None,
        ignore_index: int | None = None,
    ) -> None:
        constraints = CRaCPenalty(
            margin=margin,
            kernel_size=kernel_size,
            penalty_parameter=penalty_parameter,
            ignore_index=ignore_index,
        )
        base = CrossEntropyLoss(class_weights=class_weights, ignore_index=ignore_index)
        super().__init__(base, [constraints])
