"""The points of the scan's grid, in the image and in the heart's frame."""

from __future__ import annotations

import numpy as np

from nacl_monai.phantoms.acdc.patient import Patient
from nacl_monai.phantoms.shapes import Array


def positions(patient: Patient, in_plane: int = 1, through: int = 1) -> tuple[Array, Array, Array]:
    """Points of the scan's grid, each voxel divided into in_plane² × through points.

    Returns:
        x of shape (x, 1, 1), y of shape (1, y, 1) and z of shape (slices,).
    """

    def line(size: int, step: float, parts: int) -> Array:
        fine = (np.arange(size * parts) + 0.5) / parts - 0.5
        return (fine * step).astype(np.float32)

    columns, rows, slices = patient.shape
    x = line(columns, patient.spacing[0], in_plane) - (columns - 1) / 2 * patient.spacing[0]
    y = line(rows, patient.spacing[1], in_plane) - (rows - 1) / 2 * patient.spacing[1]
    z = line(slices, patient.spacing[2], through) + patient.first_slice
    return x[:, None, None], y[None, :, None], z.astype(np.float32)


def move_into_heart(patient: Patient, x: Array, y: Array, through: int = 1) -> tuple[Array, Array]:
    """Moves points into the heart's frame: each slice was another breath-hold."""
    shift_x, shift_y = np.repeat(patient.breath_holds, through, axis=1).astype(np.float32)
    return x + shift_x, y + shift_y
