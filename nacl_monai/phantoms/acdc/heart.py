"""A patient's heart: a disease's typical heart, varied."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nacl_monai.phantoms.shapes import Array


@dataclass(frozen=True)
class Disease:
    """The typical heart of one of ACDC's groups.

    Attributes:
        cavity: Radius of the left ventricle's cavity at the base, at end diastole.
        wall: Thickness of its wall at end diastole.
        shortening: Fraction of the cavity's radius lost at end systole.
        right: Size of the right ventricle relative to a healthy one.
        septum: Extra thickness of the septum, as a fraction of the wall.
        scar: Fraction of the contraction lost in the infarcted sector.
    """

    cavity: float
    wall: float
    shortening: float
    right: float = 1.0
    septum: float = 0.0
    scar: float = 0.0


GROUPS = {
    "NOR": Disease(cavity=25.0, wall=8.0, shortening=0.32),
    "DCM": Disease(cavity=34.0, wall=7.5, shortening=0.14),
    "HCM": Disease(cavity=22.5, wall=12.0, shortening=0.40, septum=0.35),
    "MINF": Disease(cavity=29.0, wall=8.0, shortening=0.24, scar=0.8),
    "RV": Disease(cavity=23.0, wall=8.0, shortening=0.32, right=1.4),
}


@dataclass(frozen=True)
class Heart:
    """One patient's heart: a disease's typical heart, varied.

    Angles are measured about the left ventricle's axis, from the direction of the right ventricle.
    A ripple holds one (amplitude, phase, twist from base to apex) per harmonic, from the second on.

    Attributes:
        disease: Sizes and contraction, this patient's own.
        center: The axis in the middle of the heart, from the center of the image.
        lean: The axis's shift per unit of z.
        towards_right: Direction of the right ventricle in the image.
        length: From the base to the apex, at end diastole.
        right_base: Height of the right ventricle's valves relative to the left one's.
        right_depth: From the septum to the free wall.
        right_height: How far it reaches around the left ventricle.
        right_skew: Lean and narrowing of its crescent.
        scar_angle: Middle of the infarcted sector.
        cavity_ripple: Deviation of the cavity from a circle.
        wall_ripple: Deviation of the wall's thickness.
        trabeculae: Fraction of the cavity's radius that trabeculae take.
        papillary: Angle, distance and size of both papillary muscles, relative to the cavity.
        fat: Thickness of the epicardial fat.
    """

    disease: Disease
    center: tuple[float, float]
    lean: tuple[float, float]
    towards_right: float
    length: float
    right_base: float
    right_depth: float
    right_height: float
    right_skew: tuple[float, float]
    scar_angle: float
    cavity_ripple: Array
    wall_ripple: Array
    trabeculae: Array
    papillary: Array
    fat: Array


def draw_heart(rng: np.random.Generator, typical: Disease) -> Heart:
    """Draws a heart of a disease group."""
    disease = Disease(
        cavity=typical.cavity * rng.normal(1, 0.07),
        wall=typical.wall * rng.normal(1, 0.08),
        shortening=typical.shortening * rng.normal(1, 0.08),
        right=typical.right * rng.normal(1, 0.06),
        septum=typical.septum * rng.uniform(0.5, 1.5),
        scar=typical.scar * rng.uniform(0.7, 1.2),
    )
    return Heart(
        disease=disease,
        center=(float(rng.normal(14, 5)), float(rng.normal(2, 5))),
        lean=(float(rng.normal(0.05, 0.06)), float(rng.normal(0.05, 0.06))),
        towards_right=float(np.deg2rad(rng.normal(205, 11))),
        length=float(np.clip(rng.normal(84, 5) + typical.cavity * 0.2, 75, 102)),
        right_base=float(rng.uniform(-0.1, 0.12)),
        right_depth=float(rng.normal(37, 2.5)),
        right_height=float(rng.normal(8, 2)),
        right_skew=(float(rng.normal(0, 0.12)), float(rng.normal(0.32, 0.07))),
        scar_angle=float(rng.uniform(-np.pi, np.pi)),
        cavity_ripple=draw_ripple(rng, [0.05, 0.025, 0.015], twist=0.8),
        wall_ripple=draw_ripple(rng, [0.10, 0.06, 0.04], twist=1.0),
        trabeculae=draw_ripple(rng, [0.0] * 4 + [0.045] * 8, twist=9.0),
        papillary=np.stack(
            [
                np.pi + np.array([1.05, -1.05]) + rng.normal(0, 0.2, 2),
                rng.uniform(0.58, 0.74, 2),
                rng.uniform(0.17, 0.25, 2),
            ]
        ),
        fat=draw_ripple(rng, [0.6, 0.5, 0.4], twist=1.5),
    )


def draw_ripple(rng: np.random.Generator, amplitudes: list[float], twist: float) -> Array:
    """Draws a closed contour's deviation from a circle; see `ripple`."""
    size = len(amplitudes)
    return np.stack(
        [
            np.asarray(amplitudes) * rng.normal(0, 1, size),
            rng.uniform(0, 2 * np.pi, size),
            rng.normal(0, twist, size),
        ]
    )
