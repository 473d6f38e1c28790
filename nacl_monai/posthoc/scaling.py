r"""Temperatures, one or one for each class, and vector scaling, fitted by NLL.

.. math::

    p = \mathrm{softmax}(l / T), \qquad T \in \mathbb{R} \text{ or } T \in \mathbb{R}^C; \qquad
    p = \mathrm{softmax}(s \odot l + b)

A temperature :math:`T > 1` makes every probability less extreme, :math:`T < 1` more so. One temperature
keeps the order of the classes, and with it every label map. A network can be overconfident in one
structure and not in another, which one temperature cannot mend; where classes have temperatures, or
scales and biases, of their own, they can change places. Each bias of vector scaling is at most
:data:`LARGEST_BIAS` from 0, so that the biases alone change the odds of two classes by a factor of
:math:`e^2` at most.

With the inverse temperature :math:`a = 1/T`, the mean NLL

.. math::

    L(a) = \sum_v w_v \Big(\log \sum_j e^{a\,l_{vj}} - a\,l_{v y_v}\Big)

is convex in :math:`a`, and the sign of

.. math::

    L'(a) = \sum_v w_v \Big(\sum_j p_{vj}\,l_{vj} - l_{v y_v}\Big), \qquad p_v = \mathrm{softmax}(a\,l_v)

says on which side the minimum is. The root is bracketed, so that the fit is finite and exact on any
data, whereas steps along the gradient diverge where nearly all voxels are background and certain.
The NLL is convex in scales and biases, too, which are fitted by its exact gradient.

References:
    On Calibration of Modern Neural Networks (Guo et al., 2017).
    Network Calibration by Class-Based Temperature Scaling (Frenkel and Goldberger, 2021), which fits
    class temperatures by ECE over a grid; here they are fitted by NLL, a proper score.
"""

import logging
import math
from collections.abc import Iterable, Sequence
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy
import torch
from torch import nn

from nacl_monai.errors import InputError
from nacl_monai.posthoc.voxels import FitVoxels

#: Between these a temperature is looked for.
SMALLEST, LARGEST = 0.01, 100.0
# How exactly the logarithm of the temperature is found.
_TOLERANCE = 1e-6
# How far from the logarithm of a temperature that is near it is looked for first.
_AROUND = 0.05
_LOGGER = logging.getLogger(__name__)
# Tolerances of the NLL and of its largest slope, both as shares of the NLL at the start.
_TOLERANCES = {"ftol": 1e-12, "gtol": 1e-7, "maxiter": 500, "maxfun": 1000}
#: The largest absolute bias of a class, in nats.
LARGEST_BIAS = 1.0


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

    def forward(
        self,
        logits: torch.Tensor,
        image: torch.Tensor | None = None,  # noqa: ARG002 - see `Behind`
        spacing: list[float] | None = None,  # noqa: ARG002
    ) -> torch.Tensor:
        """The logits divided by the temperature, in their own shape and dtype."""
        return logits / self.temperature.to(logits.dtype)


def fit_temperature(voxels: Iterable[FitVoxels], start: float | None = None) -> Temperature:
    """Fits one temperature by NLL.

    For logits worse than chance, hotter is always better. The temperature is then 100, at
    which all classes are nearly as probable as each other, with a warning.

    Args:
        voxels: The voxels of the validation patients; read several times.
        start: A temperature that is near, as that of a fit to some more patients.

    Raises:
        InputError: If colder is always better, as it is where every voxel is right.

    Example:
        >>> logits = torch.tensor([[3.0, 0.0]] * 4)
        >>> voxels = [FitVoxels(logits, torch.tensor([0, 0, 0, 1]), 0.25)]
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
    if start is not None:
        around = (math.log(start) - _AROUND, math.log(start) + _AROUND)
        ends = around if slope(around[0]) < 0 < slope(around[1]) else ends
    return Temperature(math.exp(scipy.optimize.brentq(slope, *ends, xtol=_TOLERANCE)))


def _slope(voxels: Iterable[FitVoxels], log_temperature: float) -> float:
    """The sign and the size of the NLL's slope; positive where a hotter temperature is worse."""

    def of_volume(volume: FitVoxels) -> float:
        total = 0.0
        for logits, labels in volume.blocks():
            above_label = logits - logits.gather(0, labels[None])
            probs = torch.softmax(above_label / math.exp(log_temperature), 0)
            total -= (probs * above_label).sum().item()
        return total

    return sum(
        volume.weight * volume.once(log_temperature, partial(of_volume, volume))
        for volume in voxels
    )


def along_classes(values: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """One value per class in the shape (C, 1, ...) and the dtype of logits (B, C, ...)."""
    return values.to(logits.dtype).reshape([-1] + [1] * (logits.dim() - 2))


def known_values(
    name: str, values: Sequence[float], count: int, *, positive: bool = False
) -> torch.Tensor:
    """The parameters of a calibrator, one per class.

    Raises:
        InputError: If there are not as many, or if one is not finite or, where it must be, positive.
    """
    wanted = "finite numbers above 0" if positive else "finite numbers"
    known = all(math.isfinite(value) and (value > 0 or not positive) for value in values)
    if not (known and len(values) == count and count):
        raise InputError(f"{name}: are {list(values)}; choose {wanted}, one for each class")
    return torch.tensor(list(values), dtype=torch.float32)


def fit_affine(voxels: Iterable[FitVoxels], largest_bias: float) -> tuple[list[float], list[float]]:
    r"""The scales and biases of the smallest mean NLL of :math:`\mathrm{softmax}(s \odot l + b)`.

    The fit begins at the best single temperature, so that it is never worse. A common bias changes no
    probability; those that are returned have mean 0, or are bounded.

    Args:
        voxels: Read at every step.
        largest_bias: The bound of each absolute bias; 0 for none.

    Raises:
        InputError: If no temperature fits.
    """
    temperature = fit_temperature(voxels).temperature.item()
    classes = next(iter(voxels)).logits.shape[1]
    start = np.concatenate([np.full(classes, 1 / temperature), np.zeros(classes)])
    # Where few voxels are in doubt, the mean over all is small, and its slopes as well.
    unit = _nll(voxels, start)[0] or 1.0
    bounds = [(1 / LARGEST, 1 / SMALLEST)] * classes + [(-largest_bias, largest_bias)] * classes
    found: Any = scipy.optimize.minimize(
        lambda theta: tuple(part / unit for part in _nll(voxels, theta)),
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options=_TOLERANCES,
    )
    scales, biases = np.split(found.x, 2)
    return scales.tolist(), biases.tolist()


def _nll(
    voxels: Iterable[FitVoxels], theta: npt.NDArray[np.float64]
) -> tuple[float, npt.NDArray[np.float64]]:
    """The mean NLL, and its slopes in scales and biases."""
    scales, biases = torch.from_numpy(theta)[:, None].chunk(2)
    total, patients = 0.0, 0.0
    slopes = torch.zeros(2, len(scales), dtype=torch.float64)
    for volume in voxels:
        patients += volume.weight * len(volume.labels)
        for logits, labels in volume.blocks():
            logs = torch.log_softmax(logits * scales + biases, 0)
            total -= volume.weight * logs.gather(0, labels[None]).sum().item()
            surplus = logs.exp()
            surplus[labels, torch.arange(len(labels))] -= 1
            slopes += volume.weight * torch.stack([(surplus * logits).sum(1), surplus.sum(1)])
    return total / patients, (slopes / patients).flatten().numpy()


class ClassTemperatures(nn.Module):
    """Divides the logits of each class by its temperature.

    It can be scripted, traced and exported to ONNX.

    Args:
        temperatures: T, one per class, above 0.

    Raises:
        InputError: If a temperature is not a finite number above 0.

    Example:
        >>> ClassTemperatures([2.0, 1.0])(torch.tensor([[[4.0], [-2.0]]])).tolist()
        [[[2.0], [-2.0]]]
    """

    temperatures: torch.Tensor

    def __init__(self, temperatures: Sequence[float]) -> None:
        super().__init__()
        values = known_values("temperatures", temperatures, len(temperatures), positive=True)
        self.register_buffer("temperatures", values)

    def forward(
        self,
        logits: torch.Tensor,
        image: torch.Tensor | None = None,  # noqa: ARG002 - see `Behind`
        spacing: list[float] | None = None,  # noqa: ARG002
    ) -> torch.Tensor:
        """The logits divided by their class's temperature, in their own shape and dtype."""
        return logits / along_classes(self.temperatures, logits)


def fit_class_temperatures(voxels: Iterable[FitVoxels]) -> ClassTemperatures:
    """Fits the temperatures by NLL, which is convex in their inverses.

    Args:
        voxels: The voxels of the validation patients; read some hundred times.

    Raises:
        InputError: If no temperature fits, see `nacl_monai.posthoc.fit_temperature`.
    """
    scales, _ = fit_affine(voxels, largest_bias=0.0)
    return ClassTemperatures([1 / scale for scale in scales])


class VectorScaling(nn.Module):
    """Multiplies the logits of each class by its scale, and adds its bias.

    It can be scripted, traced and exported to ONNX.

    Args:
        scales: s, one per class, above 0.
        biases: b, one per class.

    Raises:
        InputError: If a scale is not a finite number above 0, a bias is not finite, or their numbers
            differ.

    Example:
        >>> VectorScaling([0.5, 1.0], [0.0, 0.25])(torch.tensor([[[4.0], [-2.0]]])).tolist()
        [[[2.0], [-1.75]]]
    """

    scales: torch.Tensor
    biases: torch.Tensor

    def __init__(self, scales: Sequence[float], biases: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("scales", known_values("scales", scales, len(biases), positive=True))
        self.register_buffer("biases", known_values("biases", biases, len(scales)))

    def forward(
        self,
        logits: torch.Tensor,
        image: torch.Tensor | None = None,  # noqa: ARG002 - see `Behind`
        spacing: list[float] | None = None,  # noqa: ARG002
    ) -> torch.Tensor:
        """The logits with scales and biases, in their own shape and dtype."""
        return logits * along_classes(self.scales, logits) + along_classes(self.biases, logits)


def fit_vector_scaling(voxels: Iterable[FitVoxels]) -> VectorScaling:
    """Fits scales and biases by NLL, which is convex in them; the fit begins at the best temperature.

    Args:
        voxels: The voxels of the validation patients; read some hundred times.

    Raises:
        InputError: If no temperature fits, see `nacl_monai.posthoc.fit_temperature`.
    """
    scales, biases = fit_affine(voxels, LARGEST_BIAS)
    return VectorScaling(scales, biases)
