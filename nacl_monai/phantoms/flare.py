"""CT of abdominal organs, in the official layout of FLARE 2021."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from nacl_monai.phantoms.abdomen import (
    HOUNSFIELD,
    KIDNEY,
    LIVER,
    PANCREAS,
    SPLEEN,
    draw_torso,
)
from nacl_monai.phantoms.acquisition import computed_tomography, signal_of
from nacl_monai.phantoms.grids import Grid
from nacl_monai.phantoms.shapes import draw_warp
from nacl_monai.phantoms.writing import case_streams, save_nifti, write_phantom

VERSION = 1  # raise it whenever the files written for a seed change
COLUMNS, FULL_COLUMNS = 96, 512
HEIGHT = 280.0  # of the scanned part of a body, in millimetres; of the small phantom, in miniature
MINIATURE = 3.0  # by which the small phantom is shorter
ORGANS = (LIVER, KIDNEY, SPLEEN, PANCREAS)


def write_flare_phantom(
    directory: str | os.PathLike[str], cases: int = 20, seed: int = 0, full_size: bool = False
) -> Path:
    """Writes CT of abdomens as FLARE 2021 does: several scanners' spacings and orientations.

    Each case is ``TrainingImg/train_XXX_0000.nii.gz`` in Hounsfield units and
    ``TrainingMask/train_XXX.nii.gz`` with labels 1 liver, 2 kidneys, 3 spleen and 4 pancreas.

    Args:
        directory: folder to create.
        cases: number of patients. Further patients do not change the first ones.
        seed: seed of everything random.
        full_size: write 512×512 voxels a slice instead of 96×96, and three times as many slices.

    Returns:
        The directory.

    Raises:
        InputError: a number is out of range; the directory holds something else, or cannot be
            written.
    """
    record = {"name": "flare", "cases": cases, "seed": seed, "full_size": full_size}

    def write_case(root: Path, number: int) -> None:
        write_flare_case(root, seed, number, full_size)

    return write_phantom(directory, write_case, range(cases), record=record | {"version": VERSION})


def write_flare_case(root: Path, seed: int, number: int, full_size: bool) -> None:
    """Writes one patient's image and label."""
    anatomy, scanner, annotator = case_streams(seed, number)
    torso = draw_torso(anatomy)
    miss = draw_warp(annotator, deviation=0.010, wavelength=0.25)
    grid = draw_grid(scanner, number, full_size)
    tissues = grid.sample(torso.tissues)
    labels = grid.sample(lambda points: torso.tissues(points + miss(points)))
    labels[~np.isin(labels, ORGANS)] = 0
    enhanced = {organ: HOUNSFIELD[organ] + scanner.normal(0, 10) for organ in ORGANS}
    hounsfield = signal_of(tissues, {**HOUNSFIELD, **enhanced})
    image = computed_tomography(scanner, hounsfield, noise=scanner.uniform(12, 25))
    save_nifti(image, grid.affine, root / "TrainingImg" / f"train_{number:03d}_0000.nii.gz")
    save_nifti(labels, grid.affine, root / "TrainingMask" / f"train_{number:03d}.nii.gz")


def draw_grid(rng: np.random.Generator, number: int, full_size: bool) -> Grid:
    """Draws a scan: spacing, slices to match, and one of three orientations in turn."""
    in_plane = float(np.round(rng.uniform(0.6, 0.9), 4))
    thickness = float(rng.choice([2.5, 3.0, 4.0, 5.0]))
    height = HEIGHT if full_size else HEIGHT / MINIATURE
    columns = FULL_COLUMNS if full_size else COLUMNS
    return Grid(
        shape=(columns, columns, round(height / thickness)),
        spacing=(in_plane, in_plane, thickness),
        axes=("LPS", "RAS", "LAS")[number % 3],
        origin=tuple(np.round(rng.uniform(-250, 250, 3), 2)),
    )
