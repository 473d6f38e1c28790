r"""Priors: how one rater's mask becomes a probability of what another rater says.

Let the border of another rater be :math:`\delta` mm away from that of this one, with a standard
deviation :math:`w` over patients and places. Across a straight border, at the signed distance :math:`d`
inside,

.. math::

    P(\text{other marks it} \mid d) = P(\delta < d) = F(d / w)

A blur by a Gaussian of :math:`\sigma = w` is this probability for :math:`\delta` normal, a mean over a
window for :math:`\delta` uniform. The width of a prior is the standard deviation of that
:math:`\delta`, in mm. The others that were compared are in the study of LIDC (``studies/lidc``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import distance_transform_edt

from nacl_monai.errors import InputError
from nacl_monai.losses.neighborhood import member_sums, proportions_of, unresolved_window

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


def blur(width: float) -> Prior:
    """A blur by a Gaussian.

    Example:
        >>> mask = np.zeros((1, 9, 9), bool)
        >>> mask[:, :, 5:] = True
        >>> planes = Planes(mask, mask.astype(int), (0.5, 0.5))
        >>> [f"{p:.2f}" for p in blur(0.5).soften(planes)[0, 4, 3:7]]
        ['0.06', '0.30', '0.70', '0.94']
    """
    soften = partial(softened_to_width, prior="blur", width=width)
    return Prior("blur", f"blur, {width:.2f} mm", width, soften)


def softened(
    planes: Planes, prior: str, kernel_size: list[int], sigma: list[float] | float = 1.0
) -> Probs:
    """The probabilities by a prior of the losses, with the border of the box replicated."""
    inside = torch.from_numpy(planes.masks)
    members = torch.stack([~inside, inside], 1)
    sums = member_sums(members, kernel_size, prior, sigma, "replicate")
    probs: Probs = proportions_of(sums, torch.float32)[:, 1].numpy()
    return probs


def softened_to_width(planes: Planes, prior: str, width: float) -> Probs:
    """`softened` by a window of a width in mm; below a voxel, it is the mask itself."""
    sizes, sigma = unresolved_window(prior, width, planes.spacing)
    if max(sizes) == 1:
        return planes.masks.astype(np.float32)
    return softened(planes, prior, sizes, sigma)


@dataclass(frozen=True)
class RatedMasks:
    """One structure of one image by several raters.

    Attributes:
        masks: ``(raters, planes, *spatial)``, boolean. Planes are softened singly: slices of a volume
            where a network sees slices, or the whole volume as a single plane.
        spacing: Size of a voxel along each spatial axis, in mm.
        patient: Whose image it is.
        absent: Further raters of the image, who marked nothing of this structure in it.

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
        return Planes(self.masks[bordered], votes[bordered], self.spacing)


@dataclass(frozen=True)
class Planes:
    """Masks, each of one rater, and how many of the others agree.

    Attributes:
        masks: ``(planes, *spatial)``, boolean.
        votes: How many others mark each voxel.
        spacing: Size of a voxel along each axis, in mm.
    """

    masks: npt.NDArray[np.bool_]
    votes: npt.NDArray[np.int64]
    spacing: tuple[float, ...]

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
