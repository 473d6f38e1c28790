"""Short-axis cine MRI of hearts, in ACDC's official layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from nacl_monai.inference.promised import Array
from nacl_monai.phantoms.painting import Piece, ScanGrid, draw_person, paint_scan
from nacl_monai.phantoms.writing import CaseRequest, Phantom, save_nifti

_GROUPS = ("NOR", "DCM", "HCM", "MINF", "RV")
_FRAMES = 3  # of the cine; the real ones have about thirty
_MUSCLE, _BLOOD = (0.36,), (1.0,)
# In the image, x runs to the right and y down; z runs from the base of the heart to its apex.
_CHEST = (
    Piece(0, (0.8,), (0.0, 0.0, 0.0), (1.1, 1.0, 9.0)),
    Piece(0, (0.1,), (0.0, -0.1, 0.0), (0.9, 0.8, 9.0)),
    Piece(0, (0.5,), (-0.3, 0.8, 0.0), (0.8, 0.4, 9.0)),
    Piece(0, _BLOOD, (0.6, 0.4, 0.0), (0.12, 0.12, 9.0)),
)
_HEART = (
    Piece(0, _MUSCLE, (-0.24, 0.0, -0.5), (0.39, 0.34, 1.25)),
    Piece(1, _BLOOD, (-0.24, 0.0, -0.5), (0.35, 0.30, 1.2)),
    Piece(2, _MUSCLE, (0.12, 0.0, -0.5), (0.34, 0.34, 1.4)),
    Piece(3, _BLOOD, (0.12, 0.0, -0.5), (0.24, 0.24, 1.3)),
)


def _write_patient(root: Path, case: CaseRequest) -> None:
    """Writes one patient's folder, ``training/patientXXX``."""
    rng = case.anatomy
    group = _GROUPS[(case.number - 1) % len(_GROUPS)]
    diastole, systole = sorted(rng.choice(np.arange(1, _FRAMES + 1), 2, replace=False))
    in_plane = float(np.round(rng.uniform(1.37, 1.9), 4))
    rows, columns = (int(size) for size in np.clip(rng.uniform(195, 212, 2) / in_plane, 110, 140))
    shape = (rows, columns, int(rng.integers(6, 11)))
    # The heart's axis points left, forward and down, the image's right to the left and back.
    axes = np.array([[0.60, -0.45, -0.66], [0.79, 0.22, 0.57], [-0.12, -0.87, -0.49]])
    left, _, right = np.linalg.svd(axes)  # the nearest rotation
    turn = Rotation.from_rotvec(rng.normal(0, 0.1, 3)).as_matrix() @ left @ right
    origin = tuple(rng.uniform(-80, 80, 3))
    spacing = (in_plane, in_plane, float(rng.choice([7.0, 8.0, 10.0])))
    grid = ScanGrid(shape, spacing, origin=origin, turn=turn)
    chest, heart = draw_person(rng, _CHEST), draw_person(rng, _HEART)
    gain = case.scanner.uniform(180, 600)

    name = f"patient{case.number:03d}"
    folder = root / "training" / name
    frames: list[Array] = []
    for frame in range(1, _FRAMES + 1):
        contraction = {diastole: 0.0, systole: 1.0}.get(frame, 0.5)
        parts = [*chest, *(_contracted(part, contraction) for part in heart)]
        images, label = paint_scan(case.scanner, parts, grid, noise=(0.12,))
        frames.append(np.round(gain * np.abs(images[0])).astype(np.int16))
        if frame in (diastole, systole):
            stem = f"{name}_frame{frame:02d}"
            save_nifti(frames[-1], grid.affine, folder / f"{stem}.nii.gz")
            save_nifti(label, grid.affine, folder / f"{stem}_gt.nii.gz")
    zooms = (*spacing, 1 / _FRAMES)
    save_nifti(np.stack(frames, -1), grid.affine, folder / f"{name}_4d.nii.gz", zooms)
    (folder / "Info.cfg").write_text(
        f"ED: {diastole}\nES: {systole}\nGroup: {group}\nHeight: {rng.normal(171, 9):.1f}\n"
        f"NbFrame: {_FRAMES}\nWeight: {rng.normal(76, 13):.1f}\n",
        encoding="utf-8",
    )


def _contracted(part: Piece, contraction: float) -> Piece:
    """Blood leaves the heart at the end of systole, and the wall around it grows thicker."""
    factor = 1 - (0.3 if part.signals == _BLOOD else 0.1) * contraction
    x, y, z = part.radii
    return part._replace(radii=(factor * x, factor * y, factor * z))


ACDC = Phantom("acdc", _write_patient, first=1, one_size=True)
