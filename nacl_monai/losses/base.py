"""What every loss of this package shares: a value that is the sum of named terms."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import nn


class FunctionModule(nn.Module):
    """A module around a function: it keeps the function's keyword arguments and prints them.

    Args:
        **settings: The keyword arguments.
    """

    settings: dict[str, Any]

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.settings = settings

    def extra_repr(self) -> str:
        """The settings, as they would be passed."""
        return ", ".join(f"{name}={value!r}" for name, value in self.settings.items())


class SegmentationLoss(FunctionModule, ABC):
    r"""A segmentation loss :math:`\mathcal{L} = \sum_i t_i` with named terms :math:`t_i`.

    Subclasses define :meth:`terms`, which calls pure functions. Calling the module returns the sum
    and keeps the detached terms of the latest call in :attr:`latest_terms`, from which training
    curves are drawn without a second forward pass.

    Args:
        **settings: What :meth:`terms` passes on to its function, kept in ``settings``.
    """

    latest_terms: dict[str, torch.Tensor]

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.latest_terms = {}

    @abstractmethod
    def terms(self, logits: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """The named terms whose sum is the loss, each a scalar that includes its weight.

        Args:
            logits: Output of a network before softmax, ``(B, C, *spatial)``, 2-D or 3-D.
            labels: Class indices, ``(B, 1, *spatial)`` or ``(B, *spatial)``, of any integer or
                float dtype; or one-hot or soft labels, ``(B, C, *spatial)``, which sum to 1.
        """

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss, a scalar: the sum of :meth:`terms`."""
        terms = self.terms(logits, labels)
        self.latest_terms = {name: value.detach() for name, value in terms.items()}
        return torch.stack(list(terms.values())).sum()
