"""A scan's grid: the voxels' positions in the patient, and in the world of its header."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from nacl_monai.phantoms.shapes import Array

SLAB = 2**18  # voxels evaluated at once, so that a full-size volume needs little memory
WORLD = ("LR", "PA", "IS")  # the ends of each axis of the world (RAS+)


@dataclass(frozen=True)
class Grid:
    """Voxels that fill a box around the anatomy.

    Positions in the patient are (right, anterior, superior), each from -1 to 1 across the box
    whatever the matrix, so that one anatomy serves every size and orientation.

    Attributes:
        shape: Voxels along each array axis.
        spacing: Size of a voxel along each array axis, in millimeters.
        axes: The direction in which each array axis runs, as in `nibabel.aff2axcodes`: "LPS" runs
            to the patient's left, posterior and superior side.
        origin: World position of the first voxel, in millimeters.
        tilt: Rotation of an oblique scan in the world.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    axes: str
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    tilt: Array = field(default_factory=lambda: np.eye(3))

    @property
    def affine(self) -> Array:
        """Voxel-to-world matrix (RAS+), in the single precision of a NIfTI header."""
        affine = np.eye(4)
        for axis, (world, sign) in enumerate(map(direction, self.axes)):
            affine[:3, axis] = self.tilt[:, world] * sign * self.spacing[axis]
        affine[:3, 3] = self.origin
        return affine.astype(np.float32).astype(np.float64)

    def slabs(self) -> Iterator[Array]:
        """Positions, (3, slab, rows, columns), of successive slabs along the first array axis."""
        lines: list[Array] = [np.empty(0)] * 3
        placed = [direction(code) for code in self.axes]
        for axis, (size, (world, sign)) in enumerate(zip(self.shape, placed, strict=True)):
            line = sign * ((2 * np.arange(size, dtype=np.float32) + 1) / size - 1)
            lines[world] = line.reshape([-1 if axis == other else 1 for other in range(3)])
        thickness = max(1, SLAB // (self.shape[1] * self.shape[2]))
        first = placed[0][0]
        for start in range(0, self.shape[0], thickness):
            slab = lines.copy()
            slab[first] = lines[first][start : start + thickness]
            yield np.stack(np.broadcast_arrays(*slab))

    def sample(self, function: Callable[[Array], Array]) -> Array:
        """A function of position at each voxel's center; an array of the grid's shape."""
        return np.concatenate([function(points) for points in self.slabs()])


def direction(code: str) -> tuple[int, int]:
    """World axis of a letter of L/R, P/A, I/S, and 1 if it runs along it, else -1."""
    world = next(axis for axis, ends in enumerate(WORLD) if code in ends)
    return world, 2 * WORLD[world].index(code) - 1
