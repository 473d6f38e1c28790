"""Multimodal MRI of gliomas, in the official layout of BraTS 2019."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nacl_monai.phantoms.acquisition import magnetic_resonance, signal_of
from nacl_monai.phantoms.brain import FLUID, SCALP, SIGNALS, SKULL, draw_head
from nacl_monai.phantoms.grids import Grid
from nacl_monai.phantoms.shapes import (
    Waves,
    draw_field,
    draw_turn,
    draw_warp,
    ellipsoid,
)
from nacl_monai.phantoms.writing import case_streams, save_nifti, write_phantom

Array = npt.NDArray[Any]

VERSION = 1  # raise it whenever the files written for a seed change
SHAPE, FULL_SHAPE = (72, 72, 40), (240, 240, 155)

CORE, OEDEMA, ENHANCING = 1, 2, 4  # labels; the core is necrotic or does not enhance
TUMOUR = 20  # a tumor's tissue is this plus its label
TUMOUR_SIGNALS = {
    "t1": {CORE: 0.42, OEDEMA: 0.68, ENHANCING: 0.62},
    "t1ce": {CORE: 0.45, OEDEMA: 0.68, ENHANCING: 1.55},
    "t2": {CORE: 1.40, OEDEMA: 1.20, ENHANCING: 1.00},
    "flair": {CORE: 0.88, OEDEMA: 1.32, ENHANCING: 1.12},
}


@dataclass(frozen=True)
class Glioma:
    """A tumor: nested regions of one irregular ellipsoid.

    Attributes:
        center: position in the head.
        radii: half axes of its core.
        turn: rotation of the axes.
        warp: irregularity of every region.
        rim: thickness of the enhancing rim as a fraction of the radius; 0 if nothing enhances.
        uneven: field that thickens and thins the rim and the oedema.
        spread: how far the oedema reaches beyond the core, as a fraction of the radius.
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
        out[level < 1 + self.spread * np.clip(1 + 0.6 * uneven, 0.3, None)] = OEDEMA
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


def write_brats_phantom(
    directory: str | os.PathLike[str], cases: int = 20, seed: int = 0, full_size: bool = False
) -> Path:
    """Writes skull-stripped MRI of gliomas, one in three of low grade, as BraTS 2019 does.

    Each case is ``{HGG,LGG}/NAME/NAME_{flair,t1,t1ce,t2,seg}.nii.gz`` with labels 1 (necrotic and
    non-enhancing core), 2 (oedema) and 4 (enhancing), at 1 mm. High grades have an enhancing rim
    around necrosis; most low grades do not enhance.

    Args:
        directory: folder to create.
        cases: number of patients. Further patients do not change the first ones.
        seed: seed of everything random.
        full_size: write 240×240×155 voxels instead of 72×72×40.

    Returns:
        The directory.

    Raises:
        InputError: a number is out of range; the directory holds something else, or cannot be
            written.
    """
    shape = FULL_SHAPE if full_size else SHAPE
    record = {"name": "brats", "cases": cases, "seed": seed, "full_size": full_size}

    def write_case(root: Path, number: int) -> None:
        write_brats_case(root, seed, number, shape)

    numbers = range(1, cases + 1)
    return write_phantom(directory, write_case, numbers, record=record | {"version": VERSION})


def write_brats_case(root: Path, seed: int, number: int, shape: tuple[int, int, int]) -> None:
    """Writes one patient's folder."""
    anatomy, scanner, annotator = case_streams(seed, number)
    high_grade = number % 3 != 2
    head, glioma = draw_head(anatomy), draw_glioma(anatomy, high_grade)
    miss = draw_warp(annotator, deviation=0.014, wavelength=0.3)
    grid = Grid(shape, (1, 1, 1), "LPS", origin=(0, shape[1] - 1, 0))

    def tissues_and_labels(points: Array) -> Array:
        tissues = head.tissues(points)
        tissues[np.isin(tissues, (SKULL, SCALP))] = 0
        inside = (tissues != 0) & (tissues != FLUID)
        lesion = glioma.labels(points)
        tissues = np.where(inside & (lesion > 0), TUMOUR + lesion, tissues)
        labels = np.where(inside, glioma.labels(points + miss(points)), 0)
        return np.stack([tissues, labels], axis=-1)

    tissues, labels = np.moveaxis(grid.sample(tissues_and_labels), -1, 0)
    name = f"BraTS19_TCIA{number:02d}_{100 + number}_1"
    stem = root / ("HGG" if high_grade else "LGG") / name / name
    for modality, lesions in TUMOUR_SIGNALS.items():
        healthy = SIGNALS[modality.removesuffix("ce")]
        signals = {**healthy, **{TUMOUR + label: value for label, value in lesions.items()}}
        signal = signal_of(tissues, signals)
        image = magnetic_resonance(scanner, signal, noise=0.045, texture=0.06)
        stored = np.round(scanner.uniform(150, 900) * image).clip(1, 32767)
        stored[tissues == 0] = 0  # skull-stripped
        save_nifti(stored.astype(np.int16), grid.affine, Path(f"{stem}_{modality}.nii.gz"))
    save_nifti(labels.astype(np.int16), grid.affine, Path(f"{stem}_seg.nii.gz"))
