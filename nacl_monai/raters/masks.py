"""Masks of one structure by several raters, and the distance of each voxel to a rater's border."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from nacl_monai.errors import InputError

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
