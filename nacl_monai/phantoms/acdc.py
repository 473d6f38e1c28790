"""Short-axis cine MRI of hearts, in ACDC's official layout.

The phantom is built in five steps, one section of this module each:

1. anatomy: which tissue lies at a point of a patient's heart and chest, at a phase of the beat;
2. render: the tissue's signal, on a finer grid than the scan's, averaged to it (partial volume);
3. acquire: blur, texture, coil sensitivity and Rician noise;
4. annotate: an expert who misses the true boundary by a smooth error;
5. write: the official folders and files, complete or not at all.

Lengths are millimetres. In the plane, x points to the right of the displayed image and y down; z
points from the base of the heart to its apex. Arrays are indexed (x, y, z).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial.transform import Rotation

from nacl_monai.phantoms.acquisition import smooth_noise
from nacl_monai.phantoms.writing import case_streams, write_phantom

Array = npt.NDArray[Any]

VERSION = 1  # raise it whenever the files written for a seed change

BACKGROUND, RIGHT_VENTRICLE, MYOCARDIUM, LEFT_VENTRICLE = 0, 1, 2, 3
FRAMES = (1, 2, 3)  # of the cine; the real ones have about thirty
ANGLES = np.linspace(-np.pi, np.pi, 1024, endpoint=False)[:, None]  # at which contours are known
ANNOTATOR_ERROR = 0.8  # standard deviation along each axis of the plane, in voxels

# Signal of tissues in a balanced steady-state sequence, relative to blood.
AIR, LUNG, BONE, MUSCLE, BLOOD, FAT = 0.01, 0.09, 0.18, 0.36, 1.0, 0.85

# --------------------------------------------------------------------------------------------------
# Anatomy
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Disease:
    """The typical heart of one of ACDC's groups.

    Attributes:
        cavity: radius of the left ventricle's cavity at the base, at end diastole.
        wall: thickness of its wall at end diastole.
        shortening: fraction of the cavity's radius lost at end systole.
        right: size of the right ventricle relative to a healthy one.
        septum: extra thickness of the septum, as a fraction of the wall.
        scar: fraction of the contraction lost in the infarcted sector.
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
        disease: sizes and contraction, this patient's own.
        center: the axis in the middle of the heart, from the center of the image.
        lean: the axis's shift per unit of z.
        towards_right: direction of the right ventricle in the image.
        length: from the base to the apex, at end diastole.
        right_base: height of the right ventricle's valves relative to the left one's.
        right_depth: from the septum to the free wall.
        right_height: how far it reaches around the left ventricle.
        right_skew: lean and narrowing of its crescent.
        scar_angle: middle of the infarcted sector.
        cavity_ripple: deviation of the cavity from a circle.
        wall_ripple: deviation of the wall's thickness.
        trabeculae: fraction of the cavity's radius that trabeculae take.
        papillary: angle, distance and size of both papillary muscles, relative to the cavity.
        fat: thickness of the epicardial fat.
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


@dataclass(frozen=True)
class Chest:
    """What surrounds the heart: offsets and signals that vary between patients."""

    shift: tuple[float, float]
    diaphragm: float
    liver: float
    stomach: float
    aorta: tuple[float, float]


@dataclass(frozen=True)
class Patient:
    """Everything about a patient but the noise and the annotator's error."""

    number: int
    group: str
    stature: float
    weight: float
    ed_frame: int
    es_frame: int
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    first_slice: float
    breath_holds: Array
    affine: Array
    heart: Heart
    chest: Chest

    @property
    def name(self) -> str:
        """The official folder name."""
        return f"patient{self.number:03d}"

    @property
    def phases(self) -> dict[int, float]:
        """Contraction of each annotated frame: 0 at end diastole, 1 at end systole."""
        return {self.ed_frame: 0.0, self.es_frame: 1.0}

    @property
    def other_frame(self) -> int:
        """The cine's frame that nobody annotates."""
        return (set(FRAMES) - self.phases.keys()).pop()


def draw_patient(rng: np.random.Generator, number: int) -> Patient:
    """Draws a patient's body and the geometry of the scan."""
    group = list(GROUPS)[(number - 1) % len(GROUPS)]
    heart = draw_heart(rng, GROUPS[group])
    in_plane = float(np.round(rng.uniform(1.37, 1.9), 4))
    thickness = float(rng.choice([10.0, 8.0, 7.0], p=[0.75, 0.15, 0.10]))
    first_slice = float(rng.uniform(-0.6, 0.4) * thickness)
    slices = int(np.clip(np.ceil((heart.length - first_slice) / thickness), 6, 10))
    # A fine matrix comes with a small voxel, as a scanner's field of view is limited both ways.
    rows, columns = np.clip(np.round(rng.uniform(195, 212, size=2) / in_plane), 110, 140)
    shape = (int(rows), int(columns), slices)
    spacing = (in_plane, in_plane, thickness)
    ed_frame, es_frame = ((1, 2), (1, 3), (2, 3))[rng.integers(3)]
    return Patient(
        number=number,
        group=group,
        stature=float(np.round(rng.normal(171, 9))),
        weight=float(np.round(rng.normal(76, 13))),
        ed_frame=ed_frame,
        es_frame=es_frame,
        shape=shape,
        spacing=spacing,
        first_slice=first_slice,
        breath_holds=rng.normal(0, 0.8, size=(2, slices)),
        affine=short_axis_affine(rng, shape, spacing),
        heart=heart,
        chest=Chest(
            shift=(float(rng.normal(0, 5)), float(rng.normal(0, 4))),
            diaphragm=float(rng.normal(34, 4)),
            liver=float(rng.uniform(0.34, 0.46)),
            stomach=float(rng.uniform(0.25, 0.6)),
            aorta=(float(rng.normal(60, 5)), float(rng.normal(48, 5))),
        ),
    )


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


def short_axis_affine(
    rng: np.random.Generator, shape: tuple[int, int, int], spacing: tuple[float, float, float]
) -> Array:
    """Oblique voxel-to-world matrix (RAS+) of a short-axis stack, a little different each time.

    The heart's axis points left, forward and down; the image's right is the patient's left and
    back, so that the right ventricle appears on the left, as cardiologists look at it.
    """
    to_apex = np.array([-0.66, 0.57, -0.49])
    down = np.array([0.0, -0.50, -0.85])
    to_apex /= np.linalg.norm(to_apex)
    down -= to_apex * (down @ to_apex)
    down /= np.linalg.norm(down)
    axes = np.stack([np.cross(to_apex, down), down, to_apex], axis=1)
    turned = Rotation.from_rotvec(np.deg2rad(rng.normal(0, 6, size=3))).as_matrix() @ axes
    affine = np.eye(4)
    affine[:3, :3] = turned * spacing
    heart_in_world = np.array([-25.0, 15.0, 10.0]) + rng.normal(0, 12, size=3)
    affine[:3, 3] = heart_in_world - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    # NIfTI stores single precision: rounding here makes the matrix in memory the one on disk.
    return affine.astype(np.float32).astype(np.float64)


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
    """Where points lie relative to the heart's surfaces at one phase.

    Attributes:
        height: 0 at the valves, 1 at the apex, one value per slice.
        radius: distance from the left ventricle's axis.
        endo: radius of the cavity as it is annotated, papillary muscles and trabeculae included.
        wet: radius of the cavity between the trabeculae, which blood fills.
        epi: radius of the left ventricle's outer surface.
        fat: radius of the fat on it.
        right: below 1 inside the right ventricle's cavity (which excludes the left ventricle).
        right_wall: below 1 inside its outer surface.
        right_fat: below 1 inside the fat on that.
        papillary: below 1 inside a papillary muscle.
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


def boundaries(heart: Heart, contraction: float, x: Array, y: Array, z: Array) -> Boundaries:
    """Measures points against the heart's surfaces.

    Args:
        heart: the patient's heart.
        contraction: 0 at end diastole, 1 at end systole.
        x: positions, broadcastable to (x, y, slices).
        y: the same.
        z: position of each slice, (slices,).
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


def labels(heart: Heart, contraction: float, x: Array, y: Array, z: Array) -> Array:
    """Label of each point by ACDC's convention; arguments as for `boundaries`."""
    at = boundaries(heart, contraction, x, y, z)
    below_valves = (at.height >= 0) & (at.height < 1)
    ventricle = (at.radius < at.epi) & below_valves
    right = (at.right < 1) & (at.radius >= at.epi) & (at.height >= heart.right_base)
    out = np.full(at.radius.shape, BACKGROUND, np.uint8)
    out[right] = RIGHT_VENTRICLE
    out[ventricle] = MYOCARDIUM
    out[ventricle & (at.radius < at.endo)] = LEFT_VENTRICLE
    return out


# --------------------------------------------------------------------------------------------------
# Render
# --------------------------------------------------------------------------------------------------


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


def held_breath(patient: Patient, x: Array, y: Array, through: int = 1) -> tuple[Array, Array]:
    """Moves points into the heart's frame: each slice was another breath-hold."""
    shift_x, shift_y = np.repeat(patient.breath_holds, through, axis=1).astype(np.float32)
    return x + shift_x, y + shift_y


def render(patient: Patient, contraction: float, grain: Array) -> Array:
    """Noiseless signal of a frame, with partial volume.

    Args:
        patient: the patient.
        contraction: phase of the beat.
        grain: unit noise on the scan's grid, which places vessels and trabeculae.
    """
    in_plane, through = 2, 2
    x, y, z = positions(patient, in_plane, through)
    grain = grain.repeat(in_plane, 0).repeat(in_plane, 1).repeat(through, 2)
    signal = chest_signal(patient.chest, x, y, z, grain)
    heart_x, heart_y = held_breath(patient, x, y, through)
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
    at = boundaries(heart, contraction, x, y, z)
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


# --------------------------------------------------------------------------------------------------
# Acquire
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scanner:
    """What the scanner adds to a patient's images, the same in each frame of the cine.

    Attributes:
        gain: stored value of blood.
        noise: standard deviation of the noise in each channel, relative to blood.
        sensitivity: the surface coil's smooth factor, on the scan's grid.
        texture: factor of the tissues' own unevenness, on the scan's grid.
        grain: see `render`.
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


# --------------------------------------------------------------------------------------------------
# Annotate
# --------------------------------------------------------------------------------------------------


def true_labels(patient: Patient, contraction: float) -> Array:
    """Labels at the voxels' centers, without an annotator's error."""
    x, y, z = positions(patient)
    return labels(patient.heart, contraction, *held_breath(patient, x, y), z)


def annotate(rng: np.random.Generator, patient: Patient, contraction: float) -> Array:
    """Labels as an annotator draws them, who deviates smoothly and anew in each slice.

    The error displaces the points at which the anatomy is looked up, so the order of the structures
    stays: muscle still separates the two cavities. Along z it is one shift of the whole frame: the
    annotator's choice of the most basal slice.
    """
    x, y, z = positions(patient)
    x, y = held_breath(patient, x, y)
    size = ANNOTATOR_ERROR * patient.spacing[0]
    dx, dy = (size * smooth_noise(rng, patient.shape, (5, 5, 0)) for _ in range(2))
    dz = np.float32(rng.normal(0, 2))
    return labels(patient.heart, contraction, x + dx, y + dy, z + dz)


# --------------------------------------------------------------------------------------------------
# Write
# --------------------------------------------------------------------------------------------------


def write_acdc_phantom(
    directory: str | os.PathLike[str],
    cases: int = 20,
    seed: int = 0,
    full_size: bool = False,  # noqa: ARG001 (every phantom takes it)
) -> Path:
    """Writes short-axis cine MRI of synthetic patients in ACDC's official layout.

    Groups alternate, so that any few patients in a row show healthy hearts and each disease. A
    folder that already holds the phantom of the same parameters is left as it is.

    Args:
        directory: folder to create; `training/patient001/…` goes below it.
        cases: number of patients. Further patients do not change the first ones.
        seed: seed of everything random.
        full_size: has no effect, as the phantom always has the matrix of the real data.

    Returns:
        The directory.

    Raises:
        InputError: the directory holds something else, or cannot be written.
    """
    record = {"name": "acdc", "cases": cases, "seed": seed, "version": VERSION}

    def write_case(root: Path, number: int) -> None:
        write_acdc_patient(root / "training", seed, number)

    return write_phantom(directory, write_case, range(1, cases + 1), record=record)


def write_acdc_patient(folder: Path, seed: int, number: int) -> None:
    """Writes one patient's folder."""
    anatomy, scan, annotator = case_streams(seed, number)
    patient = draw_patient(anatomy, number)
    scanner = draw_scanner(scan, patient)
    folder = folder / patient.name
    folder.mkdir(parents=True)
    signals = [render(patient, phase, scanner.grain) for phase in patient.phases.values()]
    signals.append((signals[0] + signals[1]) / 2)  # the frame in between, blurred by motion
    images = [acquire(scan, scanner, signal) for signal in signals]
    cine = dict(zip((*patient.phases, patient.other_frame), images, strict=True))
    volumes = np.stack([cine[frame] for frame in sorted(cine)], axis=-1)
    save(patient, volumes, folder / f"{patient.name}_4d.nii.gz")
    for frame, contraction in patient.phases.items():
        stem = f"{patient.name}_frame{frame:02d}"
        label = annotate(annotator, patient, contraction)
        save(patient, cine[frame], folder / f"{stem}.nii.gz")
        save(patient, label, folder / f"{stem}_gt.nii.gz")
    (folder / "Info.cfg").write_text(info_cfg(patient), encoding="utf-8")


def info_cfg(patient: Patient) -> str:
    """Text of ACDC's description of a patient."""
    fields = {
        "ED": patient.ed_frame,
        "ES": patient.es_frame,
        "Group": patient.group,
        "Height": patient.stature,
        "NbFrame": len(FRAMES),
        "Weight": patient.weight,
    }
    return "".join(f"{key}: {value}\n" for key, value in fields.items())


def save(patient: Patient, voxels: Array, path: Path) -> None:
    """Writes voxels in the patient's geometry; a fourth axis is time."""
    image: Any = nib.Nifti1Image(voxels, patient.affine)  # type: ignore[no-untyped-call]
    image.set_sform(patient.affine, code=1)
    image.set_qform(patient.affine, code=1)
    image.header.set_xyzt_units("mm", "sec")
    seconds_per_frame = (1 / len(FRAMES),) * (voxels.ndim - 3)
    image.header.set_zooms((*patient.spacing, *seconds_per_frame))
    nib.save(image, path)
