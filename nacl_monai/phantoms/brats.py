"""Multimodal MRI of gliomas, in the official layout of BraTS 2019."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nacl_monai.phantoms.acquisition import magnetic_resonance, signal_of
from nacl_monai.phantoms.brain import FLUID, SCALP, SIGNALS, SKULL, draw_head
from nacl_monai.phantoms.grids import Grid
from nacl_monai.phantoms.shapes import (
    Array,
    Waves,
    draw_field,
    draw_turn,
    draw_warp,
    ellipsoid,
)
from nacl_monai.phantoms.writing import CaseRequest, Phantom, save_nifti

SHAPE, FULL_SHAPE = (72, 72, 40), (240, 240, 155)

CORE, EDEMA, ENHANCING = 1, 2, 4  # labels; the core is necrotic or does not enhance
TUMOR = 20  # a tumor's tissue is this plus its label
TUMOR_SIGNALS = {
    "t1": {CORE: 0.42, EDEMA: 0.68, ENHANCING: 0.62},
    "t1ce": {CORE: 0.45, EDEMA: 0.68, ENHANCING: 1.55},
    "t2": {CORE: 1.40, EDEMA: 1.20, ENHANCING: 1.00},
    "flair": {CORE: 0.88, EDEMA: 1.32, ENHANCING: 1.12},
}


@dataclass(frozen=True)
class Glioma:
    """A tumor: nested regions of one irregular ellipsoid.

    Attributes:
        center: Position in the head.
        radii: Half axes of its core.
        turn: Rotation of the axes.
        warp: Irregularity of every region.
        rim: Thickness of the enhancing rim as a fraction of the radius; 0 if nothing enhances.
        uneven: Field that thickens and thins the rim and the edema.
        spread: How far the edema reaches beyond the core, as a fraction of the radius.
    """

    center: tuple[float, float, float]
    radii: tuple[float, float, float]
    turn: Array
    warp: Waves
    rim: float
    uneven: Waves
    spread: float

    def labels(self, points: Array) -> Array:
        """BraTS's label at each position."""
        level = ellipsoid(points + self.warp(points), self.center, self.radii, self.turn)
        uneven = self.uneven(points)
        out = np.zeros(level.shape, np.uint8)
        out[level < 1 + self.spread * np.clip(1 + 0.6 * uneven, 0.3, None)] = EDEMA
        out[level < 1] = CORE
        out[(level < 1) & (level > 1 - self.rim * (1 + 0.4 * uneven))] = ENHANCING
        return out


def draw_glioma(rng: np.random.Generator, high_grade: bool) -> Glioma:
    """Draws a tumor in one hemisphere's white matter."""
    side = rng.choice([-1, 1])
    size = rng.uniform(0.15, 0.23)
    enhances = high_grade or rng.random() < 0.3
    return Glioma(
        center=(float(side * rng.uniform(0.24, 0.36)), *rng.uniform((-0.4, 0.05), (0.38, 0.38))),
        radii=tuple(size * rng.uniform(0.85, 1.2, 3) * (1, 1, 1.5)),
        turn=draw_turn(rng, 20),
        warp=draw_warp(rng, deviation=0.05, wavelength=0.6),
        rim=float(rng.uniform(0.25, 0.4) if high_grade else enhances * rng.uniform(0.2, 0.3)),
        uneven=draw_field(rng, deviation=1.0, wavelength=0.7),
        spread=float(rng.uniform(0.4, 0.7) if high_grade else rng.uniform(0.25, 0.5)),
    )


def write_patient(root: Path, case: CaseRequest) -> None:
    """Writes one patient's folder, ``{HGG,LGG}/NAME``; one patient in three has a low grade.

    High grades have an enhancing rim around necrosis; most low grades do not enhance.
    """
    high_grade = case.number % 3 != 2
    head, glioma = draw_head(case.anatomy), draw_glioma(case.anatomy, high_grade)
    shape = FULL_SHAPE if case.full_size else SHAPE
    miss = draw_warp(case.annotator, deviation=0.014, wavelength=0.3)
    grid = Grid(shape, (1, 1, 1), "LPS", origin=(0, shape[1] - 1, 0))

    def tissues_and_labels(points: Array) -> Array:
        tissues = head.tissues(points)
        tissues[np.isin(tissues, (SKULL, SCALP))] = 0
        inside = (tissues != 0) & (tissues != FLUID)
        lesion = glioma.labels(points)
        tissues = np.where(inside & (lesion > 0), TUMOR + lesion, tissues)
        labels = np.where(inside, glioma.labels(points + miss(points)), 0)
        return np.stack([tissues, labels], axis=-1)

    tissues, labels = np.moveaxis(grid.sample(tissues_and_labels), -1, 0)
    name = f"BraTS19_TCIA{case.number:02d}_{100 + case.number}_1"
    stem = root / ("HGG" if high_grade else "LGG") / name / name
    for modality, lesions in TUMOR_SIGNALS.items():
        healthy = SIGNALS[modality.removesuffix("ce")]
        signals = {**healthy, **{TUMOR + label: value for label, value in lesions.items()}}
        signal = signal_of(tissues, signals)
        image = magnetic_resonance(case.scanner, signal, noise=0.045, texture=0.06)
        stored = np.round(case.scanner.uniform(150, 900) * image).clip(1, 32767)
        stored[tissues == 0] = 0  # skull-stripped
        save_nifti(stored.astype(np.int16), grid.affine, Path(f"{stem}_{modality}.nii.gz"))
    save_nifti(labels.astype(np.int16), grid.affine, Path(f"{stem}_seg.nii.gz"))


BRATS = Phantom("brats", write_patient, first=1)
