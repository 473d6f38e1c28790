r"""Priors: how one rater's mask becomes a probability of what another rater says.

Let the border of another rater be :math:`\delta` mm away from that of this one, with a standard
deviation :math:`w` over patients and places. Across a straight border, at the signed distance :math:`d`
inside,

.. math::

    P(\text{other marks it} \mid d) = P(\delta < d) = F(d / w)

A blur by a Gaussian of :math:`\sigma = w` is this probability for :math:`\delta` normal, a mean over a
window for :math:`\delta` uniform, and a logistic function of :math:`d` for :math:`\delta` logistic. So
that their widths compare, the width of each is the standard deviation of that :math:`\delta`, in mm.
SVLS gives half the weight to a voxel's own label, so that no probability crosses one half smoothly: half
of all borders would be exactly where this rater's is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import distance_transform_edt
from scipy.special import expit

from nacl_monai.errors import InputError, SettingError
from nacl_monai.losses.neighborhood import member_proportions, unresolved_window, window_of_width

Probs = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Prior:
    """A prior of some width.

    Attributes:
        family: What it is called but for its width.
        label: What a table calls it.
        width: In mm, the standard deviation of the distance between borders; NaN where it has none of
            its own.
        soften: From planes ``(n, *spatial)`` to the probability of another rater's answer in each voxel.
    """

    family: str
    label: str
    width: float
    soften: Callable[[Planes], Probs]


def hard() -> Prior:
    """The mask itself: what cross-entropy holds a network to."""
    return Prior("hard", "hard labels", math.nan, lambda planes: planes.masks.astype(np.float32))


def svls(sigma: float = 1.0, kernel_size: int = 3) -> Prior:
    """The labels of SVLS, in voxels."""
    return Prior(
        "svls",
        f"SVLS {_window(kernel_size)}, σ {sigma:g}",
        math.nan,
        lambda planes: _proportions(planes, "gaussian", [kernel_size] * _axes(planes), sigma),
    )


def window(kernel_size: int = 3) -> Prior:
    """The paper's prior, the mean over a window of so many voxels."""
    return Prior(
        "window",
        f"NACL {_window(kernel_size)}",
        math.nan,
        lambda planes: _proportions(planes, "mean", [kernel_size] * _axes(planes)),
    )


def gaussian(sigma: float = 1.0) -> Prior:
    """A blur by a Gaussian, in voxels."""
    size = window_of_width("blur", sigma, (1.0,))[0]
    return Prior(
        "gaussian",
        f"Gaussian, σ {sigma:g}",
        math.nan,
        lambda planes: _proportions(planes, "blur", size * _axes(planes), sigma),
    )


def mean(width: float) -> Prior:
    """The mean over the window, odd along each axis, whose width is nearest."""
    return Prior(
        "mean", f"mean, {width:.2f} mm", width, lambda planes: _of_width(planes, "mean", width)
    )


def blur(width: float) -> Prior:
    """A blur by a Gaussian.

    Example:
        >>> mask = np.zeros((1, 9, 9), bool)
        >>> mask[:, :, 5:] = True
        >>> planes = Planes(mask, mask.astype(int), (0.5, 0.5))
        >>> [f"{p:.2f}" for p in blur(0.5).soften(planes)[0, 4, 3:7]]
        ['0.06', '0.30', '0.70', '0.94']
    """
    return Prior(
        "blur", f"blur, {width:.2f} mm", width, lambda planes: _of_width(planes, "blur", width)
    )


def logistic(width: float) -> Prior:
    """A logistic function of the distance to the rater's border, however it bends."""
    scale = width * math.sqrt(3) / math.pi
    return Prior(
        "distance",
        f"distance, {width:.2f} mm",
        width,
        lambda planes: expit(planes.distances / scale),
    )


def bilateral(width: float, intensity_sigma: float = 0.1) -> Prior:
    """A Gaussian of the distance times one of the difference of intensities; needs an image.

    Raises:
        SettingError: When it is used without.
    """

    def soften(planes: Planes) -> Probs:
        if planes.image is None:
            raise SettingError("bilateral: needs images; give them, or leave this prior out")
        return _of_width(planes, "bilateral", width, intensity_sigma)

    return Prior("bilateral", f"bilateral, {width:.2f} mm", width, soften)


#: The families that a width is fitted to, by name.
FAMILIES: dict[str, Callable[[float], Prior]] = {"blur": blur, "distance": logistic, "mean": mean}


def _axes(planes: Planes) -> int:
    return len(planes.spacing)


def _window(kernel_size: int) -> str:
    return f"{kernel_size}×{kernel_size}"


def _of_width(planes: Planes, prior: str, width: float, intensity_sigma: float = 0.1) -> Probs:
    sizes, sigma = unresolved_window(prior, width, planes.spacing)
    if max(sizes) == 1:  # narrower than a voxel: the mask itself
        return planes.masks.astype(np.float32)
    return _proportions(planes, prior, sizes, sigma, intensity_sigma)


def _proportions(
    planes: Planes,
    prior: str,
    kernel_size: list[int],
    sigma: list[float] | float = 1.0,
    intensity_sigma: float = 0.1,
) -> Probs:
    """What the losses compute; outside a box is what is at its border."""
    inside = torch.from_numpy(planes.masks)
    members = torch.stack([~inside, inside], 1)
    image = None if planes.image is None else torch.from_numpy(planes.image)[:, None].float()
    shares = member_proportions(
        members, kernel_size, prior, sigma, "replicate", image, intensity_sigma
    )
    probs: Probs = shares[:, 1].numpy()
    return probs


Array = npt.NDArray[Any]


@dataclass(frozen=True)
class RatedMasks:
    """One structure of one image by several raters.

    Attributes:
        masks: ``(raters, planes, *spatial)``, boolean. Planes are softened singly: slices of a volume
            where a network sees slices, or the whole volume as a single plane.
        spacing: Size of a voxel along each spatial axis, in mm.
        patient: Whose image it is.
        absent: Further raters of the image, who marked nothing of this structure in it.
        image: ``(planes, *spatial)``, of which the bilateral prior needs the intensities.

    Example:
        >>> one = np.zeros((1, 5, 5), bool)
        >>> one[0, :, 2:] = True
        >>> masks = RatedMasks(np.stack([one, one]), (1.0, 1.0), "patient")
        >>> masks.planes().distances[0, 0].tolist()
        [-1.5, -0.5, 0.5, 1.5, 2.5]
    """

    masks: npt.NDArray[np.bool_]
    spacing: tuple[float, ...]
    patient: str
    absent: int = 0
    image: Array | None = None

    def __post_init__(self) -> None:
        if self.masks.dtype != np.bool_ or self.masks.ndim != len(self.spacing) + 2:
            raise InputError(
                f"masks: are {self.masks.dtype} of shape {self.masks.shape}; pass booleans (raters, "
                f"planes, *spatial), with {len(self.spacing)} spatial axes as the spacing has"
            )
        if len(self.masks) + self.absent < 2:
            raise InputError(f"masks: are of one rater, {self.patient}; give two or more")

    @property
    def others(self) -> int:
        """How many raters answer what one rater's mask predicts."""
        return len(self.masks) + self.absent - 1

    def planes(self) -> Planes:
        """The planes of one rater after the other, in which the rater has a border."""
        axes = tuple(range(2, self.masks.ndim))
        bordered = self.masks.any(axis=axes) & ~self.masks.all(axis=axes)
        votes = self.masks.sum(axis=0) - self.masks
        image = None if self.image is None else np.broadcast_to(self.image, self.masks.shape)
        return Planes(
            self.masks[bordered],
            votes[bordered],
            self.spacing,
            None if image is None else image[bordered],
        )


@dataclass(frozen=True)
class Planes:
    """Masks, each of one rater, and how many of the others agree.

    Attributes:
        masks: ``(planes, *spatial)``, boolean.
        votes: How many others mark each voxel.
        spacing: Size of a voxel along each axis, in mm.
        image: ``(planes, *spatial)``, if there is one.
    """

    masks: npt.NDArray[np.bool_]
    votes: npt.NDArray[np.int64]
    spacing: tuple[float, ...]
    image: Array | None = None

    @cached_property
    def distances(self) -> npt.NDArray[np.float64]:
        """Distance of each voxel's center to its rater's border, in mm, positive inside."""
        planes = [border_distance(mask, self.spacing) for mask in self.masks]
        return np.stack(planes) if planes else np.zeros(self.masks.shape)


def border_distance(
    mask: npt.NDArray[np.bool_], spacing: Sequence[float]
) -> npt.NDArray[np.float64]:
    """Signed distance of each voxel's center to the faces between a mask and its outside, in mm.

    The distance to a face is exact: its nearest point is in line with the center along some axes, and on
    an edge of the face along the others, so that it is on the grid of half voxels.

    Args:
        mask: Boolean, of any number of axes, with both values in it.
        spacing: Size of a voxel along each axis.

    Returns:
        Positive inside.

    Example:
        >>> border_distance(np.array([False, False, True]), [2.0]).tolist()
        [-3.0, -1.0, 1.0]
    """
    low = high = mask
    for axis in range(mask.ndim):
        low, high = _halved(low, axis, np.logical_and), _halved(high, axis, np.logical_or)
    distance: Any = distance_transform_edt(low == high, sampling=[size / 2 for size in spacing])
    centers: npt.NDArray[np.float64] = distance[(slice(None, None, 2),) * mask.ndim]
    return np.where(mask, centers, -centers)


def _halved(values: npt.NDArray[np.bool_], axis: int, join: np.ufunc) -> npt.NDArray[np.bool_]:
    """Puts between two neighbors along an axis what both are, joined."""
    moved = np.moveaxis(values, axis, 0)
    out = np.empty((2 * len(moved) - 1, *moved.shape[1:]), np.bool_)
    out[::2] = moved
    out[1::2] = join(moved[:-1], moved[1:])
    return np.moveaxis(out, 0, axis)
