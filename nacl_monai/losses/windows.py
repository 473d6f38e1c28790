"""How the neighbors in a window are weighted and summed: the machinery of the priors."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from nacl_monai.errors import InputError
from nacl_monai.tensors import without_metadata


def _pad_with_zeros(x: torch.Tensor, axis: int, radius: int) -> torch.Tensor:
    return F.pad(x, [0, 0] * (x.ndim - 1 - axis) + [radius, radius])


def _pad_with_border(x: torch.Tensor, axis: int, radius: int) -> torch.Tensor:
    length = x.shape[axis]
    nearest = torch.arange(-radius, length + radius, device=x.device).clamp(0, length - 1)
    return x.index_select(axis, nearest)


Pad = Callable[[torch.Tensor, int, int], torch.Tensor]
BORDERS: Mapping[str, Pad] = {"valid": _pad_with_zeros, "replicate": _pad_with_border}


@dataclass(frozen=True)
class Window:
    """Everything that decides the weights, see :func:`neighborhood_proportions`.

    Attributes:
        kernel_size: The extent along each spatial axis.
        sigma: Standard deviation along each spatial axis, in voxels.
        pad: What is outside the image.
        intensity_sigma: Standard deviation of the image's differences.
        image: The image of the bilateral weights.
        dtype: In which sums are computed.
    """

    kernel_size: Sequence[int]
    sigma: Sequence[float]
    pad: Pad
    intensity_sigma: float
    image: torch.Tensor | None
    dtype: torch.dtype

    @property
    def radii(self) -> Sequence[int]:
        """Voxels to either side of the center, along each axis."""
        return [size // 2 for size in self.kernel_size]

    @property
    def is_alike(self) -> bool:
        """Whether all axes are weighted alike, as sums are then rounded."""
        return all(one == self.sigma[0] for one in self.sigma) and all(
            one == self.kernel_size[0] for one in self.kernel_size
        )

    def gaussian_taps(self) -> Sequence[Sequence[float]]:
        """For each axis, the weights of the voxels 1, 2, … away; the center weighs 1."""
        return [
            [math.exp(-(step**2) / (2 * sigma**2)) for step in range(1, radius + 1)]
            for radius, sigma in zip(self.radii, self.sigma, strict=True)
        ]


def _count(members: torch.Tensor, window: Window) -> torch.Tensor:
    """Members in each window, in the smallest integers that hold the window's size; or their shares.

    Bytes rather than floats make the prior several times cheaper than the cross-entropy beside it.
    """
    size = math.prod(window.kernel_size)
    smallest = torch.uint8 if size < 2**8 else torch.int16 if size < 2**15 else torch.int32
    members = members.to(window.dtype if members.is_floating_point() else smallest)
    taps = [[1] * radius for radius in window.radii]
    return members + _neighbor_sum(members, taps, window.pad)


def _svls_sum(members: torch.Tensor, window: Window) -> torch.Tensor:
    """Members weighted by a Gaussian whose center weighs as much as all its neighbors."""
    members = members.to(window.dtype)
    taps = window.gaussian_taps()
    # The weight of all neighbors: the product over axes, without the 1 of the center.
    logs = [math.log1p(2 * sum(along)) for along in taps]
    center = math.expm1(len(logs) * logs[0] if window.is_alike else sum(logs))
    return _neighbor_sum(members, taps, window.pad).add_(members, alpha=center)


def _blurred_sum(members: torch.Tensor, window: Window) -> torch.Tensor:
    """Members weighted by an ordinary Gaussian, whose center weighs 1."""
    members = members.to(window.dtype)
    return members + _neighbor_sum(members, window.gaussian_taps(), window.pad)


def _neighbor_sum(x: torch.Tensor, taps: Sequence[Sequence[float]], pad: Pad) -> torch.Tensor:
    """Sum over the window except its center, axis by axis; tap i of an axis weighs voxels i + 1 away.

    Leaving the center out from the start, instead of subtracting it at the end, keeps a narrow
    Gaussian exact. With :math:`a_d` the sum along axis :math:`d` without the center,
    :math:`n_d = n_{d-1} + a_d(x + n_{d-1})`.
    """
    first, *others = [axis for axis, along in enumerate(taps, 2) if along]
    neighbors = _axis_sum(x, first, taps[first - 2], pad)
    for axis in others:
        neighbors = neighbors + _axis_sum(x + neighbors, axis, taps[axis - 2], pad)
    return neighbors


def _axis_sum(x: torch.Tensor, axis: int, taps: Sequence[float], pad: Pad) -> torch.Tensor:
    radius, length = len(taps), x.shape[axis]
    padded = pad(x, axis, radius)
    nearest, *further = (
        padded.narrow(axis, radius - step, length) + padded.narrow(axis, radius + step, length)
        for step in range(1, radius + 1)
    )
    total = nearest.mul_(taps[0])
    for pair, tap in zip(further, taps[1:], strict=True):
        total.add_(pair, alpha=tap)
    return total


def _bilateral_sum(members: torch.Tensor, window: Window) -> torch.Tensor:
    """One shifted copy at a time, so that memory does not grow with the window."""
    members, image = members.to(window.dtype), _guide(members, window)
    radii, spatial = window.radii, members.shape[2:]
    padded_members, padded_image = members, image
    for axis, radius in enumerate(radii, 2):
        padded_members = window.pad(padded_members, axis, radius)
        padded_image = window.pad(padded_image, axis, radius)

    total = torch.zeros_like(members)
    for corner in itertools.product(*map(range, window.kernel_size)):
        slices = (
            slice(None),
            slice(None),
            *(slice(start, start + size) for start, size in zip(corner, spatial, strict=True)),
        )
        distance = _exponent(corner, window)
        difference = (padded_image[slices] - image).square().mean(1, keepdim=True)
        weight = torch.exp(difference.div_(-2 * window.intensity_sigma**2).sub_(distance))
        total.addcmul_(weight, padded_members[slices])
    return total


def _exponent(corner: Sequence[int], window: Window) -> float:
    """Half the squared distance of a neighbor to the center, in standard deviations."""
    steps = [start - radius for start, radius in zip(corner, window.radii, strict=True)]
    if window.is_alike:
        return sum(step**2 for step in steps) / (2 * window.sigma[0] ** 2)
    return sum(step**2 / (2 * sigma**2) for step, sigma in zip(steps, window.sigma, strict=True))


def _guide(members: torch.Tensor, window: Window) -> torch.Tensor:
    image = window.image
    if image is None:
        raise InputError("image: is missing; pass one, by which prior 'bilateral' weighs neighbors")
    if image.shape[:1] != members.shape[:1] or image.shape[2:] != members.shape[2:]:
        batch, _, *spatial = members.shape
        fitting = ", ".join(map(str, (batch, "channels", *spatial)))
        raise InputError(
            f"image: has the shape {tuple(image.shape)}; pass ({fitting}), as the labels have it"
        )
    return without_metadata(image).to(window.dtype)


PRIORS: Mapping[str, Callable[[torch.Tensor, Window], torch.Tensor]] = {
    "mean": _count,
    "gaussian": _svls_sum,
    "blur": _blurred_sum,
    "bilateral": _bilateral_sum,
}
IMAGE_PRIORS = frozenset({"bilateral"})
