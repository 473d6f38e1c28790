"""What the scanner makes of a signal: blur, texture, coil sensitivity and Rician noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from nacl_monai.phantoms.acdc.patient import Patient
from nacl_monai.phantoms.acdc.sampling import positions
from nacl_monai.phantoms.acquisition import smooth_noise
from nacl_monai.phantoms.shapes import Array


@dataclass(frozen=True)
class Scanner:
    """What the scanner adds to a patient's images, the same in each frame of the cine.

    Attributes:
        gain: Stored value of blood.
        noise: Standard deviation of the noise in each channel, relative to blood.
        sensitivity: The surface coil's smooth factor, on the scan's grid.
        texture: Factor of the tissues' own unevenness, on the scan's grid.
        grain: See `render`.
    """

    gain: float
    noise: float
    sensitivity: Array
    texture: Array
    grain: Array


def draw_scanner(rng: np.random.Generator, patient: Patient) -> Scanner:
    """Draws a scanner's settings for a patient."""
    x, y, z = positions(patient)
    slope = rng.normal([0.0, -0.0035], 0.0025)  # coils lie on the chest, at the top of the image
    bend = rng.normal(0, 1.5e-5, size=2)
    bias = slope[0] * x + slope[1] * y + bend[0] * x * y + bend[1] * (x**2 - y**2) + 0 * z
    return Scanner(
        gain=float(rng.uniform(180, 600)),
        noise=float(rng.uniform(0.035, 0.07)),
        sensitivity=np.exp(bias).astype(np.float32),
        texture=(1 + 0.09 * smooth_noise(rng, patient.shape, (2.5, 2.5, 0))).astype(np.float32),
        grain=smooth_noise(rng, patient.shape, (1, 1, 0)),
    )


def acquire(rng: np.random.Generator, scanner: Scanner, signal: Array) -> Array:
    """Image of a noiseless signal, as it is stored."""
    blurred = ndimage.gaussian_filter(signal, (0.6, 0.6, 0), truncate=3)
    real = blurred * scanner.texture * scanner.sensitivity
    noise = scanner.noise * rng.standard_normal((2, *signal.shape), dtype=np.float32)
    rician = np.hypot(real + noise[0], noise[1])
    stored: Array = np.round(scanner.gain * rician).clip(0, 4095).astype(np.int16)
    return stored
