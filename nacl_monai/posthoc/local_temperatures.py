r"""Local temperature scaling: a small network gives every voxel a temperature of its own.

.. math::

    p(v) = \mathrm{softmax}\big(l(v) / T(v)\big), \qquad
    T(v) = T_0\, \exp\big(g(\log \mathrm{softmax}(l / T_0), x)(v)\big)

:math:`T_0` is the best single temperature, :math:`x` the image, and :math:`g` two convolutions with a
ReLU between, bounded by :math:`\pm \log 10`. With :math:`g = 0`, where the fit begins, this is
temperature scaling. All classes of a voxel share its temperature, so every label map stays.

References:
    Local Temperature Scaling for Probability Calibration (Ding et al., ICCV 2021), whose network is a
    tree of convolutions and is trained by Adam; this one has about 1,200 numbers for four classes, and
    is fitted by L-BFGS.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy
import torch
import torch.nn.functional as F
from torch import nn

from nacl_monai.errors import InputError
from nacl_monai.posthoc.scaling import Temperature, fit_temperature
from nacl_monai.posthoc.voxels import REACH, RegionLogits

#: The largest absolute logarithm of T(v) / T₀.
LARGEST_OFFSET = math.log(10)
_HIDDEN = 8
# Two convolutions of this size see as far as the margin that `RegionLogits` keeps.
_KERNEL = REACH + 1
# Keeps the weights near those that the fit begins with, and so other patients near those of the fit.
_RIDGE = 1e-2
_ITERATIONS = 100
_SHAPES = ("first", "first_bias", "second", "second_bias")


class LocalTemperatures(nn.Module):
    """Divides the logits of each voxel of a slice by a temperature that logits and image decide.

    It sees a volume slice by slice, along the last axis.

    It can be scripted, traced and exported to ONNX.

    Args:
        temperature: T₀, above 0.
        first: Weights of the first convolution, (hidden, C + M, k, k) for M channels of the image.
        first_bias: Its biases, (hidden,).
        second: Weights of the second convolution, (1, hidden, k, k).
        second_bias: Its bias, (1,).

    Raises:
        InputError: If the temperature is not a finite number above 0, a weight is not finite, or the
            shapes do not fit.

    Example:
        >>> nothing = dict(first=[[[[0.0]]] * 3], first_bias=[0.0], second=[[[[0.0]]]])
        >>> hotter = LocalTemperatures(1.0, **nothing, second_bias=[math.log(2)])
        >>> logits, image = torch.tensor([[[[4.0]], [[-2.0]]]]), torch.zeros(1, 1, 1, 1)
        >>> [round(value, 4) for value in hotter(logits, image).flatten().tolist()]
        [2.0, -1.0]
    """

    temperature: torch.Tensor
    first: torch.Tensor
    first_bias: torch.Tensor
    second: torch.Tensor
    second_bias: torch.Tensor

    def __init__(
        self,
        temperature: float,
        first: Sequence[Any],
        first_bias: Sequence[float],
        second: Sequence[Any],
        second_bias: Sequence[float],
    ) -> None:
        super().__init__()
        self.register_buffer("temperature", Temperature(temperature).temperature)
        for name, values in zip(_SHAPES, (first, first_bias, second, second_bias), strict=True):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32))
        shapes = [tuple(getattr(self, name).shape) for name in _SHAPES]
        hidden, size = len(first_bias), len(second[0][0])
        wanted = [(hidden, len(first[0]), size, size), (hidden,), (1, hidden, size, size), (1,)]
        finite = all(getattr(self, name).isfinite().all() for name in _SHAPES)
        if shapes != wanted or not finite:
            raise InputError(
                f"local temperatures: have weights of the shapes {shapes}, or some that are not finite; "
                "fit them again"
            )

    def forward(
        self,
        logits: torch.Tensor,
        image: torch.Tensor | None = None,
        spacing: list[float] | None = None,  # noqa: ARG002 - see `Behind`
    ) -> torch.Tensor:
        """The logits over their voxels' temperatures, in their own shape and dtype.

        Args:
            logits: (B, C, H, W), or (B, C, H, W, D) of a volume.
            image: What the network has seen, (B, M, H, W), or (B, M, H, W, D).
            spacing: Not looked at.
        """
        if image is None:
            raise ValueError("image: local temperatures need the image; pass it behind the logits")
        weights = [self.first, self.first_bias, self.second, self.second_bias]
        exact, seen = logits.to(torch.float32) / self.temperature, image.to(torch.float32)
        if logits.ndim == 4:
            offset = _offset(exact, seen, weights)
        else:
            planes = _offset(_slices(exact), _slices(seen), weights)
            batch, _, height, width, depth = logits.shape
            offset = planes.reshape(batch, depth, 1, height, width).movedim(1, -1)
        return (exact / offset.exp()).to(logits.dtype)


def _slices(volumes: torch.Tensor) -> torch.Tensor:
    """(B, X, H, W, D) as (B·D, X, H, W)."""
    return volumes.movedim(-1, 1).flatten(0, 1)


def _offset(
    logits: torch.Tensor,
    image: torch.Tensor,
    weights: list[torch.Tensor],
    largest: float = LARGEST_OFFSET,
) -> torch.Tensor:
    """The logarithm of T(v) / T₀, (B, 1, H, W)."""
    first, first_bias, second, second_bias = weights
    seen = torch.cat([logits.log_softmax(1), image], 1)
    hidden = F.conv2d(seen, first, first_bias, padding="same").relu()
    offset = F.conv2d(hidden, second, second_bias, padding="same")
    return offset.clamp(-largest, largest)


def fit_local_temperatures(voxels: RegionLogits) -> LocalTemperatures:
    """Fits the network by NLL, beginning at the best single temperature, so that it is never worse.

    Args:
        voxels: The voxels of the validation patients, added with their images.

    Raises:
        InputError: If the images were left out, or if no temperature fits, see
            `nacl_monai.posthoc.fit_temperature`.
    """
    temperature = fit_temperature(voxels).temperature.item()
    volume = next(voxels.volumes())
    seen = volume.logits.shape[1] + volume.image.shape[1]
    shapes = [(_HIDDEN, seen, _KERNEL, _KERNEL), (_HIDDEN,), (1, _HIDDEN, _KERNEL, _KERNEL), (1,)]
    start = [torch.zeros(shape) for shape in shapes]
    spread = (seen * _KERNEL**2) ** -0.5
    start[0].normal_(0, spread, generator=torch.Generator().manual_seed(0))
    begun = torch.cat([tensor.flatten() for tensor in start]).double().numpy()

    def objective(theta: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        nll, slopes = _nll(voxels, theta, shapes, temperature)
        return nll + _RIDGE / 2 * ((theta - begun) ** 2).sum(), slopes + _RIDGE * (theta - begun)

    found: Any = scipy.optimize.minimize(
        objective, begun, jac=True, method="L-BFGS-B", options={"maxiter": _ITERATIONS}
    )
    weights = [part.tolist() for part in _parts(torch.from_numpy(found.x).float(), shapes)]
    return LocalTemperatures(temperature, *weights)


def _parts(theta: torch.Tensor, shapes: Sequence[tuple[int, ...]]) -> list[torch.Tensor]:
    sizes = [math.prod(shape) for shape in shapes]
    return [
        part.reshape(shape) for part, shape in zip(torch.split(theta, sizes), shapes, strict=True)
    ]


def _nll(
    voxels: RegionLogits,
    theta: npt.NDArray[np.float64],
    shapes: Sequence[tuple[int, ...]],
    temperature: float,
) -> tuple[float, npt.NDArray[np.float64]]:
    """The mean NLL, and its slopes."""
    values = torch.from_numpy(theta).float().requires_grad_()
    slopes = torch.zeros_like(values, dtype=torch.float64)
    total, patients = 0.0, 0.0
    with torch.enable_grad():
        for volume in voxels.volumes():
            scaled = volume.logits / temperature
            scaled = scaled / _offset(scaled, volume.image, _parts(values, shapes)).exp()
            kept = scaled.movedim(1, -1)[volume.kept]
            nll = volume.weight * F.cross_entropy(kept, volume.labels, reduction="sum")
            slopes += torch.autograd.grad(nll, values)[0]
            total += nll.item()
            patients += volume.weight * len(volume.labels)
    return total / patients, (slopes / patients).numpy()
