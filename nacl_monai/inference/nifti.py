"""NIfTI files of maps: with the geometry of their image, whole or not there, and known as maps."""

from __future__ import annotations

import glob
import gzip
import os
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

_MARK = b"nacl_monai map of "
_UNREADABLE = (EOFError, HeaderDataError, ImageFileError, OSError, ValueError, zlib.error)

# Everything that says where voxels are. Programs read it by different rules, so all of it is copied.
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

    If that is a NIfTI file, every field that says where its voxels are is copied, so that whatever
    program reads both, by sform or by qform, in whatever unit, sees both in the same place.

    Args:
        voxels: ``(H, W, D)``, or ``(H, W, D, C)`` with a channel per class.
        name: The map's name.
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
    """Writes ``image`` to ``path``, ``.nii.gz``, as `write_together` does.

    Raises:
        OSError: If the operating system refuses.
    """
    write_together({path: partial(compress, image)})


def write_together(writes: Mapping[Path, Callable[[BinaryIO], object]]) -> None:
    """Lets each of ``writes`` fill its file. Earlier files are replaced when all new ones are whole.

    A killed process leaves no file of one attempt beside one of another, and none that is not whole;
    what it left aside is removed by the next attempt.

    Raises:
        OSError: If the operating system refuses; its ``filename`` is the path.
    """
    asides: dict[Path, Path] = {}
    try:
        for path, write in writes.items():
            try:
                asides[path] = _aside(path)
                _fill(asides[path], write)
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(path)) from error
        for path in writes:
            path.unlink(missing_ok=True)
        for path, aside in asides.items():
            aside.replace(path)
    finally:
        for aside in asides.values():
            aside.unlink(missing_ok=True)


def _aside(path: Path) -> Path:
    """Where a file is written before it takes its name; nothing is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*"):
        leftover.unlink(missing_ok=True)
    return path.with_name(f".{path.name}.{os.getpid()}")


def _fill(file: Path, write: Callable[[BinaryIO], object]) -> None:
    with file.open("wb") as stream:
        write(stream)
        stream.flush()
        os.fsync(stream.fileno())


def compress(image: Any, file: BinaryIO) -> None:
    """Writes ``image`` into a file that is open, as ``.nii.gz``."""
    with gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as stream:
        image.to_stream(stream)


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
