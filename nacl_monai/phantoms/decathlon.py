"""MRI of the hippocampus and of the prostate, in the layout of the Medical Segmentation Decathlon."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from nacl_monai.inference.promised import Array
from nacl_monai.phantoms.painting import Piece, ScanGrid, draw_person, paint_scan
from nacl_monai.phantoms.writing import CaseRequest, Phantom, save_nifti

_TESTED = 2  # images without label in a phantom
# What macOS leaves beside a file that a tar archive was made of: the start of an AppleDouble file.
_APPLE_DOUBLE = bytes.fromhex("00051607 00020000") + b"Mac OS X        "
_LOBE = (
    Piece(0, (1.0,), (0.0, 0.0, 0.0), (1.5, 1.5, 1.5)),  # white matter
    Piece(0, (0.2,), (0.35, 0.05, 0.15), (0.15, 0.6, 0.25)),  # fluid
    Piece(2, (0.65,), (-0.08, -0.15, 0.1), (0.22, 0.45, 0.28)),
    Piece(1, (0.7,), (0.0, 0.35, -0.2), (0.32, 0.3, 0.34)),
)
# Stored value of white matter; the data come from several scanners' reconstructions.
_SCALES = (70.0, 480.0, 250_000.0)
_SHAPE, _FULL_SHAPE = (80, 80, 12), (320, 320, 20)
_PELVIS = (  # T2 and ADC
    Piece(0, (0.8, 0.2), (0.0, 0.0, 0.0), (1.5, 1.5, 9.0)),  # fat
    Piece(0, (0.25, 0.6), (0.0, 0.0, 0.0), (0.6, 0.6, 9.0)),  # muscle
    Piece(0, (1.5, 1.6), (0.0, 0.3, 1.0), (0.4, 0.25, 0.5)),  # bladder
    Piece(0, (0.15, 0.1), (0.0, -0.55, 0.0), (0.2, 0.2, 9.0)),  # rectum
    Piece(1, (1.0, 1.0), (0.0, 0.0, 0.0), (0.38, 0.30, 0.72)),
    Piece(2, (0.6, 0.75), (0.0, 0.08, 0.05), (0.29, 0.21, 0.56)),
)
_PHANTOM = {"reference": "Synthetic phantom", "licence": "Apache-2.0", "release": "phantom"}
_SIDES = "Left and right hippocampus"
_ZONES = "Prostate transitional zone and peripheral zone"


def _task_phantom(
    task: Mapping[str, Any],
    make_case: Callable[[CaseRequest], tuple[Array, Array, Array]],
    one_size: bool = False,
) -> Phantom:
    """The phantom of a task, named as its cases are, such as ``prostate_07``.

    Test images are numbered after the official training cases.
    """
    most, name = task["numTraining"], task["name"].lower()
    tested = range(most, most + _TESTED)

    def file(number: int) -> str:
        return f"{name}_{number:0{len(str(most))}d}.nii.gz"

    def write_case(root: Path, case: CaseRequest) -> None:
        image, label, affine = make_case(case)
        kinds = {"imagesTr": image, "labelsTr": label}
        for folder, voxels in ({"imagesTs": image} if case.number in tested else kinds).items():
            path = root / folder / file(case.number)
            save_nifti(voxels, affine, path)
            path.with_name(f"._{path.name}").write_bytes(_APPLE_DOUBLE)

    def texts(cases: int) -> dict[str, str]:
        training = [
            {"image": f"./imagesTr/{file(k)}", "label": f"./labelsTr/{file(k)}"}
            for k in range(cases)
        ]
        entries = {**task, "numTraining": cases, "numTest": _TESTED, "training": training}
        entries["test"] = [f"./imagesTs/{file(number)}" for number in tested]
        return {"dataset.json": json.dumps(entries, indent=1) + "\n"}

    return Phantom(name, write_case, most=most, unlabeled=tested, texts=texts, one_size=one_size)


def _make_hippocampus(case: CaseRequest) -> tuple[Array, Array, Array]:
    """Image, label and affine; where the scale of intensities is small, images are stored in 8 bits."""
    rows, columns, slices = map(int, case.scanner.integers((32, 42, 27), (38, 52, 37)))
    grid = ScanGrid((rows, columns, slices), (1, 1, 1), origin=(1, 1, 1))
    images, label = paint_scan(case.scanner, draw_person(case.anatomy, _LOBE), grid, noise=(0.1,))
    scale = _SCALES[case.number % len(_SCALES)]
    image = scale * np.abs(images[0])
    return image.clip(0, 255).astype(np.uint8) if scale < 100 else image, label, grid.affine


def _make_prostate(case: CaseRequest) -> tuple[Array, Array, Array]:
    """Image (T2 and ADC along the last axis), label and affine; every other case is oblique."""
    shape = _FULL_SHAPE if case.full_size else _SHAPE
    turn = Rotation.from_rotvec(case.scanner.normal(0, 0.15, 3)).as_matrix()
    origin = tuple(np.round(case.scanner.uniform(-100, 0, 3), 2))
    turn = turn if case.number % 2 else np.eye(3)
    grid = ScanGrid(shape, (0.6, 0.6, 3.6), origin=origin, turn=turn)
    person = draw_person(case.anatomy, _PELVIS)
    images, label = paint_scan(case.scanner, person, grid, noise=(0.1, 0.1))
    image = np.stack([case.scanner.uniform(250, 900) * images[0], 1600 * images[1]], axis=-1)
    return np.abs(image).astype(np.float32), label, grid.affine


def _task(
    name: str, what: str, modality: list[str], labels: list[str], most: int
) -> dict[str, Any]:
    """The entries of a task's `dataset.json`, in the official order."""
    return {
        "name": name,
        "description": f"{what} segmentation",
        **_PHANTOM,
        "tensorImageSize": "3D" if len(modality) == 1 else "4D",
        "modality": {str(number): word for number, word in enumerate(modality)},
        "labels": {str(value): label for value, label in enumerate(labels)},
        "numTraining": most,
    }


HIPPOCAMPUS = _task_phantom(
    _task("Hippocampus", _SIDES, ["MRI"], ["background", "Anterior", "Posterior"], 260),
    _make_hippocampus,
    one_size=True,
)
PROSTATE = _task_phantom(
    _task("Prostate", _ZONES, ["T2", "ADC"], ["background", "PZ", "TZ"], 32), _make_prostate
)
