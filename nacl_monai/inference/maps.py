"""The maps that follow from the probabilities of an image, and files of them on its grid.

Nothing of MONAI is imported here, since audits and promises write such files, too, and start without it.
"""

from __future__ import annotations

import glob
import gzip
import json
import math
import os
import re
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from itertools import chain, cycle
from pathlib import Path
from typing import Any, BinaryIO

import nibabel
import numpy as np
import torch
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

#: ITK-SNAP's label descriptions, and 3D Slicer's color table.
ITK_SNAP, SLICER = "labels.txt", "labels.ctbl"
#: The colors of the background, and of the classes behind it, which begin anew after the last.
_BACKGROUND = (178, 178, 178)
COLORS = (
    *((204, 121, 167), (240, 228, 66), (0, 114, 178), (230, 159, 0)),
    *((0, 158, 115), (86, 180, 233), (213, 94, 0)),
)
_ITK_SNAP_HEAD = """\
################################################
# ITK-SnAP Label Description File
# File format:
# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL
################################################
"""
_ITK_SNAP_ROW = re.compile(r'\s*(\d+)\s.*"(.*)"\s*')
_MARK, _BEHIND = b"nacl_monai map of ", b"nacl_monai map behind "
_UNREADABLE = (EOFError, HeaderDataError, ImageFileError, OSError, ValueError, zlib.error)
# Everything that says where voxels are. Programs read it by different rules, so all of it is copied.
_GEOMETRY = [
    *("pixdim", "xyzt_units", "qform_code", "sform_code"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("srow_x", "srow_y", "srow_z"),
]


def label_map(probs: torch.Tensor) -> torch.Tensor:
    """The most probable class of every voxel, ``(1, *spatial)``, of ``probs`` ``(C, *spatial)``."""
    return probs.argmax(dim=0, keepdim=True)


def confidence_map(probs: torch.Tensor) -> torch.Tensor:
    """The largest probability, from 1/C to 1."""
    return probs.amax(dim=0, keepdim=True)


def entropy_map(probs: torch.Tensor) -> torch.Tensor:
    """The entropy −Σ p ln p / ln C, from 0, certain, to 1, all classes alike.

    Example:
        >>> entropy_map(torch.tensor([[0.5, 1.0], [0.5, 0.0]]))
        tensor([[1., 0.]])
    """
    entropy: torch.Tensor = torch.special.entr(probs).sum(dim=0, keepdim=True)
    return (entropy / math.log(len(probs))).clamp(max=1)


#: Every map that is saved of an image, as a function of its probabilities.
MAPS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "probabilities": lambda probs: probs,
    "label": label_map,
    "confidence": confidence_map,
    "entropy": entropy_map,
}


def label_tables(names: Mapping[int, str]) -> dict[str, str]:
    """``labels.txt``, ITK-SNAP's label descriptions, and ``labels.ctbl``, 3D Slicer's color table.

    Args:
        names: The name of every value of a label map, first that of the background, which is invisible.

    Returns:
        The text of each file.

    Example:
        >>> print(label_tables({0: "background", 1: "left atrium"})["labels.ctbl"])
        # Color table file labels.ctbl
        # 2 values
        0 background 178 178 178 0
        1 left_atrium 204 121 167 255
        <BLANKLINE>
    """
    colors = chain([_BACKGROUND], cycle(COLORS))
    rows = [
        (value, name.replace('"', "'"), *color, int(value > 0))
        for (value, name), color in zip(names.items(), colors, strict=False)
    ]
    snap = [
        f'{value:5d} {r:5d} {g:4d} {b:4d} {seen:8d} {seen:2d} {seen:2d}    "{name}"\n'
        for value, name, r, g, b, seen in rows
    ]
    slicer = [
        f"{value} {'_'.join(name.split())} {r} {g} {b} {255 * seen}\n"
        for value, name, r, g, b, seen in rows
    ]
    head = f"# Color table file {SLICER}\n# {len(names)} values\n"
    return {ITK_SNAP: _ITK_SNAP_HEAD + "".join(snap), SLICER: head + "".join(slicer)}


def names_in(text: str) -> dict[int, str]:
    """The name of every label value in ITK-SNAP's label descriptions; other lines count for nothing.

    Args:
        text: The text of a ``labels.txt``.

    Example:
        >>> names_in(label_tables({0: "background", 1: "left atrium"})["labels.txt"])
        {0: 'background', 1: 'left atrium'}
    """
    rows = map(_ITK_SNAP_ROW.fullmatch, text.splitlines())
    return {int(row[1]): row[2] for row in rows if row}


def is_map(file: str | Path) -> bool:
    """Whether `map_image` made the NIfTI file."""
    try:
        header: Any = nibabel.load(file).header
        return bytes(header["descrip"]).startswith(_MARK)
    except (*_UNREADABLE, KeyError):
        return False


def behind_map(file: str | Path) -> dict[str, Any]:
    """The model of a map that `map_image` made, as its header says it; empty of other files."""
    image = _nifti(file) if str(file).lower().endswith((".nii", ".nii.gz")) else None
    return {} if image is None else behind_image(image)


def behind_image(image: Any) -> dict[str, Any]:
    """The same of a NIfTI image."""
    texts = [part.get_content() for part in image.header.extensions]
    text = next((text for text in texts if bytes(text).startswith(_BEHIND)), None)
    try:
        record = {} if text is None else json.loads(bytes(text)[len(_BEHIND) :].rstrip(b"\0"))
    except ValueError:
        record = None
    return record if isinstance(record, dict) else {"calibrator": "something unreadable"}


def map_image(
    voxels: np.ndarray,
    name: str,
    file: str | Path,
    affine: np.ndarray,
    behind: Mapping[str, Any] | None = None,
) -> Any:
    """``voxels`` on the grid of the image in ``file``.

    If that is a NIfTI file, every field that says where its voxels are is copied, so that whatever
    program reads both, by sform or by qform, in whatever unit, sees both in the same place.

    Args:
        voxels: ``(H, W, D)``, or ``(H, W, D, C)`` with a channel per class.
        name: The map's name.
        file: Where the image was read from.
        affine: From its voxels to mm, where the file is another than a NIfTI file.
        behind: The calibrator and the ensemble that the probabilities went through, which a comment of
            the header keeps, so that nothing is calibrated twice.
    """
    source: Any = None if Path(file).is_dir() else _nifti(file)
    if source is None:
        new: Any = nibabel.Nifti1Image
        image = new(voxels, affine)
        directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
        # Else a quaternion and voxel sizes, which are the qform, cannot say what ``affine`` says.
        rigid = np.allclose(directions.T @ directions, np.eye(3), atol=1e-4)
        image.set_qform(affine, code=int(rigid))
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
    if behind:
        comment = _BEHIND + json.dumps(behind).encode()
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", comment))
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
                with asides[path].open("wb") as stream:
                    write(stream)
                    stream.flush()
                    os.fsync(stream.fileno())
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
    """A free path where a file is written before it takes its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*"):
        leftover.unlink(missing_ok=True)
    return path.with_name(f".{path.name}.{os.getpid()}")


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
