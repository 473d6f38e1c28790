"""Ellipsoids in noise: how every phantom's images and labels are made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from scipy import ndimage

from nacl_monai.inference.promised import Array

Triple = tuple[float, float, float]

# How far the drawn border is from the true one: a standard deviation, in half axes of the ellipsoid.
_MISSED = 0.06


class Piece(NamedTuple):
    """A piece of an anatomy; a later part covers the earlier ones.

    Attributes:
        label: The value in the label map; 0 for what is not segmented.
        signals: The value in each modality.
        center: Position (right, anterior, superior) in the imaged box, which reaches from −1 to 1.
        radii: Half axes.
    """

    label: int
    signals: Sequence[float]
    center: Triple
    radii: Triple


class ScanGrid(NamedTuple):
    """The voxels of a scan, which fill the box around the anatomy whatever their number.

    Attributes:
        shape: Voxels along each axis.
        spacing: Size of a voxel along each axis, in mm.
        axes: Where each axis runs to, as in `nibabel.aff2axcodes`.
        origin: World position of the first voxel, in mm.
        turn: Rotation of an oblique scan in the world.
    """

    shape: tuple[int, int, int]
    spacing: Triple
    axes: str = "RAS"
    origin: Triple = (0.0, 0.0, 0.0)
    turn: Array = np.eye(3)

    @property
    def affine(self) -> Array:
        """Voxel-to-world matrix (RAS+), in the single precision of a NIfTI header."""
        affine = np.eye(4)
        for axis, (world, sign) in enumerate(self._directions()):
            affine[:3, axis] = self.turn[:, world] * sign * self.spacing[axis]
        affine[:3, 3] = self.origin
        return affine.astype(np.float32).astype(np.float64)

    def positions(self) -> list[Array]:
        """Coordinates (right, anterior, superior) of the voxels' centers, to be broadcast."""
        lines: list[Array] = [np.empty(0)] * 3
        for axis, (world, sign) in enumerate(self._directions()):
            size = self.shape[axis]
            line = sign * ((2 * np.arange(size, dtype=np.float32) + 1) / size - 1)
            lines[world] = line.reshape([-1 if axis == other else 1 for other in range(3)])
        return lines

    def _directions(self) -> list[tuple[int, int]]:
        """World axis of each array axis, and 1 if it runs along it, else −1."""
        table: Any = nib.orientations.axcodes2ornt(tuple(self.axes))  # type: ignore[no-untyped-call]
        return [(int(world), int(sign)) for world, sign in table]


def draw_person(rng: np.random.Generator, parts: Sequence[Piece]) -> list[Piece]:
    """One person: the typical anatomy, a little larger or smaller and elsewhere."""
    size, shift = rng.uniform(0.92, 1.08, 3), rng.uniform(-0.03, 0.03, 3)
    person = []
    for part in parts:
        radii = size * part.radii * rng.uniform(0.95, 1.05, 3)
        center = size * part.center + shift
        person.append(part._replace(center=tuple(center), radii=tuple(radii)))
    return person


def paint_scan(
    rng: np.random.Generator, parts: Sequence[Piece], grid: ScanGrid, noise: Sequence[float]
) -> tuple[Array, Array]:
    """Images and label of a person.

    Someone who draws the labels misses the true border by a smooth error, which is the same at every
    size of the grid. In the image, borders are blurred.

    Args:
        rng: Random stream of the scan.
        parts: The person.
        grid: Where the voxels are.
        noise: Standard deviation of each modality's noise.

    Returns:
        The images, of shape (modalities, x, y, z), and the label in 8 bits.
    """
    missed = ndimage.zoom(rng.normal(0, _MISSED, (7, 7, 7)), np.divide(grid.shape, 7), order=1)
    lines = grid.positions()
    tissues = np.zeros(grid.shape, np.uint8)
    label = np.zeros(grid.shape, np.uint8)
    for tissue, part in enumerate(parts, start=1):
        x, y, z = (
            ((line - middle) / radius) ** 2
            for line, middle, radius in zip(lines, part.center, part.radii, strict=True)
        )
        level = x + y + z
        tissues[level < 1] = tissue
        label[level < (1 + missed) ** 2] = part.label
    images = []
    for modality, deviation in enumerate(noise):
        signals = np.array([0, *(part.signals[modality] for part in parts)], np.float32)
        image = ndimage.gaussian_filter(signals[tissues], 0.6, mode="nearest", truncate=3)
        image += deviation * rng.standard_normal(grid.shape, dtype=np.float32)
        images.append(image)
    return np.stack(images), label
