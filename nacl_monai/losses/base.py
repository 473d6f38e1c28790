"""What every loss of this package shares: a value that is the sum of named terms."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import nn


class SegmentationLoss(nn.Module, ABC):
    r"""A segmentation loss :math:`\mathcal{L} = \sum_i t_i` with named terms :math:`t_i`.

    Subclasses define :meth:`terms`, a pure function. Calling the module returns the sum, and keeps
    the detached terms of the latest call in :attr:`latest_terms`, from which training curves are
    drawn without a second forward pass.
    """

    latest_terms: dict[str, torch.Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.latest_terms = {}

    @abstractmethod
    def terms(self, logits: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """The named terms whose sum is the loss, each a scalar that carries its weight.

        Args:
            logits: Network output before softmax, ``(B, C, *spatial)``, 2-D or 3-D.
            labels: Class indices, ``(B, 1, *spatial)`` or ``(B, *spatial)``, any integer or float
                dtype that holds whole numbers.
        """

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss, a scalar: the sum of :meth:`terms`."""
        terms = self.terms(logits, labels)
        self.latest_terms = {name: value.detach() for name, value in terms.items()}
        return torch.stack(list(terms.values())).sum()
