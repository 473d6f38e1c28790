"""What a scanner does to tissues: signal, partial volume, uneven gain, texture and noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import ndimage

from nacl_monai.phantoms.shapes import Array


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], width: Sequence[float]) -> Array:
    """Unit Gaussian noise, smooth over `width` voxels along each axis."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    smooth: Array = ndimage.gaussian_filter(noise, width, mode="wrap", truncate=3)
    smooth /= smooth.std()
    return smooth


def signal_of(tissues: Array, signals: Mapping[int, float]) -> Array:
    """Each voxel's signal by its tissue."""
    table = np.zeros(256, np.float32)
    table[list(signals)] = list(signals.values())
    signal: Array = table[tissues]
    return signal


def magnetic_resonance(
    rng: np.random.Generator,
    signal: Array,
    *,
    noise: float,
    texture: float = 0.05,
    blur: Sequence[float] = (0.6, 0.6, 0.6),
) -> Array:
    """Magnitude image of a noiseless signal: blurred, textured, unevenly amplified, with Rician noise.

    Args:
        rng: Random stream of the scanner.
        signal: Noiseless signal, about 1 for the main tissue.
        noise: Standard deviation of the noise in the real and in the imaginary channel.
        texture: Relative unevenness of a tissue.
        blur: Standard deviation of the point spread along each axis, in voxels; it mixes the
            tissues at a boundary as partial volume does.
    """
    image = ndimage.gaussian_filter(signal, blur, truncate=3)
    image *= 1 + texture * smooth_noise(rng, signal.shape, (1.2, 1.2, 1.2))
    image *= coil(rng, signal.shape)
    image += noise * rng.standard_normal(signal.shape, dtype=np.float32)
    magnitude: Array = np.hypot(image, noise * rng.standard_normal(signal.shape, dtype=np.float32))
    return magnitude


def coil(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Smooth gain of a receiver coil, about 1: the exponential of a random quadratic."""
    gain: Array = np.ones((), np.float32)
    for axis, size in enumerate(shape):
        line = np.linspace(-1, 1, size, dtype=np.float32)
        slope, bend = rng.normal(0, (0.10, 0.06))
        factor = np.exp(slope * line + bend * line**2)
        gain = gain * factor.reshape([-1 if axis == other else 1 for other in range(len(shape))])
    return gain


def computed_tomography(
    rng: np.random.Generator,
    hounsfield: Array,
    *,
    noise: float,
    texture: float = 6.0,
    blur: Sequence[float] = (0.6, 0.6, 0.6),
) -> Array:
    """CT image of true Hounsfield units, in 16 bits: blurred, with texture and correlated noise.

    Args:
        rng: Random stream of the scanner.
        hounsfield: True values.
        noise: Standard deviation of the noise.
        texture: Standard deviation of a tissue's own unevenness.
        blur: See `magnetic_resonance`.
    """
    image = ndimage.gaussian_filter(hounsfield, blur, truncate=3)
    image += texture * smooth_noise(rng, image.shape, (1.5, 1.5, 1.5))
    image += noise * smooth_noise(rng, image.shape, (0.5, 0.5, 0.5))
    stored: Array = np.round(image).clip(-1024, 3071).astype(np.int16)
    return stored
