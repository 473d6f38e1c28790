"""CT of the abdomen, in the official layouts of FLARE 2021 and KiTS19."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nacl_monai.inference.promised import Array
from nacl_monai.phantoms.painting import Piece, ScanGrid, draw_person, paint_scan
from nacl_monai.phantoms.writing import CaseRequest, Phantom, save_nifti

_COLUMNS, _FULL_COLUMNS = 96, 512
_HEIGHT, _FULL_HEIGHT = 95.0, 280.0  # mm; the small phantom is a miniature
_SEGMENTED, _UNSEGMENTED = 210, 2  # cases of KiTS19 with, and of the phantom without segmentation

_BODY = (
    Piece(0, (-100,), (0.0, 0.0, 0.0), (0.85, 0.62, 9.0)),  # fat
    Piece(0, (40,), (0.0, 0.02, 0.0), (0.75, 0.52, 9.0)),
    Piece(0, (600,), (0.0, -0.36, 0.0), (0.13, 0.12, 9.0)),  # spine
    Piece(0, (-830,), (0.3, 0.0, 1.0), (0.3, 0.35, 0.25)),  # lungs
    Piece(0, (-830,), (-0.3, 0.0, 1.0), (0.3, 0.35, 0.25)),
)
_KIDNEYS = (
    Piece(1, (185,), (0.36, -0.24, -0.15), (0.13, 0.16, 0.4)),
    Piece(1, (185,), (-0.36, -0.24, -0.1), (0.13, 0.16, 0.4)),
)
_ORGANS = (
    Piece(1, (110,), (0.36, 0.06, 0.35), (0.33, 0.36, 0.5)),  # liver
    Piece(3, (128,), (-0.52, -0.08, 0.4), (0.16, 0.24, 0.3)),  # spleen
    Piece(4, (88,), (-0.05, 0.12, 0.05), (0.25, 0.09, 0.12)),  # pancreas
    *(kidney._replace(label=2) for kidney in _KIDNEYS),
)


def _write_flare(root: Path, case: CaseRequest) -> None:
    """Writes one patient's image, in Hounsfield units, and label; three orientations take turns."""
    columns, height = _size(case)
    in_plane = float(np.round(case.scanner.uniform(0.6, 0.9), 4))
    thickness = (2.5, 3.0, 4.0, 5.0)[case.number % 4]
    grid = ScanGrid(
        (columns, columns, round(height / thickness)),
        (in_plane, in_plane, thickness),
        ("LPS", "RAS", "LAS")[case.number % 3],
        tuple(np.round(case.scanner.uniform(-250, 250, 3), 2)),
    )
    image, label = _scan(case, draw_person(case.anatomy, (*_BODY, *_ORGANS)), grid)
    save_nifti(image, grid.affine, root / "TrainingImg" / f"train_{case.number:03d}_0000.nii.gz")
    save_nifti(label, grid.affine, root / "TrainingMask" / f"train_{case.number:03d}.nii.gz")


def _write_kits(root: Path, case: CaseRequest) -> None:
    """Writes one patient's folder, ``data/case_XXXXX``; the last ones lack a segmentation."""
    columns, height = _size(case)
    in_plane = float(np.round(case.scanner.uniform(0.6, 0.95), 4))
    thickness = (2.0, 2.5, 3.0, 5.0)[case.number % 4]
    grid = ScanGrid(
        (round(height / thickness), columns, columns), (thickness, in_plane, in_plane), "IPL"
    )
    parts = draw_person(case.anatomy, (*_BODY, *_KIDNEYS))
    kidney = parts[-1 - case.number % 2]
    outward = kidney.radii[0] if kidney.center[0] > 0 else -kidney.radii[0]
    center = (kidney.center[0] + outward, *kidney.center[1:])
    tumor = Piece(2, (case.scanner.uniform(70, 110),), center, (0.12, 0.12, 0.25))
    image, label = _scan(case, [*parts, tumor], grid)
    folder = root / "data" / f"case_{case.number:05d}"
    save_nifti(image, grid.affine, folder / "imaging.nii.gz")
    if case.number < _SEGMENTED:
        save_nifti(label, grid.affine, folder / "segmentation.nii.gz")


def _size(case: CaseRequest) -> tuple[int, float]:
    return (_FULL_COLUMNS, _FULL_HEIGHT) if case.full_size else (_COLUMNS, _HEIGHT)


def _scan(case: CaseRequest, parts: Sequence[Piece], grid: ScanGrid) -> tuple[Array, Array]:
    """Image in Hounsfield units, air being −1000, and label."""
    above_air = [part._replace(signals=[part.signals[0] + 1000]) for part in parts]
    images, label = paint_scan(case.scanner, above_air, grid, noise=(25,))
    return np.round(images[0] - 1000).astype(np.int16), label


FLARE = Phantom("flare", _write_flare)
KITS = Phantom(
    "kits", _write_kits, most=_SEGMENTED, unlabeled=range(_SEGMENTED, _SEGMENTED + _UNSEGMENTED)
)
