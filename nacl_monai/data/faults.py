"""Faults of a file, or of two that belong together: every check and its message, once."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import floor
from typing import Any, NamedTuple

import nibabel
import numpy as np
import numpy.typing as npt
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from nacl_monai.data.cases import AFFINE_TOLERANCE, LabeledCase, image_files
from nacl_monai.errors import InputError, print_line
from nacl_monai.inference.grids import (
    ITK,
    REAL_KINDS,
    affine_spacing,
    check_compressed,
    distance_of_grids,
)
from nacl_monai.progress import process_rank

SPATIAL_AXES = 3
# MemoryError, since a damaged header may announce too many voxels.
_UNREADABLE = (
    *(EOFError, HeaderDataError, ImageFileError, MemoryError, OSError),
    *(OverflowError, RuntimeError, ValueError, zlib.error),
)
_NOTEWORTHY = 0.1  # mm between sform and qform; the quaternion of a qform is rounded
_warned: list[str] = []


class VoxelGrid(NamedTuple):
    """Where the voxels of a file are.

    Attributes:
        file: The file.
        shape: Voxels along each axis, without channels.
        affine: Voxel-to-world matrix.
    """

    file: str
    shape: tuple[int, ...]
    affine: npt.NDArray[np.float64]


def check_affine(file: str, affine: npt.NDArray[np.float64]) -> None:
    """Checks that voxels have a size and a place. They need not be boxes: a shear is no fault.

    Raises:
        InputError: If a number of the affine is NaN or infinite, or it maps the volume to a plane.
    """
    axes = affine[:SPATIAL_AXES, :SPATIAL_AXES]
    if not np.isfinite(affine).all() or np.linalg.matrix_rank(axes) < SPATIAL_AXES:
        raise InputError(
            f"{file}: its affine gives the voxels no size; repair its header, or remove the case"
        )


def on_one_grid(
    shape: Sequence[int], first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]
) -> bool:
    """Whether two affines put each voxel of a shape in the same place, except for rounding."""
    return distance_of_grids(shape, first, second) <= AFFINE_TOLERANCE


def check_same_grid(grid: VoxelGrid, first: VoxelGrid, tolerance: float = AFFINE_TOLERANCE) -> None:
    """Checks that two files of a case describe the same voxels.

    Args:
        grid: The voxels of one file.
        first: Those of the other.
        tolerance: How far apart their affines may put a voxel, in mm.

    Raises:
        InputError: If the shapes differ, or the affines by more than the tolerance.
    """
    if grid.shape != first.shape:
        raise InputError(
            f"{grid.file}: has shape {grid.shape} but {first.file} {first.shape}; they must be equal"
        )
    distance = distance_of_grids(grid.shape, grid.affine, first.affine)
    if distance > tolerance:
        raise InputError(
            f"{grid.file}: its affine puts voxels up to {distance:.3g} mm away from where "
            f"{first.file} has them; the two must describe the same grid, so correct one, or accept "
            f"it: --affine_tolerance {(floor(100 * distance) + 1) / 100:g}"
        )


def check_not_repeated(
    case: LabeledCase, fingerprints: Sequence[str], known: dict[str, str]
) -> None:
    """Checks that no earlier case holds the same image or the same label.

    Args:
        case: The case.
        fingerprints: Those of its image and its label, see `nacl_monai.data.loading.LoadedCase`.
        known: The file of every fingerprint so far; this case's are added.

    Raises:
        InputError: If one is known already. Such a case would be counted twice, or tested on what it was
            trained on.
    """
    files = (("image", image_files(case)[0]), ("label map", case["label"]))
    for fingerprint, (kind, file) in zip(fingerprints, files, strict=True):
        if known.get(fingerprint) == file:
            raise InputError(
                f"{file}: is the {kind} of {case['case']} and of another case; correct the list of cases"
            )
        if fingerprint in known:
            raise InputError(
                f"{file}: is the same {kind} as {known[fingerprint]}; remove one of the cases"
            )
        known[fingerprint] = file


@contextmanager
def readable(file: str) -> Iterator[None]:
    """Turns what a library raises over an unreadable file into one line.

    Raises:
        InputError: If the block raises an error of reading.
    """
    try:
        yield
    except _UNREADABLE as error:
        cause = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise InputError(
            f"{file}: cannot be read ({cause}); download or unpack it again"
        ) from error


def check_file(file: str) -> None:
    """Refuses a NIfTI file that is damaged, or whose voxels are colors or complex.

    Nobody else would notice: nibabel reads a compressed file only as far as it needs the voxels, and
    the checksum follows them; MONAI drops the imaginary part.

    Raises:
        InputError: If the file cannot be read, or its voxels are not plain numbers.
    """
    with readable(file):
        check_compressed(file)
        if not file.lower().endswith(ITK):
            check_numbers(file, nibabel.load(file).header)


def check_numbers(file: str, header: Any) -> None:
    """Refuses voxels that are colors or complex.

    Raises:
        InputError: If they are.
    """
    if header.get_data_dtype().kind not in REAL_KINDS:
        kind = header.get_value_label("datatype")
        raise InputError(f"{file}: its voxels are {kind}; convert it to one real number per voxel")


def warn_of_forms(file: str) -> None:
    """Warns, once in a process, of a file whose header contradicts itself.

    Either its sform and its qform put voxels elsewhere, or what counts of them
    (`nacl_monai.inference.grids.affine_of`) has other
    voxel sizes than ``pixdim``.
    """
    if file.lower().endswith(ITK):
        return
    header: Any = nibabel.load(file).header
    shape = header.get_data_shape()[:SPATIAL_AXES]
    try:
        (sform, scode), (qform, qcode) = header.get_sform(coded=True), header.get_qform(coded=True)
    except (HeaderDataError, ValueError):  # not a quaternion: the sform counts
        return
    if scode and qcode:
        distance = distance_of_grids(shape, sform, qform)
        if distance > _NOTEWORTHY:
            _warn_once(
                f"{file}: its sform and qform put voxels up to {distance:.3g} mm apart, and others may "
                "do so; the one with the voxel size of pixdim counts, or else the sform"
            )
    elif scode:
        _warn_of_sizes(file, shape, affine_spacing(sform), header["pixdim"][1:4])


def _warn_of_sizes(file: str, shape: Sequence[int], *sizes: npt.NDArray[Any]) -> None:
    if distance_of_grids(shape, *(np.diag([*size, 1]) for size in sizes)) > _NOTEWORTHY:
        sform, pixdim = ("×".join(f"{mm:.3g}" for mm in size) for size in sizes)
        _warn_once(
            f"{file}: has voxels of {sform} mm by its sform and of {pixdim} mm by its pixdim, and "
            "others may do so; the sform counts"
        )


def _warn_once(line: str) -> None:
    if not _warned and process_rank() == 0:
        print_line("warning", line)
    _warned.append(line)
