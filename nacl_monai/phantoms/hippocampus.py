"""MRI of the hippocampus, in the Decathlon's layout (Task04_Hippocampus)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nacl_monai.phantoms.acquisition import magnetic_resonance, signal_of
from nacl_monai.phantoms.decathlon import Task, task_phantom
from nacl_monai.phantoms.grids import Grid
from nacl_monai.phantoms.shapes import (
    Array,
    Waves,
    column,
    draw_field,
    draw_turn,
    draw_warp,
    ellipsoid,
    tube,
)
from nacl_monai.phantoms.writing import CaseRequest

TASK = Task(
    name="Hippocampus",
    description="Left and right hippocampus segmentation",
    reference="Synthetic phantom in the layout of the Vanderbilt University Medical Center's data",
    licence="Apache-2.0",
    release="phantom",
    tensorImageSize="3D",
    modality={"0": "MRI"},
    labels={"0": "background", "1": "Anterior", "2": "Posterior"},
    numTraining=260,
)

ANTERIOR, POSTERIOR = 1, 2  # labels, and tissues
FLUID, WHITE_MATTER, GRAY_MATTER, STEM = 3, 4, 5, 6
SIGNALS = {
    ANTERIOR: 0.70, POSTERIOR: 0.69, FLUID: 0.2, WHITE_MATTER: 1.0, GRAY_MATTER: 0.66, STEM: 0.92,
}  # fmt: skip
# Stored value of white matter; the data come from several scanners' reconstructions.
SCALES = (70.0, 480.0, 250_000.0)


@dataclass(frozen=True)
class TemporalLobe:
    """The hippocampus in the inner temporal lobe, and what surrounds it.

    Attributes:
        warp: Deviation from the typical anatomy.
        turn: Rotation of the whole.
        folds: Random field; the gray matter's folds follow it.
        size: Thickness of the hippocampus relative to the typical one.
        border: Where the anterior part ends.
    """

    warp: Waves
    turn: Array
    folds: Waves
    size: float
    border: float

    def tissues(self, points: Array) -> Array:
        """The tissue at each position."""
        points = np.tensordot(self.turn.astype(np.float32), points, axes=1)
        points = points + self.warp(points)
        right, ahead, up = points
        fold = self.folds(points)
        out = np.full(right.shape, WHITE_MATTER, np.uint8)
        # Cortex below and beside, fluid between its folds and in the cistern towards the middle.
        cortex = np.minimum(0.75 + 0.1 * fold - right, 0.62 + 0.12 * fold + up - 0.2 * ahead)
        out[cortex < 0.2] = GRAY_MATTER
        out[np.abs(fold) < 0.12] = np.where(cortex < 0.1, FLUID, out)[np.abs(fold) < 0.12]
        out[cortex < -0.1] = FLUID
        out[ellipsoid(points, (-1.1, -0.2, 0.3), (0.55, 0.7, 0.9)) < 1] = STEM
        out[ellipsoid(points, (0.05, 0.85, 0.0), (0.4, 0.25, 0.36)) < 1] = GRAY_MATTER  # amygdala

        level = self.hippocampus(points)
        beside = points - column((0.16, 0.02, 0.14))
        out[(self.hippocampus(beside) < 1.02) & (level > 0.8)] = FLUID  # the temporal horn
        out[level < 1] = np.where(ahead > self.border, ANTERIOR, POSTERIOR)[level < 1]
        return out

    def hippocampus(self, points: Array) -> Array:
        """Level of the hippocampus: a thick head in front, a body that rises and thins behind."""
        path = [(0.1, 0.46, -0.34), (0.0, 0.2, -0.3), (-0.08, -0.2, -0.02), (-0.22, -0.54, 0.3)]
        flattened = points * column((1, 1, 1.15))
        return tube(flattened, path, [self.size * r for r in (0.34, 0.36, 0.28, 0.20)])


def draw_temporal_lobe(rng: np.random.Generator) -> TemporalLobe:
    """Draws a temporal lobe."""
    return TemporalLobe(
        warp=draw_warp(rng, deviation=0.05, wavelength=1.2),
        turn=draw_turn(rng, 5),
        folds=draw_field(rng, deviation=1.0, wavelength=0.9),
        size=float(rng.uniform(0.85, 1.1)),
        border=float(rng.normal(0.1, 0.05)),
    )


def make_case(case: CaseRequest) -> tuple[Array, Array, Array]:
    """Makes the image, the label and the affine of a case.

    The scale of intensities differs by orders of magnitude between cases; where it is small, images
    are stored in 8 bits.
    """
    scanner = case.scanner
    lobe = draw_temporal_lobe(case.anatomy)
    miss = draw_warp(case.annotator, deviation=0.03, wavelength=0.6)
    rows, columns, slices = (int(n) for n in scanner.integers((32, 42, 27), (38, 52, 37)))
    grid = Grid((rows, columns, slices), (1, 1, 1), "RAS", origin=(1, 1, 1))
    signal = signal_of(grid.sample(lobe.tissues), SIGNALS)
    scale = SCALES[case.number % len(SCALES)]
    image = scale * magnetic_resonance(scanner, signal, noise=0.035, blur=(0.7, 0.7, 0.7))
    stored = np.round(image).clip(0, 255).astype(np.uint8) if scale < 100 else image
    label = grid.sample(lambda points: lobe.tissues(points + miss(points)))
    label[label > POSTERIOR] = 0
    return stored, label, grid.affine


HIPPOCAMPUS = task_phantom(TASK, make_case, one_size=True)
