"""Files that cannot be read, or that libraries read without noticing that they are damaged."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import ignite.distributed as idist
import nibabel
import numpy as np
import numpy.typing as npt
from monai.data.utils import affine_to_spacing
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from tqdm import tqdm

from nacl_monai.data.faults import SPATIAL_AXES, distance_of_grids, not_real_numbers
from nacl_monai.errors import InputError

_UNREADABLE = (
    EOFError,
    HeaderDataError,
    ImageFileError,
    MemoryError,  # a damaged header may announce too many voxels
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
    zlib.error,
)
_CHUNK = 2**20
_NOTEWORTHY = 0.1  # mm between sform and qform; the quaternion of a qform is rounded
_warned: list[str] = []
_REAL_KINDS = "iuf"  # NumPy's letters for signed, unsigned and floating-point numbers


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
        if file.endswith(".gz"):
            _decompress(file)
        header: Any = nibabel.load(file).header
        dtype = header.get_data_dtype()
    if dtype.kind not in _REAL_KINDS:
        raise not_real_numbers(file, header.get_value_label("datatype"))


def affine_of(image: Any) -> npt.NDArray[np.float64]:
    """The affine of a NIfTI image of nibabel's that counts, which is also the one that inference reads.

    It is nibabel's: the sform, or without one the qform, since a form whose code is 0 declares nothing.
    Where both are declared and the sform has other voxel sizes than ``pixdim``, as in ACDC's release, it
    is the qform, as MONAI decides.
    """
    header = image.header
    both = header["sform_code"] and header["qform_code"]
    if both and not np.allclose(affine_to_spacing(image.affine), header["pixdim"][1:4]):
        return cast("npt.NDArray[np.float64]", header.get_qform())
    return cast("npt.NDArray[np.float64]", image.affine)


def warn_of_forms(file: str) -> None:
    """Warns, once in a process, of a file whose header contradicts itself.

    Either its sform and its qform put voxels elsewhere, or what counts of them (`affine_of`) has other
    voxel sizes than ``pixdim``.
    """
    header: Any = nibabel.load(file).header
    shape = header.get_data_shape()[:SPATIAL_AXES]
    try:
        (sform, scode), (qform, qcode) = header.get_sform(coded=True), header.get_qform(coded=True)
    except (HeaderDataError, ValueError):  # a quaternion that is none: the sform counts
        return
    if scode and qcode:
        distance = distance_of_grids(shape, sform, qform)
        if distance > _NOTEWORTHY:
            _warn_once(
                f"{file}: its sform and qform put voxels up to {distance:.3g} mm apart, and others may "
                "do so; the one with the voxel size of pixdim counts, or else the sform"
            )
    elif scode:
        sizes, pixdim = affine_to_spacing(sform), header["pixdim"][1:4]
        if distance_of_grids(shape, *(np.diag([*one, 1]) for one in (sizes, pixdim))) > _NOTEWORTHY:
            said, other = ("×".join(f"{n:.3g}" for n in one) for one in (sizes, pixdim))
            _warn_once(
                f"{file}: has voxels of {said} mm by its sform and of {other} mm by its pixdim, and "
                "others may do so; the sform counts"
            )


def _warn_once(line: str) -> None:
    if not _warned and idist.get_rank() == 0:
        tqdm.write(f"warning: {line}", file=sys.stderr)
    _warned.append(line)


def _decompress(file: str) -> None:
    """Reads a file to its end, where the checksum is compared."""
    with gzip.open(file) as stream:
        while stream.read(_CHUNK):
            pass
