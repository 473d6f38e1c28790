"""One tensor of logits from networks that return a list."""

from __future__ import annotations

import torch
from torch import nn


class SingleOutput(nn.Module):
    """A network that lists its outputs, final one last, made to return the final one alone.

    MONAI's ``BasicUNetPlusPlus`` returns a list even in evaluation, which no inferer or metric
    expects. DynUNet needs no adapter: it stacks its heads in training only, final one first.

    Args:
        network: Returns a list of logits ``(B, C, *spatial)``.

    Shape:
        In evaluation, and in TorchScript, the final logits ``(B, C, *spatial)``. In training all of
        them, the final one first, as `nacl_monai.losses.DeepSupervisionLoss` weights them.

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
        """The logits of ``image``, ``(B, channels, *spatial)``."""
        if torch.jit.is_scripting():
            return self.network(image)[-1]  # type: ignore[no-any-return]
        outputs: list[torch.Tensor] = self.network(image)
        return outputs[::-1] if self.training else outputs[-1]
