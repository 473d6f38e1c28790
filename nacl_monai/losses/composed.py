"""A base loss and any number of penalties: one class for every combination."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from nacl_monai.losses.base import FunctionModule, SegmentationLoss
from nacl_monai.losses.foreign import as_segmentation_loss
from nacl_monai.losses.settings import check_not_negative


class Penalty(FunctionModule, ABC):
    r"""A weighted penalty :math:`\lambda \mathcal{P}` to add to a loss.

    Args:
        weight: :math:`\lambda \ge 0`.
        **settings: What :meth:`value` passes on to its function, kept in ``settings``.

    Raises:
        InputError: If the weight is negative.
    """

    def __init__(self, weight: float, **settings: Any) -> None:
        super().__init__(**settings)
        check_not_negative("weight", weight)
        self.weight = weight

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
        """The weight and the settings, as they would be passed."""
        return f"weight={self.weight!r}, {super().extra_repr()}"


class ComposedLoss(SegmentationLoss):
    r"""A base loss plus penalties: :math:`\mathcal{L} + \sum_i \lambda_i \mathcal{P}_i`.

    Dice and cross-entropy with the NACL penalty, in a configuration::

        loss_function:
          _target_: nacl_monai.losses.ComposedLoss
          base: {_target_: nacl_monai.losses.DiceCELoss}
          penalties:
            - {_target_: nacl_monai.losses.NeighborhoodPenalty, weight: 0.1}

    Args:
        base: Any loss of this package, or another, see `ForeignLoss`.
        penalties: What to add to it.

    Shape:
        logits ``(B, C, *spatial)``; labels ``(B, 1, *spatial)`` or ``(B, *spatial)``, or soft ones
        ``(B, C, *spatial)``; a scalar out.
        If a penalty needs the image, labels are ``(B, 1 + M, *spatial)``: the class indices, then
        the image's :math:`M` channels.

    Example:
        >>> from nacl_monai.losses import DiceCELoss, NeighborhoodPenalty
        >>> loss = ComposedLoss(DiceCELoss(), [NeighborhoodPenalty(weight=0.1)])
        >>> logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
        >>> loss(logits, torch.zeros(1, 1, 4, 4)).backward()
        >>> loss.latest_terms
        {'cross_entropy': tensor(0.6931), 'dice': tensor(0.6667), 'penalty': tensor(0.0500)}
    """

    def __init__(self, base: nn.Module, penalties: Sequence[Penalty]) -> None:
        super().__init__()
        self.base = as_segmentation_loss(base)
        self.penalties = nn.ModuleList(penalties)

    @property
    def needs_image(self) -> bool:
        """Whether ``labels`` carry the image in their further channels."""
        return any(needs_image(part) for part in (self.base, *self.penalties))

    def terms(self, logits: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Those of the base, then ``penalty``, ``penalty_2``, … in the order given."""

        def labels_for(part: nn.Module) -> torch.Tensor:
            return labels[:, :1] if self.needs_image and not needs_image(part) else labels

        # Penalties first: backward then frees the base's buffers before it computes theirs.
        values = [penalty(logits, labels_for(penalty)) for penalty in self.penalties]
        terms = dict(self.base.terms(logits, labels_for(self.base)))
        for value in values:
            number = 1 + sum(name.startswith("penalty") for name in terms)
            terms["penalty" if number == 1 else f"penalty_{number}"] = value
        return terms


def needs_image(loss: nn.Module) -> bool:
    """Whether ``labels`` must carry the image in their further channels; False for other losses."""
    return bool(getattr(loss, "needs_image", False))
