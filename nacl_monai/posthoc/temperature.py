r"""Temperature scaling: one number for all logits.

.. math::

    p = \mathrm{softmax}(l / T)

A temperature :math:`T > 1` makes every probability less extreme, :math:`T < 1` more so. The order of
the classes, and with it every label map, stays the same.

References:
    On Calibration of Modern Neural Networks (Guo et al., 2017).
"""

import math

import torch
from torch import nn

from nacl_monai.errors import InputError


class Temperature(nn.Module):
    """Divides logits by a temperature.

    It can be scripted, traced and exported to ONNX. A temperature of 1 returns the logits bit by bit.

    Args:
        temperature: T, above 0.

    Raises:
        InputError: If the temperature is not a finite number above 0.

    Example:
        >>> Temperature(2.0)(torch.tensor([[[4.0], [-2.0]]])).tolist()
        [[[2.0], [-1.0]]]
    """

    # TorchScript reads this annotation, which must therefore be no string.
    temperature: torch.Tensor

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        if not (math.isfinite(temperature) and temperature > 0):
            raise InputError(f"temperature: is {temperature}; choose a finite number above 0")
        self.register_buffer("temperature", torch.tensor(temperature, dtype=torch.float32))

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        """The logits divided by the temperature, in their own shape and dtype."""
        return logits / self.temperature.to(logits.dtype)
