r"""Temperature scaling: one number for all logits.

.. math::

    p = \mathrm{softmax}(l / T)

A temperature :math:`T > 1` makes every probability less extreme, :math:`T < 1` more so. The order of
the classes, and with it every label map, stays the same.

With the inverse temperature :math:`a = 1/T`, the mean NLL

.. math::

    L(a) = \sum_v w_v \Big(\log \sum_j e^{a\,l_{vj}} - a\,l_{v y_v}\Big)

is convex in :math:`a`, and the sign of

.. math::

    L'(a) = \sum_v w_v \Big(\sum_j p_{vj}\,l_{vj} - l_{v y_v}\Big), \qquad p_v = \mathrm{softmax}(a\,l_v)

says on which side the minimum is. The root is bracketed, so that the fit is finite and exact on any
data, whereas steps along the gradient diverge where nearly all voxels are background and certain.

References:
    On Calibration of Modern Neural Networks (Guo et al., 2017).
"""

import logging
import math
from collections.abc import Iterable
from functools import cache

import torch
from scipy.optimize import brentq
from torch import nn

from nacl_monai.errors import InputError
from nacl_monai.posthoc.region_logits import Voxels

#: Between these a temperature is looked for.
SMALLEST, LARGEST = 0.01, 100.0
# How exactly the logarithm of the temperature is found.
_TOLERANCE = 1e-6
_LOGGER = logging.getLogger(__name__)


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

    def __init__(self, temperature: float) -> None:
        super().__init__()
        if not (math.isfinite(temperature) and temperature > 0):
            raise InputError(f"temperature: is {temperature}; choose a finite number above 0")
        self.register_buffer("temperature", torch.tensor(temperature, dtype=torch.float32))

    def forward(self, logits: torch.Tensor, image: torch.Tensor | None = None) -> torch.Tensor:  # noqa: ARG002 - see `Behind`
        """The logits divided by the temperature, in their own shape and dtype."""
        return logits / self.temperature.to(logits.dtype)


def fit_temperature(voxels: Iterable[Voxels]) -> Temperature:
    """Fits one temperature by NLL.

    Where the logits are worse than chance, hotter is always better. The temperature is then 100, at
    which all classes are nearly as probable as each other, with a warning.

    Args:
        voxels: The voxels of the validation patients; read several times.

    Raises:
        InputError: If colder is always better, as it is where every voxel is right.

    Example:
        >>> logits = torch.tensor([[3.0, 0.0]] * 4)
        >>> voxels = [Voxels(logits, torch.tensor([0, 0, 0, 1]), 0.25)]
        >>> round(fit_temperature(voxels).temperature.item(), 4)  # 3 / log(3)
        2.7307
    """
    ends = (math.log(SMALLEST), math.log(LARGEST))
    slope = cache(lambda log_temperature: _slope(voxels, log_temperature))
    if slope(ends[0]) >= 0:
        raise InputError(
            f"temperature: none above {SMALLEST:g} fits, since colder is always better; "
            "fit on more patients or on another region"
        )
    if slope(ends[1]) <= 0:
        _LOGGER.warning(
            "temperature: %g, the hottest that is tried, since the logits are worse than chance",
            LARGEST,
        )
        return Temperature(LARGEST)
    return Temperature(math.exp(brentq(slope, *ends, xtol=_TOLERANCE)))


def _slope(voxels: Iterable[Voxels], log_temperature: float) -> float:
    """The sign and the size of the NLL's slope; positive where a hotter temperature is worse."""
    total = 0.0
    for volume in voxels:
        for logits, labels in volume.blocks():
            above_label = logits - logits.gather(0, labels[None])
            probs = torch.softmax(above_label / math.exp(log_temperature), 0)
            total -= volume.weight * (probs * above_label).sum().item()
    return total
