"""A calibrator behind a network: together they are a network again."""

import torch
from torch import nn


class Behind(nn.Module):
    """Calibrates the logits of a network, and shows the calibrator the image as well.

    Args:
        network: From image (B, M, ...) to logits (B, C, ...).
        calibrator: From logits, and the image if it wants to see it, to logits.

    Example:
        >>> from nacl_monai.posthoc import Temperature
        >>> Behind(nn.Identity(), Temperature(2.0))(torch.tensor([[4.0, -2.0]])).tolist()
        [[2.0, -1.0]]
    """

    def __init__(self, network: nn.Module, calibrator: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.calibrator = calibrator

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """The calibrated logits (B, C, ...)."""
        logits: torch.Tensor = self.network(image)
        calibrated: torch.Tensor = self.calibrator(logits, image)
        return calibrated
