"""CT of kidneys with a tumor, in the official layout of KiTS19."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nacl_monai.phantoms import abdomen
from nacl_monai.phantoms.acquisition import computed_tomography, signal_of
from nacl_monai.phantoms.grids import Grid
from nacl_monai.phantoms.shapes import Waves, draw_field, draw_warp, ellipsoid
from nacl_monai.phantoms.writing import case_streams, save_nifti, write_phantom

Array = npt.NDArray[Any]

VERSION = 1  # raise it whenever the files written for a seed change
COLUMNS, FULL_COLUMNS = 96, 512
HEIGHT = 300.0  # of the scanned part of a body, in millimetres
MINIATURE = 3.0  # by which the small phantom is shorter
SEGMENTED, UNSEGMENTED = 210, 2  # cases with, and cases of the phantom without segmentation

KIDNEY, TUMOUR = 1, 2  # labels
CANCER, NECROSIS = 30, 31  # tissues of a tumor


@dataclass(frozen=True)
class Tumor:
    """A lump at the surface of a kidney.

    Attributes:
        center: position in the abdomen.
        radius: its size.
        warp: irregularity.
        uneven: field, high where the tumor has lost its blood supply.
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


def write_kits_phantom(
    directory: str | os.PathLike[str], cases: int = 20, seed: int = 0, full_size: bool = False
) -> Path:
    """Writes CT of kidneys with a tumor as KiTS19 does: the first array axis runs through slices.

    Each case is ``data/case_XXXXX/{imaging,segmentation}.nii.gz``, the image in Hounsfield units,
    with labels 1 kidney and 2 tumor. Two more cases, case_00210 and case_00211, have no
    segmentation, as the official ones from that number on.

    Args:
        directory: folder to create.
        cases: number of patients with segmentation. Further ones do not change the first ones.
        seed: seed of everything random.
        full_size: write 512×512 voxels a slice instead of 96×96, and three times as many slices.

    Returns:
        The directory.

    Raises:
        InputError: a number is out of range; the directory holds something else, or cannot be
            written.
    """
    record = {"name": "kits", "cases": cases, "seed": seed, "full_size": full_size}

    def write_case(root: Path, number: int) -> None:
        write_kits_case(root / "data" / f"case_{number:05d}", seed, number, full_size)

    return write_phantom(
        directory,
        write_case,
        [*range(cases), *range(SEGMENTED, SEGMENTED + UNSEGMENTED)],
        record=record | {"version": VERSION},
        most=SEGMENTED,
    )


def write_kits_case(folder: Path, seed: int, number: int, full_size: bool) -> None:
    """Writes one patient's folder."""
    anatomy, scanner, annotator = case_streams(seed, number)
    torso, tumor = abdomen.draw_torso(anatomy), draw_tumor(anatomy)
    miss = draw_warp(annotator, deviation=0.008, wavelength=0.25)
    grid = draw_grid(scanner, full_size)

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
    if number < SEGMENTED:
        missed = grid.sample(lambda points: tissues(points + miss(points)))
        labels = np.zeros(grid.shape, np.uint8)
        labels[missed == abdomen.KIDNEY] = KIDNEY
        labels[np.isin(missed, (CANCER, NECROSIS))] = TUMOUR
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
