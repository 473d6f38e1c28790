"""T2-weighted and diffusion MRI of the prostate, in the Decathlon's layout (Task05_Prostate)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nacl_monai.phantoms.acquisition import magnetic_resonance, signal_of
from nacl_monai.phantoms.decathlon import Task, task_phantom
from nacl_monai.phantoms.grids import Grid
from nacl_monai.phantoms.shapes import (
    Array,
    Waves,
    cylinder,
    draw_field,
    draw_turn,
    draw_warp,
    ellipsoid,
    mirrored,
    tube,
)
from nacl_monai.phantoms.writing import CaseRequest

TASK = Task(
    name="Prostate",
    description="Prostate transitional zone and peripheral zone segmentation",
    reference="Synthetic phantom in the layout of the Radboud University Medical Center's data",
    licence="Apache-2.0",
    release="phantom",
    tensorImageSize="4D",
    modality={"0": "T2", "1": "ADC"},
    labels={"0": "background", "1": "PZ", "2": "TZ"},
    numTraining=32,
)
SHAPE, FULL_SHAPE = (80, 80, 12), (320, 320, 20)
SPACING = (0.6, 0.6, 3.6)

PERIPHERAL, TRANSITION = 1, 2  # labels, and tissues
NODULE, LESION, FAT, MUSCLE, BONE, MARROW, URINE, WALL, STOOL, VEINS = range(3, 13)
SIGNALS = {
    "t2": {
        PERIPHERAL: 1.0, TRANSITION: 0.55, NODULE: 0.85, LESION: 0.45, FAT: 0.85, MUSCLE: 0.22,
        BONE: 0.08, MARROW: 0.55, URINE: 1.5, WALL: 0.4, STOOL: 0.12, VEINS: 0.95,
    },
    "adc": {
        PERIPHERAL: 1.0, TRANSITION: 0.70, NODULE: 0.80, LESION: 0.45, FAT: 0.12, MUSCLE: 0.60,
        BONE: 0.05, MARROW: 0.15, URINE: 1.6, WALL: 0.65, STOOL: 0.1, VEINS: 0.9,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Pelvis:
    """A pelvis around a prostate.

    Attributes:
        warp: Deviation from the typical anatomy.
        size: Size of the prostate relative to the typical one.
        hyperplasia: Size of the transition zone relative to the typical one.
        nodules: Random field; nodules of the transition zone are where it is high.
        lesion: Center of a cancer in the peripheral zone.
        filling: Size of the bladder relative to the typical one.
    """

    warp: Waves
    size: float
    hyperplasia: float
    nodules: Waves
    lesion: Array
    filling: float

    def tissues(self, points: Array) -> Array:
        """The tissue at each position."""
        points = points + self.warp(points)
        ahead = points[1]
        pair = mirrored(points)
        out = np.full(ahead.shape, FAT, np.uint8)
        out[cylinder(points, (0, -0.02), (0.66, 0.62)) < 1] = VEINS
        out[cylinder(points, (0, -0.05), (0.58, 0.60)) < 1] = FAT
        obturator = cylinder(pair, (0.72, 0.05), (0.16, 0.48))
        out[obturator < 1] = MUSCLE
        levator = np.abs(cylinder(points, (0, -0.2), (0.47, 0.55)) - 1)
        out[(levator < 0.06) & (ahead < 0.15)] = MUSCLE
        for center, radii in (
            ((0.98, 0.25), (0.2, 0.5)),  # femoral head and acetabulum
            ((0.36, 0.72), (0.3, 0.13)),  # pubic bone
        ):
            bone = cylinder(pair, center, radii)
            out[bone < 1] = BONE
            out[bone < 0.8] = MARROW
        gluteal = cylinder(pair, (0.7, -1.05), (0.6, 0.4))
        out[gluteal < 1] = MUSCLE

        bladder = ellipsoid(points, (0, 0.3, 1.0), np.array([0.46, 0.32, 0.7]) * self.filling)
        out[bladder < 1] = WALL
        out[bladder < 0.87] = URINE
        rectum = tube(points, [(0, -0.62, -1), (0.02, -0.56, 0), (0, -0.64, 1)], [0.13, 0.2, 0.18])
        out[rectum < 1] = WALL
        out[rectum < 0.72] = STOOL
        vesicles = ellipsoid(pair, (0.2, -0.24, 0.75), (0.2, 0.09, 0.3))
        out[(vesicles < 1) & (rectum > 1)] = VEINS

        gland, inner = self.zones(points)
        out[(gland < 1.08) & (rectum > 1)] = WALL  # the capsule
        out[gland < 1] = PERIPHERAL
        out[(gland < 1) & (ellipsoid(points, self.lesion, (0.09, 0.07, 0.2)) < 1)] = LESION
        transition = (gland < 1) & (inner < 1)
        out[transition] = np.where(self.nodules(points) > 0.5, NODULE, TRANSITION)[transition]
        return out

    def zones(self, points: Array) -> tuple[Array, Array]:
        """Levels of the whole gland and of its transition zone, in front of the peripheral one."""
        gland = ellipsoid(points, (0, 0, 0), np.array([0.38, 0.30, 0.72]) * self.size)
        radii = np.array([0.30, 0.23, 0.56]) * self.size * self.hyperplasia
        return gland, ellipsoid(points, (0, 0.08 * self.size, 0.06), radii)


def draw_pelvis(rng: np.random.Generator) -> Pelvis:
    """Draws a pelvis."""
    size = float(rng.uniform(0.9, 1.12))
    side = rng.choice([-1, 1])
    return Pelvis(
        warp=draw_warp(rng, deviation=0.018, wavelength=0.8),
        size=size,
        hyperplasia=float(rng.uniform(0.88, 1.05)),
        nodules=draw_field(rng, deviation=1.0, wavelength=0.25),
        lesion=np.array([side * rng.uniform(0.1, 0.25), -0.2, rng.uniform(-0.3, 0.3)]) * size,
        filling=float(rng.uniform(0.8, 1.2)),
    )


def make_case(case: CaseRequest) -> tuple[Array, Array, Array]:
    """Makes the image (T2 and ADC along the last axis), the label and the affine of a case.

    Every other case is oblique.
    """
    scanner = case.scanner
    pelvis = draw_pelvis(case.anatomy)
    miss = draw_warp(case.annotator, deviation=0.018, wavelength=0.4)
    tilt = draw_turn(scanner, 8)
    grid = Grid(
        FULL_SHAPE if case.full_size else SHAPE,
        SPACING,
        "RAS",
        origin=tuple(np.round(scanner.uniform(-100, 0, 3), 2)),
        tilt=tilt if case.number % 2 else np.eye(3),
    )
    tissues = grid.sample(pelvis.tissues)
    t2 = magnetic_resonance(
        scanner, signal_of(tissues, SIGNALS["t2"]), noise=0.05, texture=0.1, blur=(0.6, 0.6, 0.3)
    )
    # Diffusion is measured on a coarser grid, and resampled to that of T2.
    adc = magnetic_resonance(
        scanner, signal_of(tissues, SIGNALS["adc"]), noise=0.08, texture=0.1, blur=(1.2, 1.2, 0.3)
    )
    image = np.stack([scanner.uniform(250, 900) * t2, scanner.uniform(1400, 1900) * adc], axis=-1)
    label = grid.sample(lambda points: zone_labels(pelvis, points + miss(points)))
    return image.astype(np.float32), label, grid.affine


def zone_labels(pelvis: Pelvis, points: Array) -> Array:
    """Label at each position; nodules and lesions belong to their zones."""
    gland, inner = pelvis.zones(points + pelvis.warp(points))
    inside = gland < 1
    labels: Array = np.where(inside & (inner < 1), TRANSITION, np.where(inside, PERIPHERAL, 0))
    return labels.astype(np.uint8)


PROSTATE = task_phantom(TASK, make_case)
