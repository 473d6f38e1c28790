"""Shapes and smooth random fields, as functions of position.

Positions are arrays (3, x, y, z), the first axis right, anterior and superior. A shape is its level:
below 1 inside, 1 on the surface. Nested levels of one shape, and shapes looked up at positions that
a smooth field has moved, stay nested.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Waves:
    """A smooth random field Σ_k a_k cos(f_k·p + φ_k).

    Attributes:
        amplitudes: (waves,) for a field of numbers, (3, waves) for one of displacements.
        frequencies: (waves, 3), in radians per unit of position.
        phases: (waves,).
    """

    amplitudes: Array
    frequencies: Array
    phases: Array

    def __call__(self, points: Array) -> Array:
        """The field at positions: (x, y, z) or (3, x, y, z)."""
        waves = np.cos(np.tensordot(self.frequencies, points, axes=1) + column(self.phases))
        value: Array = np.tensordot(self.amplitudes, waves, axes=1)
        return value


def draw_field(
    rng: np.random.Generator, deviation: float, wavelength: float, waves: int = 8
) -> Waves:
    """Draws a smooth field of numbers of the given standard deviation and typical wavelength."""
    return _draw_waves(rng, (), deviation, wavelength, waves)


def draw_warp(
    rng: np.random.Generator, deviation: float, wavelength: float, waves: int = 6
) -> Waves:
    """Draws a smooth field of displacements, each component of the given standard deviation."""
    return _draw_waves(rng, (3,), deviation, wavelength, waves)


def _draw_waves(
    rng: np.random.Generator,
    components: tuple[int, ...],
    deviation: float,
    wavelength: float,
    waves: int,
) -> Waves:
    directions = rng.normal(size=(waves, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    frequencies = directions * (2 * np.pi / wavelength) * rng.uniform(0.7, 1.4, (waves, 1))
    # A wave's power is half its squared amplitude: scaled, so that no draw is a flat field.
    amplitudes = rng.normal(size=(*components, waves))
    amplitudes *= deviation * np.sqrt(2) / np.linalg.norm(amplitudes, axis=-1, keepdims=True)
    phases = rng.uniform(0, 2 * np.pi, waves)
    return Waves(*(x.astype(np.float32) for x in (amplitudes, frequencies, phases)))


def column(components: npt.ArrayLike) -> Array:
    """A vector that broadcasts against positions."""
    vector: Array = np.asarray(components, np.float32).reshape(-1, 1, 1, 1)
    return vector


def ellipsoid(
    points: Array, center: npt.ArrayLike, radii: npt.ArrayLike, turn: Array | None = None
) -> Array:
    """Level of an ellipsoid, √Σ((p − c)/r)², its axes turned by a rotation matrix."""
    away = points - column(center)
    if turn is not None:
        away = np.tensordot(turn.T.astype(np.float32), away, axes=1)
    away /= column(radii)
    return length(away)


def cylinder(points: Array, center: npt.ArrayLike, radii: npt.ArrayLike) -> Array:
    """Level of an upright elliptic cylinder."""
    return ellipsoid(points[:2], center, radii)


def tube(points: Array, path: Sequence[Sequence[float]], radius: Sequence[float]) -> Array:
    """Level of a tube around a polyline, whose radius changes linearly from corner to corner."""
    corners = np.asarray(path, np.float32)
    level = np.full(points.shape[1:], np.inf, np.float32)
    for start, end, thick, thin in zip(corners, corners[1:], radius, radius[1:], strict=False):
        along = end - start
        away = points - column(start)
        part = np.clip(np.tensordot(along, away, axes=1) / (along @ along), 0, 1)
        distance = length(away - column(along) * part)
        level = np.minimum(level, distance / (thick + (thin - thick) * part))
    return level


def length(vectors: Array) -> Array:
    """Euclidean length of each vector along the first axis."""
    norm: Array = np.sqrt(np.einsum("i...,i...->...", vectors, vectors))
    return norm


def mirrored(points: Array) -> Array:
    """Positions with the left side folded onto the right: a shape looked up there is a pair."""
    return np.concatenate([np.abs(points[:1]), points[1:]])


def draw_turn(rng: np.random.Generator, degrees: float) -> Array:
    """Draws a rotation matrix; its rotation vector's components deviate by the given angle."""
    turn: Array = Rotation.from_rotvec(np.deg2rad(rng.normal(0, degrees, 3))).as_matrix()
    return turn
