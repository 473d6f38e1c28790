"""The heart's surfaces at a phase of the beat, and where points are relative to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nacl_monai.phantoms.acdc.heart import Heart
from nacl_monai.phantoms.shapes import Array

ANGLES = np.linspace(-np.pi, np.pi, 1024, endpoint=False)[:, None]  # at which contours are known


def ripple(coefficients: Array, angle: Array, height: Array) -> Array:
    """Σ_k a_k cos(kθ + φ_k + c_k h), k = 2, 3, …: a smooth, periodic deviation."""
    amplitude, phase, twist = coefficients[..., None, None]
    order = np.arange(2, 2 + len(amplitude))[:, None, None]
    waves = amplitude * np.cos(order * angle + phase + twist * height)
    total: Array = waves.sum(axis=0)
    return total


def sector(angle: Array, center: float, sharpness: float) -> Array:
    """1 at the center of an angular sector, smoothly falling to about 0 outside."""
    weight: Array = np.exp(sharpness * (np.cos(angle - center) - 1))
    return weight


def taper(height: Array, tip: float) -> Array:
    """Relative radius of a ventricle: 1 at the base (height 0), 0 at its tip."""
    radius: Array = np.sqrt(np.clip(1 - np.clip(height / tip, 0, 1) ** 2.2, 0, 1))
    return radius


@dataclass(frozen=True)
class Boundaries:
    """Where points are relative to the heart's surfaces at one phase.

    Attributes:
        height: 0 at the valves, 1 at the apex, one value per slice.
        radius: Distance from the left ventricle's axis.
        endo: Radius of the cavity as it is annotated, papillary muscles and trabeculae included.
        wet: Radius of the cavity between the trabeculae, which blood fills.
        epi: Radius of the left ventricle's outer surface.
        fat: Radius of the fat on it.
        right: Below 1 inside the right ventricle's cavity (which excludes the left ventricle).
        right_wall: Below 1 inside its outer surface.
        right_fat: Below 1 inside the fat on that.
        papillary: Below 1 inside a papillary muscle.
    """

    height: Array
    radius: Array
    endo: Array
    wet: Array
    epi: Array
    fat: Array
    right: Array
    right_wall: Array
    right_fat: Array
    papillary: Array


def find_boundaries(heart: Heart, contraction: float, x: Array, y: Array, z: Array) -> Boundaries:
    """Measures points against the heart's surfaces.

    Args:
        heart: The patient's heart.
        contraction: 0 at end diastole, 1 at end systole.
        x: Positions, broadcastable to (x, y, slices).
        y: The same.
        z: Position of each slice, (slices,).
    """
    disease = heart.disease
    # The valves descend towards an apex that stays where it is.
    length = heart.length * (1 - 0.4 * disease.shortening * contraction)
    height = 1 - (heart.length - z) / length
    endo, wet, epi, fat = left_contours(heart, contraction, height)

    x = x - heart.center[0] - heart.lean[0] * (z - heart.length / 2)
    y = y - heart.center[1] - heart.lean[1] * (z - heart.length / 2)
    cosine, sine = np.float32(np.cos(heart.towards_right)), np.float32(np.sin(heart.towards_right))
    ahead, aside = cosine * x + sine * y, cosine * y - sine * x
    radius = np.hypot(ahead, aside)
    angle = np.arctan2(aside, ahead)
    nearest = ((angle + np.pi) * (len(ANGLES) / (2 * np.pi))).astype(np.intp) % len(ANGLES)
    flat = nearest * len(z) + np.arange(len(z))  # the contours' (angle, slice) at each point

    mean_epi = epi.mean(axis=0)
    center, along, across = right_ellipse(heart, contraction, height, mean_epi)
    ahead_right = ahead - center
    fatty = (fat - epi).take(flat)
    # The far side ends within the left ventricle, however deep the near side is.
    along = np.where(ahead_right > 0, along, 0.6 * mean_epi)
    # Leant over and narrower towards the free wall, the crescent is the triangle of a real one.
    lean, narrowing = heart.right_skew
    aside_right = aside + lean * ahead_right
    aside_right = aside_right * np.exp(
        narrowing * np.maximum(ahead_right / np.maximum(along, 1), 0)
    )
    return Boundaries(
        height=height,
        radius=radius,
        endo=endo.take(flat),
        wet=wet.take(flat),
        epi=epi.take(flat),
        fat=fat.take(flat),
        right=ellipse(ahead_right, aside_right, along - 3, across - 3),
        right_wall=ellipse(ahead_right, aside_right, along, across),
        right_fat=ellipse(ahead_right, aside_right, along + 1 + fatty, across + 1 + fatty),
        papillary=papillary_muscles(heart, ahead, aside, endo.mean(axis=0), height),
    )


def left_contours(
    heart: Heart, contraction: float, height: Array
) -> tuple[Array, Array, Array, Array]:
    """Radii of the left ventricle's surfaces (endo, wet, epi, fat), each (angles, slices)."""
    disease = heart.disease
    scar = disease.scar * sector(ANGLES, heart.scar_angle, sharpness=3)
    septum = 1 + disease.septum * sector(ANGLES, 0, sharpness=1.5)
    uneven = np.clip(1 + ripple(heart.wall_ripple, ANGLES, height), 0.8, 1.3) * (1 - 0.3 * scar)
    wall = disease.wall * taper(height, tip=1.0) ** 0.4 * uneven * septum
    cavity = disease.cavity * taper(height, tip=0.93)
    cavity = cavity * (1 + ripple(heart.cavity_ripple, ANGLES, height))

    shortening = contraction * disease.shortening
    endo = cavity * (1 - shortening * (1 - scar))
    # Muscle is incompressible: around a smaller cavity of a shorter ventricle it is thicker.
    epi = np.sqrt(endo**2 + ((cavity + wall) ** 2 - cavity**2) / (1 - 0.4 * shortening))

    trabeculae = np.clip(ripple(heart.trabeculae, ANGLES, height) * (0.6 + height), 0, 0.3)
    wet = endo * (1 - trabeculae)
    fat = epi + np.clip(1 + 3 * ripple(heart.fat, ANGLES, height), 0, 6)
    endo, wet, epi, fat = np.stack([endo, wet, epi, fat]).astype(np.float32)
    return endo, wet, epi, fat


def right_ellipse(
    heart: Heart, contraction: float, height: Array, radius: Array
) -> tuple[Array, Array, Array]:
    """Center, half axis towards the free wall and half axis across it, per slice.

    The right ventricle is half this ellipse less the left ventricle of the given radius: a crescent,
    which vanishes above the left ventricle's apex.
    """
    disease = heart.disease
    remaining = 1 - 0.8 * disease.shortening * contraction / disease.right
    size = disease.right * taper(height, tip=0.86)
    depth = heart.right_depth * size * remaining
    across = (0.85 * radius + heart.right_height) * (0.35 + 0.65 * size) * np.sqrt(remaining)
    return 0.55 * radius, 0.45 * radius + depth, across


def ellipse(x: Array, y: Array, half_x: Array, half_y: Array) -> Array:
    """Squared distance from an ellipse's center, 1 on the ellipse."""
    return (x / np.maximum(half_x, 0.1)) ** 2 + (y / np.maximum(half_y, 0.1)) ** 2


def papillary_muscles(
    heart: Heart, ahead: Array, aside: Array, cavity: Array, height: Array
) -> Array:
    """Squared distance from the nearer of two papillary muscles' axes, 1 on its surface."""
    between_valves_and_apex = np.clip(1.3 - 2.6 * np.abs(height - 0.5), 0.01, 1)
    near = np.full(ahead.shape, np.inf, np.float32)
    for angle, distance, size in heart.papillary.astype(np.float32).T:
        half = np.maximum(size * cavity * between_valves_and_apex, 0.1)
        dx = ahead - distance * cavity * np.cos(angle)
        dy = aside - distance * cavity * np.sin(angle)
        near = np.minimum(near, (dx**2 + dy**2) / half**2)
    return near
