"""The noiseless signal of a frame, with partial volume."""

from __future__ import annotations

import numpy as np

from nacl_monai.phantoms.acdc.contours import find_boundaries
from nacl_monai.phantoms.acdc.heart import Heart
from nacl_monai.phantoms.acdc.patient import Chest, Patient
from nacl_monai.phantoms.acdc.sampling import move_into_heart, positions
from nacl_monai.phantoms.shapes import Array

# Signal of tissues in a balanced steady-state sequence, relative to blood.
AIR, LUNG, BONE, MUSCLE, BLOOD, FAT = 0.01, 0.09, 0.18, 0.36, 1.0, 0.85


def render(patient: Patient, contraction: float, grain: Array) -> Array:
    """Noiseless signal of a frame, with partial volume.

    Args:
        patient: The patient.
        contraction: Phase of the beat.
        grain: Unit noise on the scan's grid, which places vessels and trabeculae.
    """
    in_plane, through = 2, 2
    x, y, z = positions(patient, in_plane, through)
    grain = grain.repeat(in_plane, 0).repeat(in_plane, 1).repeat(through, 2)
    signal = chest_signal(patient.chest, x, y, z, grain)
    heart_x, heart_y = move_into_heart(patient, x, y, through)
    paint_heart(signal, patient.heart, contraction, heart_x, heart_y, z, grain)
    columns, rows, slices = patient.shape
    parts = signal.reshape(columns, in_plane, rows, in_plane, slices, through)
    mean: Array = parts.mean(axis=(1, 3, 5), dtype=np.float32)
    return mean


def chest_signal(chest: Chest, x: Array, y: Array, z: Array, grain: Array) -> Array:
    """Signal of everything but the heart."""
    x, y = x - np.float32(chest.shift[0]), y - np.float32(chest.shift[1])
    signal = np.where(grain > 2.3, np.float32(0.45), np.float32(LUNG))  # lung with its vessels

    # The diaphragm rises in slices nearer to the apex, which lie lower in the body.
    dome = chest.diaphragm - 0.25 * (z - 40) + 0.004 * (x + 35) ** 2
    organ = np.where(x < 28, np.float32(chest.liver), np.float32(chest.stomach))
    organ = np.where(grain > 1.9, 1.5 * organ, organ)  # vessels again
    signal = np.where(y > dome, organ, signal)
    signal[np.broadcast_to(np.abs(y - dome) < 1.5, signal.shape)] = MUSCLE

    aorta = np.hypot(x - chest.aorta[0], y - chest.aorta[1])
    signal[np.broadcast_to(aorta < 13, signal.shape)] = MUSCLE
    signal[np.broadcast_to(aorta < 11, signal.shape)] = BLOOD

    around = np.sqrt(((x + 12) / 118) ** 2 + ((y - 52) / 124) ** 2)
    ribs = np.cos(22 * np.arctan2(y - 52, x + 12) + 0.09 * z) > 0.55
    for inner, tissue in ((1.0, MUSCLE), (1.10, FAT), (1.24, AIR)):
        signal[np.broadcast_to(around > inner, signal.shape)] = tissue
    signal[(np.abs(around - 1.05) < 0.03) & ribs] = BONE
    return signal


def paint_heart(
    signal: Array, heart: Heart, contraction: float, x: Array, y: Array, z: Array, grain: Array
) -> None:
    """Paints the heart over the chest, from the outside in."""
    at = find_boundaries(heart, contraction, x, y, z)
    present = (at.height > -0.4) & (at.height < 1)
    ventricle = present & (at.height >= 0)
    atrium = present & ~ventricle
    right_present = present & (at.height < 0.95)
    # Trabeculae are densest towards the free wall, where the annotator calls them cavity.
    rough = grain > 1.9 - 1.2 * np.clip(at.right, 0, 1)
    signal[right_present & (at.right_fat < 1)] = FAT
    signal[present & (at.radius < at.fat)] = FAT
    signal[right_present & (at.right_wall < 1)] = MUSCLE
    signal[right_present & (at.right < 1)] = BLOOD
    signal[right_present & (at.right < 1) & rough] = MUSCLE
    signal[ventricle & (at.radius < at.epi)] = MUSCLE
    signal[atrium & (at.radius < at.endo + 2)] = MUSCLE
    signal[present & (at.radius < at.wet)] = BLOOD
    signal[ventricle & (at.radius < at.endo) & (at.papillary < 1)] = MUSCLE
