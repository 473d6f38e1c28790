"""What nnU-Net writes with ``--save_probabilities``, and a training with ``--npz``.

``CASE.npz`` holds ``probabilities``, ``(C, z, y, x)`` on the image's own grid as the reader of
``plans.json`` turned it; ``CASE.pkl`` the geometry, ``CASE.nii.gz`` the segmentation. Predictions have
``dataset.json`` and ``plans.json`` beside them, a training above its ``fold_*/validation``.
TotalSegmentator's ``--save_probabilities CASE.npz`` copies only npz and pkl, on the grid that it
resamples to; where a task has several networks, each overwrites what the one before has left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import nibabel
import numpy as np
from numpy.lib.npyio import NpzFile

from nacl_monai.audits.images import ENDINGS, read_grid, to_ras
from nacl_monai.audits.pickles import read_plain
from nacl_monai.audits.saved import Affine, Prediction, Probabilities
from nacl_monai.errors import InputError
from nacl_monai.files import read_object
from nacl_monai.metrics.inputs import native
from nacl_monai.reports.evaluation_files import UNREADABLE_NPZ

_KEY, _KEY_OF_FIRST_VERSION = "probabilities", "softmax"
_REAL_KINDS = "fiub"  # NumPy's letters for floating-point numbers, integers and booleans


def find(folder: Path) -> list[Prediction]:
    """The cases of a folder of nnU-Net; for a training, those of all folds."""
    if dataset_file(folder) is None:
        return []
    return _npz_files(folder)


def find_alone(folder: Path) -> list[Prediction]:
    """The cases of a folder that has only npz files, as TotalSegmentator leaves them."""
    return [] if dataset_file(folder) else _npz_files(folder)


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
    array, segmentation = _array(file), _segmentation(file)
    plans, geometry = _beside(file.parent, "plans.json"), file.with_suffix(".pkl")
    known = segmentation is not None and plans is not None
    record = {} if known or not geometry.is_file() else read_plain(geometry)
    affine: Affine = None
    source = file
    if segmentation is not None:
        affine, source = read_grid(segmentation)[1], segmentation
    elif record:
        affine, source = _affine(geometry, record, array.shape[:0:-1]), geometry
    turned = _is_turned(plans, record)
    return Probabilities(array, affine, file, source, turned, segmentation=segmentation)


def is_placed(prediction: Prediction) -> bool:
    """Whether a file beside the npz file says where its voxels are."""
    geometry = prediction.file.with_suffix(".pkl")
    return geometry.is_file() or _segmentation(prediction.file) is not None


def _is_turned(plans: Path | None, record: Mapping[str, Any]) -> bool:
    """Whether the reader turned the image, by its name in the plans or by what it recorded."""
    reader = read_object(plans, "predict again").get("image_reader_writer", "") if plans else ""
    recorded = {*record.get("sitk_stuff", ()), *record.get("nibabel_stuff", ())}
    return "Reorient" in str(reader) or bool(
        recorded & {"original_orientation", "reoriented_affine"}
    )


def _array(file: Path) -> np.ndarray[Any, Any]:
    try:
        with file.open("rb") as stream, _opened(stream) as archive:
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
    except (KeyError, *UNREADABLE_NPZ) as error:
        cause = " ".join(str(error).split())
        raise InputError(f"{file}: cannot be read ({cause}); predict the case again") from error
    if array.ndim != 4 or not array.size or array.dtype.kind not in _REAL_KINDS:
        raise InputError(
            f"{file}: holds {array.dtype} of the shape {array.shape}; probabilities are numbers "
            "(classes, z, y, x)"
        )
    return native(array)


def _opened(stream: BinaryIO) -> NpzFile:
    archive = np.load(stream, allow_pickle=False)
    if not isinstance(archive, NpzFile):
        raise ValueError("a single array, as of an npy file")
    return archive


def _segmentation(file: Path) -> Path | None:
    stem = file.name.removesuffix(".npz")
    beside = (file.with_name(stem + ending) for ending in ENDINGS)
    return next((path for path in beside if path.is_file()), None)


def _affine(geometry: Path, record: Mapping[str, Any], shape: Sequence[int]) -> Affine:
    """The affine of the image, as it was before a reader turned it; ``shape`` is of the voxels."""
    try:
        if "nibabel_stuff" in record:
            return np.asarray(record["nibabel_stuff"]["original_affine"], np.float64)
        itk = record["sitk_stuff"]
        spacing, origin = (np.asarray(itk[key], np.float64) for key in ("spacing", "origin"))
        direction = np.asarray(itk["direction"], np.float64).reshape(len(spacing), -1)
        affine = to_ras(spacing, origin, direction)
        return _turned_back(affine, itk.get("original_orientation"), shape)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{geometry}: says nothing of spacing, origin and direction; predict the case again"
        ) from error


def _turned_back(affine: Affine, orientation: str | None, shape: Sequence[int]) -> Affine:
    """The affine of the image whose axes ran as three letters say, such as "LPS"."""
    if affine is None or orientation is None:
        return affine
    turns: Any = nibabel.orientations
    now, before = turns.io_orientation(affine), turns.axcodes2ornt(tuple(orientation))
    back = turns.inv_ornt_aff(turns.ornt_transform(now, before), tuple(shape))
    return np.asarray(affine @ back, np.float64)
