"""MRI of heads: gliomas in BraTS 2019's official layout, ten tissues in MRBrainS18's."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nacl_monai.phantoms.painting import Piece, ScanGrid, draw_person, paint_scan
from nacl_monai.phantoms.writing import CaseRequest, Phantom, save_nifti

_MODALITIES = ("flair", "t1", "t1ce", "t2")
_BRATS_SHAPE, _FULL_BRATS_SHAPE = (72, 72, 40), (240, 240, 155)
_SKULL_STRIPPED = (
    Piece(0, (1.0, 1.0, 1.0, 0.9), (0.0, 0.0, 0.0), (0.68, 0.8, 0.75)),
    Piece(0, (0.4, 0.35, 0.35, 1.5), (0.12, 0.1, 0.0), (0.06, 0.3, 0.2)),  # ventricles
    Piece(0, (0.4, 0.35, 0.35, 1.5), (-0.12, 0.1, 0.0), (0.06, 0.3, 0.2)),
)
_TUMOR = (  # edema, enhancing rim, core that is necrotic or does not enhance
    Piece(2, (1.5, 0.7, 0.7, 1.4), (0.28, 0.0, 0.1), (0.24, 0.34, 0.36)),
    Piece(4, (1.2, 0.65, 1.6, 1.1), (0.28, 0.0, 0.1), (0.17, 0.23, 0.26)),
    Piece(1, (0.9, 0.45, 0.45, 1.6), (0.28, 0.0, 0.1), (0.12, 0.16, 0.18)),
)
_PATIENTS = ("1", "4", "5", "7", "14", "070", "148")
_WITH_INFARCT = ("4", "7", "070")
_SEQUENCES = ("reg_T1", "reg_IR", "FLAIR")
_HEAD_SHAPE, _FULL_HEAD_SHAPE = (80, 80, 32), (240, 240, 48)
_HEAD_SPACING = (0.958, 0.958, 3.0)
_INFARCT = 9
_HEAD = (
    Piece(0, (1.4, 1.3, 0.9), (0.0, 0.0, 0.0), (0.8, 0.92, 0.95)),  # scalp
    Piece(0, (0.1, 0.1, 0.1), (0.0, 0.0, 0.0), (0.75, 0.87, 0.9)),  # skull
    Piece(5, (0.35, 0.25, 0.3), (0.0, 0.0, 0.0), (0.7, 0.82, 0.85)),  # fluid
    Piece(1, (0.7, 0.6, 0.9), (0.0, 0.0, 0.1), (0.64, 0.76, 0.7)),  # cortex
    Piece(3, (1.0, 1.0, 0.8), (0.0, 0.0, 0.1), (0.52, 0.62, 0.55)),  # white matter
    Piece(2, (0.8, 0.7, 0.85), (0.28, 0.1, 0.0), (0.1, 0.16, 0.14)),  # nuclei
    Piece(2, (0.8, 0.7, 0.85), (-0.28, 0.1, 0.0), (0.1, 0.16, 0.14)),
    Piece(6, (0.35, 0.25, 0.3), (0.1, 0.0, 0.2), (0.07, 0.3, 0.15)),  # ventricles
    Piece(6, (0.35, 0.25, 0.3), (-0.1, 0.0, 0.2), (0.07, 0.3, 0.15)),
    Piece(7, (0.75, 0.65, 0.85), (0.0, -0.45, -0.55), (0.35, 0.2, 0.2)),  # cerebellum
    Piece(8, (0.9, 0.9, 0.8), (0.0, -0.15, -0.6), (0.13, 0.13, 0.25)),  # brain stem
    Piece(4, (0.75, 0.6, 1.4), (0.25, 0.3, 0.3), (0.08, 0.1, 0.12)),  # lesions of white matter
    Piece(4, (0.75, 0.6, 1.4), (-0.25, -0.2, 0.3), (0.08, 0.1, 0.12)),
    Piece(10, (1.3, 1.2, 1.1), (-0.3, 0.3, 0.2), (0.07, 0.07, 0.12)),
    Piece(_INFARCT, (0.4, 0.3, 0.35), (0.36, -0.25, 0.2), (0.12, 0.12, 0.15)),
)


def _write_brats(root: Path, case: CaseRequest) -> None:
    """Writes one patient's folder, ``{HGG,LGG}/NAME``; the rim of a high grade enhances."""
    high_grade = case.number % 3 != 2
    shape = _FULL_BRATS_SHAPE if case.full_size else _BRATS_SHAPE
    grid = ScanGrid(shape, (1, 1, 1), "LPS", origin=(0, shape[1] - 1, 0))
    tumor = [part for part in _TUMOR if high_grade or part.label != 4]
    parts = draw_person(case.anatomy, (*_SKULL_STRIPPED, *tumor))
    images, label = paint_scan(case.scanner, parts, grid, noise=(0.07,) * 4)
    name = f"BraTS19_TCIA{case.number:02d}_{100 + case.number}_1"
    folder = root / ("HGG" if high_grade else "LGG") / name
    brain, _ = paint_scan(case.scanner, [parts[0]._replace(signals=(1.0,))], grid, noise=(0.0,))
    for modality, image in zip(_MODALITIES, images, strict=True):
        stored = np.round(case.scanner.uniform(150, 900) * image).clip(1).astype(np.int16)
        stored[brain[0] < 0.5] = 0
        save_nifti(stored, grid.affine, folder / f"{name}_{modality}.nii.gz")
    save_nifti(label.astype(np.int16), grid.affine, folder / f"{name}_seg.nii.gz")


def _write_mrbrains(root: Path, case: CaseRequest) -> None:
    """Writes one patient's folder, ``training/ID``."""
    name = _PATIENTS[case.number]
    shape = _FULL_HEAD_SHAPE if case.full_size else _HEAD_SHAPE
    grid = ScanGrid(
        shape, _HEAD_SPACING, origin=tuple(np.round(case.scanner.uniform(-120, -40, 3), 3))
    )
    head = [part for part in _HEAD if name in _WITH_INFARCT or part.label != _INFARCT]
    images, label = paint_scan(
        case.scanner, draw_person(case.anatomy, head), grid, noise=(0.05,) * len(_SEQUENCES)
    )
    for sequence, image in zip(_SEQUENCES, images, strict=True):
        stored = (case.scanner.uniform(120, 600) * np.abs(image)).astype(np.float32)
        save_nifti(stored, grid.affine, root / "training" / name / "pre" / f"{sequence}.nii.gz")
    save_nifti(label, grid.affine, root / "training" / name / "segm.nii.gz")


BRATS = Phantom("brats", _write_brats, first=1)
MRBRAINS = Phantom("mrbrains", _write_mrbrains, most=len(_PATIENTS))
