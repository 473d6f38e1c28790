"""The places of a file's voxels, and the contents of files that SimpleITK reads.

Nothing of MONAI is imported here, since audits and promises read such files, too, and start without it.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from importlib import import_module
from itertools import product
from typing import Any, cast

import nibabel
import numpy as np
import numpy.typing as npt

#: What SimpleITK reads: MetaImage and NRRD, each in one file.
ITK = (".mha", ".nrrd")
REAL_KINDS = "iuf"  # NumPy's letters for signed, unsigned and floating-point numbers
_CHUNK = 2**20


def read_itk(file: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """Voxels ``(C, z, y, x)`` as stored, of components or of a fourth axis, and the affine, RAS+."""
    simple_itk = _simple_itk()
    image = simple_itk.ReadImage(file)
    voxels = simple_itk.GetArrayFromImage(image)
    if voxels.dtype.kind not in REAL_KINDS:
        raise ValueError(f"its voxels are {voxels.dtype}")
    if image.GetNumberOfComponentsPerPixel() > 1:
        voxels = np.moveaxis(voxels, -1, 0)
    affine = itk_affine(image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    return voxels.reshape(-1, *voxels.shape[-3:]), affine


def itk_affine(
    spacing: Sequence[float], origin: Sequence[float], direction: Any
) -> npt.NDArray[np.float64]:
    """ITK's geometry, which runs left and posterior, as an affine; a fourth axis is dropped."""
    axes = len(spacing)
    n, affine = min(axes, 3), np.eye(4)
    affine[:n, :n] = (np.reshape(direction, (axes, axes)) * np.asarray(spacing))[:n, :n]
    affine[:n, 3] = origin[:n]
    return np.diag([-1.0, -1, 1, 1]) @ affine


def _simple_itk() -> Any:
    try:
        return import_module("SimpleITK")
    except ImportError as error:
        raise ValueError("needs SimpleITK: pip install SimpleITK") from error


def affine_spacing(affine: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The size of a voxel along each axis, in mm; 1 for an axis of length zero, as in MONAI."""
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    return np.where(sizes == 0, 1.0, sizes)


def stored_shape(file: str) -> tuple[int, ...]:
    """Voxels along each axis by the header, and how many channels there are, if several."""
    if not file.lower().endswith(ITK):
        image: Any = nibabel.load(file)
        return tuple(image.shape)
    reader = _simple_itk().ImageFileReader()
    reader.SetFileName(file)
    reader.ReadImageInformation()
    channels = reader.GetNumberOfComponents()
    return (*reader.GetSize(), channels) if channels > 1 else tuple(reader.GetSize())


def affine_of(image: Any) -> npt.NDArray[np.float64]:
    """The affine of a NIfTI image of nibabel's that counts, in training, audits and inference.

    It is nibabel's: the sform, or without one the qform, since a form whose code is 0 declares nothing.
    Where both are declared and the sform has other voxel sizes than ``pixdim``, as in ACDC's release, it
    is the qform, as MONAI decides.
    """
    header = image.header
    both = header["sform_code"] and header["qform_code"]
    if both and not np.allclose(affine_spacing(image.affine), header["pixdim"][1:4]):
        return cast("npt.NDArray[np.float64]", header.get_qform())
    return cast("npt.NDArray[np.float64]", image.affine)


def distance_of_grids(
    shape: Sequence[int], first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]
) -> float:
    """The largest distance between the places where two affines put the same voxel, in mm.

    That is the distance of a corner.

    Example:
        >>> distance_of_grids((11, 2, 2), np.eye(4), np.diag([1.5, 1, 1, 1]))
        5.0
    """
    corners = np.array([(*corner, 1) for corner in product(*((0, size - 1) for size in shape))])
    return float(np.linalg.norm(corners @ (first - second).T, axis=1).max())


def check_compressed(file: str) -> None:
    """Reads a file to its end if it is compressed, since the checksum follows what nibabel reads.

    Raises:
        OSError: If the checksum is another.
        EOFError: If the file is cut short.
        zlib.error: If it is damaged before.
    """
    if file.lower().endswith(".gz"):
        with gzip.open(file) as stream:
            while stream.read(_CHUNK):
                pass


def is_nifti(file: str) -> bool:
    """Whether a file is one by its name."""
    return file.lower().endswith((".nii", ".nii.gz"))
