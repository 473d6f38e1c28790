"""A base loss and any number of penalties: one class for every combination."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import nn

from nacl_monai.errors import InputError
from nacl_monai.losses.base import SegmentationLoss


class Penalty(nn.Module, ABC):
    r"""A weighted penalty :math:`\lambda \mathcal{P}` to add to a loss.

    Args:
        weight: :math:`\lambda \ge 0`.
        ignore_index: Voxels of this label do not count.

    Raises:
        InputError: if the weight is negative.
    """

    def __init__(self, weight: float, ignore_index: int | None) -> None:
        super().__init__()
        if not weight >= 0:
            raise InputError(f"the weight of a penalty is {weight}; expected 0 or more")
        self.weight = weight
        self.ignore_index = ignore_index

    @property
    def needs_image(self) -> bool:
        """Whether ``labels`` carry the image in their further channels."""
        return False

    @abstractmethod
    def value(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        r"""The penalty :math:`\mathcal{P}` without its weight, a scalar."""

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The penalty times its weight."""
        return self.weight * self.value(logits, labels)

    def extra_repr(self) -> str:
        """The settings, as they are printed."""
        return f"weight={self.weight}, ignore_index={self.ignore_index}"


class ComposedLoss(SegmentationLoss):
    r"""A base loss plus penalties: :math:`\mathcal{L} + \sum_i \lambda_i \mathcal{P}_i`.

    Dice and cross-entropy with the NACL penalty, in a configuration::

        loss_function:
          _target_: nacl_monai.losses.ComposedLoss
          base: {_target_: nacl_monai.losses.DiceCELoss}
          penalties:
            - {_target_: nacl_monai.losses.NeighborhoodPenalty, weight: 0.1}

    Args:
        base: Any loss of this package.
        penalties: What to add to it.

    Shape:
        logits ``(B, C, *spatial)``, labels ``(B, 1, *spatial)`` or ``(B, *spatial)``; a scalar out.
        If a penalty takes the image, labels are ``(B, 1 + M, *spatial)``: the class indices, then
        the image's channels.
    """

    def __init__(self, base: SegmentationLoss, penalties: Sequence[Penalty]) -> None:
        super().__init__()
        self.base = base
        self.penalties = nn.ModuleList(penalties)

    @property
    def needs_image(self) -> bool:
        """Whether ``labels`` carry the image in their further channels."""
        return any(getattr(part, "needs_image", False) for part in (self.base, *self.penalties))

    def terms(self, logits: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """The base's, then ``penalty``, ``penalty_2``, … in the order given."""

        def labels_for(part: nn.Module) -> torch.Tensor:
            surplus = self.needs_image and not getattr(part, "needs_image", False)
            return labels[:, :1] if surplus else labels

        # Penalties first: backward then frees the base's buffers before it computes theirs.
        values = [penalty(logits, labels_for(penalty)) for penalty in self.penalties]
        terms = dict(self.base.terms(logits, labels_for(self.base)))
        for value in values:
            number = 1 + sum(name.startswith("penalty") for name in terms)
            terms["penalty" if number == 1 else f"penalty_{number}"] = value
        return terms
