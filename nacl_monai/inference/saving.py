"""Saving what follows from the probabilities of an image, on its grid, under names that stay apart."""

from __future__ import annotations

import glob
import gzip
import math
import os
import re
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain, cycle
from operator import methodcaller
from pathlib import Path
from typing import Any, BinaryIO

import nibabel
import numpy as np
import torch
from monai.transforms import Transform
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from .images import ImageFault, refuse


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


#: ITK-SNAP's label descriptions, and 3D Slicer's color table.
ITK_SNAP, SLICER = "labels.txt", "labels.ctbl"
#: The colors of the background, and of the classes behind it, which begin anew after the last.
BACKGROUND = (178, 178, 178)
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
    colors = chain([BACKGROUND], cycle(COLORS))
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
    """Where a file is written before it takes its name; nothing is there."""
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


def _is_rigid(affine: np.ndarray) -> bool:
    """Whether a quaternion and voxel sizes can say what ``affine`` says, as the qform does."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return np.allclose(directions.T @ directions, np.eye(3), atol=1e-4)


_NIFTI = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)


class SaveMaps(Transform):
    """Saves what follows from the probabilities under ``pred``: one NIfTI file per map.

    ``NAME_label`` and ``NAME_probabilities``, ``NAME_confidence`` and ``NAME_entropy``, see
    `label_map`, `confidence_map` and `entropy_map`. Images in several folders keep these folders below
    ``output_dir``, and ``p.nii`` beside ``p.nii.gz`` keep their endings, so that equal names stay apart.
    Each file is whole, beside none of an earlier command, and is where the image is, in every
    program that reads both.

    Args:
        output_dir: Folder of the files; made if missing.
        cases: All cases, as `find_cases` returns them.
        classes: Their names, which viewers find in ``labels.txt`` and ``labels.ctbl``, see
            `label_tables`; without names there are no such files.

    Raises:
        SystemExit: If the maps of two cases would have the same names, if maps of other classes are in
            the folder, or if the operating system does not let a file be written.
    """

    def __init__(
        self,
        output_dir: str | Path,
        cases: Sequence[Mapping[str, Sequence[str]]],
        classes: Sequence[str] = (),
    ) -> None:
        texts = label_tables(dict(enumerate(classes))) if classes else {}
        self.tables = {Path(output_dir) / name: text for name, text in texts.items()}
        for path, text in self.tables.items():
            if path.exists() and path.read_text(encoding="utf-8", errors="replace") != text:
                refuse(f"{path}: is there, and names other classes; choose another --output_dir")
        self.stems = _output_stems(Path(output_dir), [case["image"][0] for case in cases])

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Saves the maps of one case; returns it with the paths under ``files``.

        Raises:
            ImageFault: If a probability is not a number, or if a file would replace one that is not
                a map; nothing is written then.
        """
        probs = data["pred"]
        file = probs.meta["filename_or_obj"]
        if not probs.isfinite().all():
            raise ImageFault(
                f"{file}: the network finds no probabilities for it, but NaN; leave it out"
            )
        stem = self.stems[file]
        paths = {name: stem.with_name(f"{stem.name}_{name}.nii.gz") for name in MAPS}
        writes: dict[Path, Callable[[BinaryIO], object]] = {}
        for name, path in paths.items():
            if path.exists() and not is_map(path):
                raise ImageFault(
                    f"{path}: is there, and no map of inference; choose another --output_dir"
                )
            voxels = _voxels(name, MAPS[name](probs))
            image = map_image(voxels, name, file, probs.affine.numpy())
            writes[path] = partial(compress, image)
        missing = {path: text for path, text in self.tables.items() if not path.exists()}
        writes |= {path: methodcaller("write", text.encode()) for path, text in missing.items()}
        try:
            write_together(writes)
        except OSError as error:
            where, why = error.filename, error.strerror
            refuse(f"{where}: cannot be written ({why}); choose another --output_dir")
        return {**data, "files": list(paths.values())}


def _output_stems(output_dir: Path, files: Sequence[str]) -> dict[str, Path]:
    """For every file, the path of its maps but for their own names."""
    places = {file: Path(os.path.abspath(file)) for file in files}  # noqa: PTH100 - without links
    common = os.path.commonpath([place.parent for place in places.values()])
    stems = {place: place.with_name(_stem(place)) for place in places.values()}
    equal, taken = Counter(stems.values()), dict[Path, Path]()
    for place, stem in stems.items():
        if equal[stem] > 1:  # which the endings may tell apart
            stems[place] = place
        if taken.setdefault(stems[place], place) != place:
            first = taken[stems[place]]
            refuse(f"{first} and {place}: their maps would have the same names; rename one")
    return {file: output_dir / stems[places[file]].relative_to(common) for file in files}


def _stem(place: Path) -> str:
    """The name without its ending; what follows the last dot of a series' folder is not an ending."""
    if place.is_dir():
        return place.name
    return _NIFTI.sub("", place.name) if _NIFTI.search(place.name) else place.stem


def _voxels(name: str, channels: torch.Tensor) -> np.ndarray:
    """``(H, W, D)`` of a single channel, or ``(H, W, D, C)``."""
    voxels: np.ndarray = channels.movedim(0, -1).cpu().numpy()
    dtype = np.uint8 if name == "label" else np.float32
    return (voxels if name == "probabilities" else voxels[..., 0]).astype(dtype)
