"""What nnU-Net writes with ``--save_probabilities``, and a training with ``--npz``.

``CASE.npz`` holds ``probabilities``, ``(C, z, y, x)`` on the image's own grid as the reader of
``plans.json`` turned it; ``CASE.pkl`` the geometry, ``CASE.nii.gz`` the segmentation. Predictions have
``dataset.json`` and ``plans.json`` beside them, a training above its ``fold_*/validation``.
TotalSegmentator's ``--save_probabilities`` copies npz and pkl alone, on the grid that it resamples to.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from nacl_monai.errors import InputError
from nacl_monai.files import read_object
from nacl_monai.predictions.images import ENDINGS, read_grid, to_ras
from nacl_monai.predictions.pickles import read_plain
from nacl_monai.predictions.saved import Affine, Prediction, Probabilities

_KEY, _KEY_OF_FIRST_VERSION = "probabilities", "softmax"


def find(folder: Path) -> list[Prediction]:
    """The cases of a folder of nnU-Net; of a training, those of all folds."""
    if _dataset_beside(folder) is None:
        return []
    return _npz_files(folder)


def find_alone(folder: Path) -> list[Prediction]:
    """The cases of a folder with npz files alone, as TotalSegmentator leaves them."""
    return [] if _dataset_beside(folder) else _npz_files(folder)


def _npz_files(folder: Path) -> list[Prediction]:
    files = (
        *folder.glob("*.npz"),
        *folder.glob("validation/*.npz"),
        *folder.glob("fold_*/validation/*.npz"),
    )
    visible = (file for file in sorted(files) if not file.name.startswith("."))
    return [Prediction(file.stem, {"": file}) for file in visible]


def dataset_file(folder: Path) -> Path | None:
    """The ``dataset.json`` of predictions, or of the training that a ``validation`` belongs to."""
    return _dataset_beside(folder)


def _dataset_beside(folder: Path) -> Path | None:
    return _beside(folder, "dataset.json")


def _beside(folder: Path, name: str) -> Path | None:
    folder = folder.resolve()
    above = {"validation": folder.parents[1:2]}.get(folder.name, folder.parents[:1])
    is_fold = folder.name == "validation" or folder.name.startswith("fold_")
    places = (folder, *(above if is_fold else ()))
    return next((place / name for place in places if (place / name).is_file()), None)


def read(prediction: Prediction) -> Probabilities:
    """Reads the npz file of a case.

    Raises:
        InputError: If it is damaged, of nnU-Net's first version, or something else.
    """
    file = prediction.file
    array = _array(file)
    segmentation = _segmentation(file)
    affine, source = _affine(file, segmentation)
    plans = _beside(file.parent, "plans.json")
    reader = read_object(plans, "predict again").get("image_reader_writer", "") if plans else ""
    is_turned = "Reorient" in str(reader)
    return Probabilities(array, affine, file, source, is_turned, segmentation=segmentation)


def _array(file: Path) -> np.ndarray[Any, Any]:
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            if _KEY_OF_FIRST_VERSION in archive and _KEY not in archive:
                raise InputError(
                    f"{file}: is of nnU-Net's first version, which crops its probabilities to a part of "
                    "the image; predict with nnUNetv2_predict --save_probabilities"
                )
            if _KEY not in archive:
                raise InputError(f"{file}: holds no array {_KEY!r}; give the folder of nnU-Net")
            array = archive[_KEY]
    except InputError:
        raise
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        cause = " ".join(str(error).split())
        raise InputError(f"{file}: cannot be read ({cause}); predict the case again") from error
    if array.ndim != 4:
        raise InputError(
            f"{file}: has the shape {array.shape}; probabilities are (classes, z, y, x)"
        )
    return np.asarray(array, dtype=array.dtype.newbyteorder("="))


def _segmentation(file: Path) -> Path | None:
    stem = file.name.removesuffix(".npz")
    beside = (file.with_name(stem + ending) for ending in ENDINGS)
    return next((path for path in beside if path.is_file()), None)


def _affine(file: Path, segmentation: Path | None) -> tuple[Affine, Path]:
    """Where the voxels are: by the segmentation beside the file, or else by the geometry."""
    if segmentation is not None:
        return read_grid(segmentation)[1], segmentation
    geometry = file.with_suffix(".pkl")
    if not geometry.is_file():
        return None, file
    record = read_plain(geometry)
    try:
        if "nibabel_stuff" in record:
            return np.asarray(record["nibabel_stuff"]["original_affine"], np.float64), geometry
        itk = record["sitk_stuff"]
        spacing, origin = (np.asarray(itk[key], np.float64) for key in ("spacing", "origin"))
        direction = np.asarray(itk["direction"], np.float64).reshape(len(spacing), -1)
        return to_ras(spacing, origin, direction), geometry
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{geometry}: says nothing of spacing, origin and direction; predict the case again"
        ) from error
