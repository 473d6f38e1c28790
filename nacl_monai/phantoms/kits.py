"""CT of kidneys with a tumor, in the official layout of KiTS19."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nacl_monai.phantoms import abdomen
from nacl_monai.phantoms.acquisition import computed_tomography, signal_of
from nacl_monai.phantoms.grids import Grid
from nacl_monai.phantoms.shapes import Array, Waves, draw_field, draw_warp, ellipsoid
from nacl_monai.phantoms.writing import CaseRequest, Phantom, save_nifti

COLUMNS, FULL_COLUMNS = 96, 512
HEIGHT = 300.0  # of the scanned part of a body, in millimeters
MINIATURE = 3.0  # by which the small phantom is shorter
SEGMENTED, UNSEGMENTED = 210, 2  # cases with, and cases of the phantom without segmentation

KIDNEY, TUMOR = 1, 2  # labels
CANCER, NECROSIS = 30, 31  # tissues of a tumor


@dataclass(frozen=True)
class Tumor:
    """A lump at the surface of a kidney.

    Attributes:
        center: Position in the abdomen.
        radius: Its size.
        warp: Irregularity.
        uneven: Field, high where the tumor has lost its blood supply.
    """

    center: Array
    radius: Array
    warp: Waves
    uneven: Waves

    def tissues(self, points: Array, tissues: Array) -> Array:
        """Puts the tumor among an abdomen's tissues; it displaces all but bone and air."""
        level = ellipsoid(points + self.warp(points), self.center, self.radius)
        spared = np.isin(tissues, (abdomen.BONE, abdomen.MARROW, abdomen.AIR))
        lost = (self.uneven(points) > 0.4) & (level < 0.7)
        return np.where((level < 1) & ~spared, np.where(lost, NECROSIS, CANCER), tissues)


def draw_tumor(rng: np.random.Generator) -> Tumor:
    """Draws a tumor on the outer or front side of one kidney."""
    side = rng.choice([-1, 1])
    size = rng.uniform(0.09, 0.16)
    around = rng.uniform(-0.4, 1.1)
    outward = np.array([0.13 * np.cos(around), 0.17 * np.sin(around), rng.uniform(-0.25, 0.25)])
    kidney = np.array([0.38, -0.26, -0.14 - 0.04 * side])
    return Tumor(
        center=(kidney + outward) * (side, 1, 1),
        radius=size * rng.uniform(0.85, 1.15, 3) * (1, 1, 1.7),
        warp=draw_warp(rng, deviation=0.012, wavelength=0.3),
        uneven=draw_field(rng, deviation=1.0, wavelength=0.15),
    )


def write_patient(root: Path, case: CaseRequest) -> None:
    """Writes one patient's folder, ``data/case_XXXXX``; the last ones lack a segmentation."""
    folder = root / "data" / f"case_{case.number:05d}"
    scanner = case.scanner
    torso, tumor = abdomen.draw_torso(case.anatomy), draw_tumor(case.anatomy)
    miss = draw_warp(case.annotator, deviation=0.008, wavelength=0.25)
    grid = draw_grid(scanner, case.full_size)

    def tissues(points: Array) -> Array:
        return tumor.tissues(points, torso.tissues(points))

    values = {
        **abdomen.HOUNSFIELD,
        CANCER: scanner.uniform(70, 125),
        NECROSIS: scanner.uniform(15, 40),
    }
    hounsfield = signal_of(grid.sample(tissues), values)
    image = computed_tomography(scanner, hounsfield, noise=scanner.uniform(12, 25))
    save_nifti(image, grid.affine, folder / "imaging.nii.gz")
    if case.number < SEGMENTED:
        missed = grid.sample(lambda points: tissues(points + miss(points)))
        labels = np.zeros(grid.shape, np.uint8)
        labels[missed == abdomen.KIDNEY] = KIDNEY
        labels[np.isin(missed, (CANCER, NECROSIS))] = TUMOR
        save_nifti(labels, grid.affine, folder / "segmentation.nii.gz")


def draw_grid(rng: np.random.Generator, full_size: bool) -> Grid:
    """Draws a scan's spacing and the slices to match."""
    in_plane = float(np.round(rng.uniform(0.6, 0.95), 4))
    thickness = float(rng.choice([2.0, 2.5, 3.0, 5.0]))
    height = HEIGHT if full_size else HEIGHT / MINIATURE
    columns = FULL_COLUMNS if full_size else COLUMNS
    return Grid(
        shape=(round(height / thickness), columns, columns),
        spacing=(thickness, in_plane, in_plane),
        axes="IPL",
    )


KITS = Phantom(
    "kits",
    write_patient,
    most=SEGMENTED,
    unlabeled=range(SEGMENTED, SEGMENTED + UNSEGMENTED),
)
