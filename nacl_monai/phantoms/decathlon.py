"""The layout of a task of the Medical Segmentation Decathlon."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from nacl_monai.phantoms.shapes import Array
from nacl_monai.phantoms.writing import CaseRequest, Phantom, save_nifti

TESTED = 2  # images without label in a phantom
# What macOS leaves beside a file that a tar archive was made of: the start of an AppleDouble file.
APPLE_DOUBLE = bytes.fromhex("00051607 00020000") + b"Mac OS X        "


@dataclass(frozen=True)
class Task:
    """What `dataset.json` says of a task, in its terms and its order.

    `numTraining` is the official number of labeled cases; a phantom's own is what it holds.
    """

    name: str
    description: str
    reference: str
    licence: str  # as the official file spells it
    release: str
    tensorImageSize: str
    modality: dict[str, str]
    labels: dict[str, str]
    numTraining: int

    def stem(self, number: int) -> str:
        """Name of a case, such as ``prostate_07``."""
        digits = len(str(self.numTraining))
        return f"{self.name.lower()}_{number:0{digits}d}"

    def image_folder(self, number: int) -> str:
        """Where the image of a case is: beside those of its kind, training or test."""
        return "imagesTr" if number < self.numTraining else "imagesTs"

    def dataset_json(self, training: Sequence[int], test: Sequence[int]) -> str:
        """Text of `dataset.json` for the cases of these numbers."""
        entries = asdict(self) | {"numTraining": len(training), "numTest": len(test)}
        entries["training"] = [
            {folder: f"./{folder}sTr/{self.stem(number)}.nii.gz" for folder in ("image", "label")}
            for number in training
        ]
        entries["test"] = [f"./imagesTs/{self.stem(number)}.nii.gz" for number in test]
        return json.dumps(entries, indent=1) + "\n"


def task_phantom(
    task: Task,
    make_case: Callable[[CaseRequest], tuple[Array, Array, Array]],
    *,
    one_size: bool = False,
) -> Phantom:
    """Declares the phantom of a task, named as its cases are.

    Args:
        task: The task. Test images are numbered after its official training cases.
        make_case: Makes the image, the label and the affine of a case.
        one_size: As in `Phantom`.
    """
    test = range(task.numTraining, task.numTraining + TESTED)

    def write_case(root: Path, case: CaseRequest) -> None:
        image, label, affine = make_case(case)
        name = f"{task.stem(case.number)}.nii.gz"
        save_beside_apple_double(image, affine, root / task.image_folder(case.number) / name)
        if case.number not in test:
            save_beside_apple_double(label, affine, root / "labelsTr" / name)

    return Phantom(
        task.name.lower(),
        write_case,
        most=task.numTraining,
        unlabeled=test,
        texts=lambda cases: {"dataset.json": task.dataset_json(range(cases), test)},
        one_size=one_size,
    )


def save_beside_apple_double(voxels: Array, affine: Array, path: Path) -> None:
    """Writes voxels, and beside them the ``._`` file that macOS would have left."""
    save_nifti(voxels, affine, path)
    path.with_name(f"._{path.name}").write_bytes(APPLE_DOUBLE)
