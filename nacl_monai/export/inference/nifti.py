"""NIfTI files of maps: with the geometry of their image, whole or not there, and known as maps."""

from __future__ import annotations

import glob
import gzip
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

_MARK = b"nacl_monai map of "
_UNREADABLE = (EOFError, HeaderDataError, ImageFileError, OSError, ValueError, zlib.error)

# Everything that says where voxels lie. Programs read it by different rules, so all of it is copied.
_GEOMETRY = [
    *("pixdim", "xyzt_units", "qform_code", "sform_code"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("srow_x", "srow_y", "srow_z"),
]


def is_map(file: str | Path) -> bool:
    """Whether `map_image` made the NIfTI file."""
    try:
        header: Any = nibabel.load(file).header
        return bytes(header["descrip"]).startswith(_MARK)
    except (*_UNREADABLE, KeyError):
        return False


def map_image(voxels: np.ndarray, name: str, file: str | Path, affine: np.ndarray) -> Any:
    """``voxels`` on the grid of the image in ``file``.

    If that is a NIfTI file, every field that says where its voxels lie is copied, so that whatever
    program reads both, by sform or by qform, in whatever unit, sees both in the same place.

    Args:
        voxels: ``(H, W, D)``, or ``(H, W, D, C)`` with a channel per class.
        name: Of the map.
        file: Where the image was read from.
        affine: From its voxels to mm, where the file is another than a NIfTI file.
    """
    source: Any = None if Path(file).is_dir() else _nifti(file)
    if source is None:
        new: Any = nibabel.Nifti1Image
        image = new(voxels, affine)
        image.set_qform(affine, code=1 if _is_rigid(affine) else 0)
        image.set_sform(affine, code=1)
    else:
        header = type(source.header)()
        header.set_data_dtype(voxels.dtype)
        for field in _GEOMETRY:
            header[field] = source.header[field]
        image = type(source)(voxels, None, header)
    image.header["descrip"] = _MARK + name.encode()
    if name == "label":
        image.header.set_intent("label")
    else:  # what a viewer shows from black to white
        image.header["cal_min"], image.header["cal_max"] = 0, 1
    return image


def write_nifti(image: Any, path: Path) -> None:
    """Writes ``image`` to ``path``, ``.nii.gz``, as `write_whole` does.

    Raises:
        OSError: If the operating system refuses.
    """

    def write(file: BinaryIO) -> None:
        with gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as stream:
            image.to_stream(stream)

    write_whole(write, path)


def write_whole(write: Callable[[BinaryIO], object], path: Path) -> None:
    """Lets ``write`` fill a file, which is whole or not there; an earlier file is replaced.

    What a killed process left of an earlier attempt is removed.

    Raises:
        OSError: If the operating system refuses.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*"):
        leftover.unlink(missing_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _nifti(file: str | Path) -> Any:
    try:
        image = nibabel.load(file)
    except _UNREADABLE:  # of another format
        return None
    return image if isinstance(image, nibabel.Nifti1Image) else None


def _is_rigid(affine: np.ndarray) -> bool:
    """Whether a quaternion and voxel sizes can say what ``affine`` says, as the qform does."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return np.allclose(directions.T @ directions, np.eye(3), atol=1e-4)
