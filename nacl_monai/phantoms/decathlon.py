"""The layout of a task of the Medical Segmentation Decathlon."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from nacl_monai.phantoms.writing import save_nifti, write_phantom

Array = npt.NDArray[Any]

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
    license: str
    release: str
    tensorImageSize: str
    modality: dict[str, str]
    labels: dict[str, str]
    numTraining: int

    def stem(self, number: int) -> str:
        """Name of a case, such as ``prostate_07``."""
        digits = len(str(self.numTraining))
        return f"{self.name.lower()}_{number:0{digits}d}"

    def dataset_json(self, training: Sequence[int], test: Sequence[int]) -> str:
        """Text of `dataset.json` for the cases of these numbers."""
        entries = asdict(self) | {"numTraining": len(training), "numTest": len(test)}
        entries["training"] = [
            {folder: f"./{folder}sTr/{self.stem(number)}.nii.gz" for folder in ("image", "label")}
            for number in training
        ]
        entries["test"] = [f"./imagesTs/{self.stem(number)}.nii.gz" for number in test]
        return json.dumps(entries, indent=1) + "\n"


def write_task(
    directory: str | os.PathLike[str],
    task: Task,
    make_case: Callable[[int], tuple[Array, Array, Array]],
    record: dict[str, Any],
) -> Path:
    """Writes a task's folder; see `write_phantom` for what it refuses.

    Args:
        directory: folder to create, the task's own.
        task: the task. Test images are numbered after its official training cases.
        make_case: number of a case → image, label and affine.
        record: see `write_phantom`.

    Returns:
        The directory.
    """
    training = range(record["cases"])
    test = range(task.numTraining, task.numTraining + TESTED)

    def write_case(root: Path, number: int) -> None:
        image, label, affine = make_case(number)
        save(image, affine, root / ("imagesTs" if number in test else "imagesTr"), number)
        if number not in test:
            save(label, affine, root / "labelsTr", number)

    def save(voxels: Array, affine: Array, folder: Path, number: int) -> None:
        name = f"{task.stem(number)}.nii.gz"
        save_nifti(voxels, affine, folder / name)
        (folder / f"._{name}").write_bytes(APPLE_DOUBLE)

    return write_phantom(
        directory,
        write_case,
        [*training, *test],
        record=record,
        most=task.numTraining,
        texts={"dataset.json": task.dataset_json(training, test)},
    )
