"""Constraints whose multipliers are learned outside of the training's steps.

References:
    - Class Adaptive Network Calibration (Liu et al., 2023), https://arxiv.org/abs/2211.15088
    - Practical Augmented Lagrangian Methods for Constrained Optimization (Birgin and Martínez, 2014)
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch

from nacl_monai.losses.composed import Penalty
from nacl_monai.losses.settings import check_not_negative

# The range of a multiplier, which starts with the least.
LEAST, MOST = 1e-6, 1e6


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

    multipliers: torch.Tensor
    penalty_parameters: torch.Tensor
    violations: torch.Tensor
    updates: torch.Tensor

    def __init__(self, weight: float, penalty_parameter: float, **settings: Any) -> None:
        super().__init__(weight, **settings)
        check_not_negative("penalty_parameter", penalty_parameter)
        self.penalty_parameter = penalty_parameter
        for name, start in (
            ("multipliers", LEAST),
            ("penalty_parameters", penalty_parameter),
            ("violations", 0.0),
        ):
            self.register_buffer(name, torch.tensor(start, dtype=torch.float64))
        self.register_buffer("updates", torch.tensor(0))

    @abstractmethod
    def measure(self, logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, int]:
        """Sums the violations of a batch, for :meth:`update`.

        Returns:
            Their sum for each constraint, and the number of voxels.
        """

    @torch.no_grad()
    def update(
        self,
        sums: torch.Tensor,
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
        self.multipliers = learned.clamp(LEAST, MOST)
        self.updates = self.updates + 1
        parameters = self.penalty_parameters.expand_as(self.violations).clone()
        if self.updates % interval == 0 and self.updates > 1:
            slow = self.violations > decrease * before
            grown = torch.maximum(parameters, (growth * parameters).clamp_max(largest))
            parameters = torch.where(slow, grown, parameters)
        self.penalty_parameters = parameters

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        """Takes buffers of any shape, since the number of constraints is unknown before an update."""
        for name, buffer in list(self.named_buffers()):
            if isinstance(saved := state_dict.get(prefix + name), torch.Tensor):
                setattr(self, name, buffer.new_empty(saved.shape))
        super()._load_from_state_dict(state_dict, prefix, *others)

    def extra_repr(self) -> str:
        """The weight, the settings and the penalty parameter, as they would be passed."""
        return f"{super().extra_repr()}, penalty_parameter={self.penalty_parameter!r}"
