"""Files that cannot be read, or that libraries read without noticing that they are damaged."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ignite.distributed as idist
import nibabel
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


def warn_of_forms(file: str) -> None:
    """Warns, once in a process, of a file whose sform and qform contradict each other.

    MONAI follows the sform, as nibabel does, unless the qform alone has the voxel size of ``pixdim``.
    """
    header: Any = nibabel.load(file).header
    try:
        (sform, scode), (qform, qcode) = header.get_sform(coded=True), header.get_qform(coded=True)
    except (HeaderDataError, ValueError):  # a quaternion that is none: the sform counts
        return
    if scode and qcode:
        shape = header.get_data_shape()[:SPATIAL_AXES]
        distance = distance_of_grids(shape, sform, qform)
        if distance > _NOTEWORTHY:
            _warn_once(
                f"{file}: its sform and qform put voxels up to {distance:.3g} mm apart, and others may "
                "do so; the one with the voxel size of pixdim counts, or else the sform"
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
