"""Multi-sequence MRI of brains, in the official layout of MRBrainS18."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np

from nacl_monai.phantoms.acquisition import magnetic_resonance, signal_of
from nacl_monai.phantoms.brain import (
    CORTEX,
    SIGNALS,
    SKULL,
    WHITE_MATTER,
    Head,
    draw_head,
)
from nacl_monai.phantoms.grids import Grid
from nacl_monai.phantoms.shapes import Array, Waves, draw_warp, ellipsoid
from nacl_monai.phantoms.writing import CaseRequest, Phantom, save_nifti

PATIENTS = ("1", "4", "5", "7", "14", "070", "148")
WITH_INFARCT = ("4", "7", "070")
SHAPE, FULL_SHAPE = (80, 80, 32), (240, 240, 48)
SPACING = (0.958, 0.958, 3.0)

LESION, INFARCT, OTHER = 4, 9, 10
LESION_SIGNALS = {
    "t1": {LESION: 0.74, INFARCT: 0.36, OTHER: 1.30},
    "flair": {LESION: 1.30, INFARCT: 0.34, OTHER: 1.05},
    "ir": {LESION: 0.60, INFARCT: 0.26, OTHER: 1.20},
}
FILES = {"t1": "reg_T1", "ir": "reg_IR", "flair": "FLAIR"}


@dataclass(frozen=True)
class Patient:
    """A head with lesions: label → (center, radii) of each lesion."""

    head: Head
    lesions: dict[int, Sequence[tuple[Array, Array]]]
    warp: Waves

    def tissues(self, points: Array) -> Array:
        """The tissue at each position; up to 10 it is MRBrainS18's label."""
        out = self.head.tissues(points)
        points = points + self.warp(points)
        for label, shapes in self.lesions.items():
            level = reduce(np.minimum, (ellipsoid(points, *shape) for shape in shapes))
            allowed = (WHITE_MATTER,) if label == LESION else (WHITE_MATTER, CORTEX)
            out[(level < 1) & np.isin(out, allowed)] = label
        return out


def draw_patient(rng: np.random.Generator, infarct: bool) -> Patient:
    """Draws a patient: lesions around the ventricles, one other lesion, perhaps an infarct."""

    def in_hemisphere(low: Sequence[float], high: Sequence[float]) -> Array:
        center: Array = rng.uniform(low, high) * (rng.choice([-1, 1]), 1, 1)
        return center

    def radii(low: float, high: float) -> Array:
        drawn: Array = rng.uniform(low, high) * rng.uniform(0.8, 1.3, 3) * (1, 1, 1.4)
        return drawn

    lesions: dict[int, Sequence[tuple[Array, Array]]] = {
        LESION: [
            (in_hemisphere((0.16, -0.5, 0.05), (0.30, 0.45, 0.40)), radii(0.04, 0.10))
            for _ in range(rng.integers(7, 14))
        ],
        OTHER: [(in_hemisphere((0.28, -0.35, 0.2), (0.36, 0.3, 0.4)), radii(0.06, 0.09))],
    }
    if infarct:
        lesions[INFARCT] = [
            (in_hemisphere((0.40, -0.35, 0.1), (0.50, 0.3, 0.4)), radii(0.10, 0.14))
        ]
    return Patient(draw_head(rng), lesions, draw_warp(rng, deviation=0.02, wavelength=0.4))


def write_patient(root: Path, case: CaseRequest) -> None:
    """Writes one patient's folder, ``training/ID``."""
    scanner = case.scanner
    name = PATIENTS[case.number]
    folder = root / "training" / name
    patient = draw_patient(case.anatomy, infarct=name in WITH_INFARCT)
    miss = draw_warp(case.annotator, deviation=0.012, wavelength=0.3)
    shape = FULL_SHAPE if case.full_size else SHAPE
    corner = -0.5 * np.array(shape) * SPACING + scanner.normal(0, 8, 3)
    grid = Grid(shape, SPACING, "RAS", origin=tuple(np.round(corner, 3)))
    tissues = grid.sample(patient.tissues)
    labels = grid.sample(lambda points: patient.tissues(points + miss(points)))
    labels[labels >= SKULL] = 0
    for sequence, file in FILES.items():
        signal = signal_of(tissues, {**SIGNALS[sequence], **LESION_SIGNALS[sequence]})
        image = magnetic_resonance(scanner, signal, noise=0.04, blur=(0.6, 0.6, 0.4))
        stored = (scanner.uniform(120, 600) * image).astype(np.float32)
        save_nifti(stored, grid.affine, folder / "pre" / f"{file}.nii.gz")
    save_nifti(labels, grid.affine, folder / "segm.nii.gz")


MRBRAINS = Phantom("mrbrains", write_patient, most=len(PATIENTS))
