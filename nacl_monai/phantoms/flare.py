"""CT of abdominal organs, in the official layout of FLARE 2021."""

from __future__ import annotations

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
from nacl_monai.phantoms.writing import CaseRequest, Phantom, save_nifti

COLUMNS, FULL_COLUMNS = 96, 512
HEIGHT = 280.0  # of the scanned part of a body, in millimeters; the small phantom is a miniature
MINIATURE = 3.0  # by which the small phantom is shorter
ORGANS = (LIVER, KIDNEY, SPLEEN, PANCREAS)


def write_patient(root: Path, case: CaseRequest) -> None:
    """Writes one patient's image, in Hounsfield units, and label."""
    scanner = case.scanner
    torso = draw_torso(case.anatomy)
    miss = draw_warp(case.annotator, deviation=0.010, wavelength=0.25)
    grid = draw_grid(scanner, case.number, case.full_size)
    tissues = grid.sample(torso.tissues)
    labels = grid.sample(lambda points: torso.tissues(points + miss(points)))
    labels[~np.isin(labels, ORGANS)] = 0
    enhanced = {organ: HOUNSFIELD[organ] + scanner.normal(0, 10) for organ in ORGANS}
    hounsfield = signal_of(tissues, {**HOUNSFIELD, **enhanced})
    image = computed_tomography(scanner, hounsfield, noise=scanner.uniform(12, 25))
    save_nifti(image, grid.affine, root / "TrainingImg" / f"train_{case.number:03d}_0000.nii.gz")
    save_nifti(labels, grid.affine, root / "TrainingMask" / f"train_{case.number:03d}.nii.gz")


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


FLARE = Phantom("flare", write_patient)
