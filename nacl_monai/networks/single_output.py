"""Makes networks that return a list of outputs return one."""

from __future__ import annotations

import torch
from torch import nn


class SingleOutput(nn.Module):
    """Wraps a network that returns a list of outputs, so that evaluation gives the final one only.

    MONAI's ``BasicUNetPlusPlus`` returns a list even in evaluation, which no inferer or metric
    expects. DynUNet needs no wrapper: it stacks its heads in training only, the final one first.

    Args:
        network: Returns a list of logits ``(B, C, *spatial)``, the final ones last.

    Shape:
        In evaluation and in TorchScript, the final logits ``(B, C, *spatial)``. In training all of
        them, the final ones first, as ``nacl_monai.losses.DeepSupervisionLoss`` weights them.

    Example:
        >>> from monai.networks.nets import BasicUNetPlusPlus
        >>> network = SingleOutput(BasicUNetPlusPlus(2, 1, 3, (4, 4, 4, 4, 4, 4), True))
        >>> image = torch.rand(2, 1, 32, 48)
        >>> [list(logits.shape) for logits in network(image)]
        [[2, 3, 32, 48], [2, 3, 32, 48], [2, 3, 32, 48], [2, 3, 32, 48]]
        >>> list(network.eval()(image).shape)
        [2, 3, 32, 48]
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """Computes the logits of ``image``, ``(B, channels, *spatial)``."""
        if torch.jit.is_scripting():
            return self.network(image)[-1]  # type: ignore[no-any-return]
        outputs: list[torch.Tensor] = self.network(image)
        return outputs[::-1] if self.training else outputs[-1]
