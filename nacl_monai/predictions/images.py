"""Files of voxels: NIfTI by nibabel; NRRD and MetaImage by SimpleITK."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
import numpy.typing as npt
import torch

from nacl_monai.data.faults import check_numbers, readable
from nacl_monai.errors import InputError
from nacl_monai.inference.grids import affine_of, check_compressed, read_itk
from nacl_monai.inference.maps import behind_image
from nacl_monai.inference.promised import Array
from nacl_monai.metrics.voxels import native
from nacl_monai.predictions.names import NIFTI
from nacl_monai.tensors import top1

Affine = npt.NDArray[np.float64] | None


@dataclass(frozen=True)
class Prediction:
    """The files of a case.

    Attributes:
        case: Its name.
        files: The class of each file, or "" for one file with all classes → the file.
    """

    case: str
    files: Mapping[str, Path]

    @property
    def file(self) -> Path:
        """The first file."""
        return next(iter(self.files.values()))


@dataclass(frozen=True)
class Probabilities:
    """The voxels of a case.

    Attributes:
        voxels: ``(C, z, y, x)``, as they were stored: half precision stays, and uint8 counts 255ths;
            a tensor in memory.
        affine: From ``(x, y, z)`` to mm, RAS+; None if unknown.
        file: The file of the voxels.
        source: The file that says where they are.
        turned: Whether the axes were turned to run right, anterior and superior before; the affine is
            that of the image all the same.
        whole: Whether whole numbers are stored.
        segmentation: The most probable classes, as the source has them, until they were compared.
        step: The step between stored probabilities, where the dtype does not say, as of integers that
            a file scales.
        pairwise_dice: Of an ensemble, Dice of its members with each other, a number per structure.
        digest: Of the stored voxels; empty if they are constant, or on no request.
        behind: The calibrator and the ensemble that they went through, for maps of them.
    """

    voxels: Any
    affine: Affine
    file: Path
    source: Path
    turned: bool = False
    whole: bool = False
    segmentation: Image | None = None
    step: float | None = None
    pairwise_dice: Sequence[float] = ()
    digest: str = ""
    behind: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along x, y and z."""
        return tuple(self.voxels.shape[:0:-1])

    @cached_property
    def classes(self) -> torch.Tensor:
        """The most probable class of each voxel, ``(z, y, x)``, which is found once."""
        return top1(torch.as_tensor(self.voxels), 0)[1]


class Image(NamedTuple):
    """Voxels and where they are.

    Attributes:
        voxels: ``(z, y, x)``, or ``(channels, z, y, x)``; uint8 stays uint8 where it counts 255ths.
        affine: From ``(x, y, z)`` to mm, RAS+.
        whole: Whether the file stores whole numbers that no scale makes fractions of.
        step: The step between numbers that a file of scaled integers can hold; None for other files.
        behind: What a map of this package went through, as its header says.
    """

    voxels: Array
    affine: npt.NDArray[np.float64]
    whole: bool
    step: float | None = None
    behind: Mapping[str, Any] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along x, y and z."""
        return tuple(self.voxels.shape[:-4:-1])


def read_image(file: Path) -> Image:
    """Reads an image; axes of length 1 behind the third are dropped.

    Raises:
        InputError: If the file cannot be read, is damaged, or is not a volume of plain numbers.
    """
    return _read_nifti(file) if file.name.lower().endswith(NIFTI) else _read_itk(file)


def read_grid(file: Path) -> tuple[tuple[int, ...], npt.NDArray[np.float64]]:
    """Shape and affine of an image of one channel, without its voxels where it is a NIfTI file.

    Raises:
        InputError: If the file cannot be read.
    """
    if not file.name.lower().endswith(NIFTI):
        image = read_image(file)
        return image.shape, image.affine
    with readable(str(file)):
        stored: Any = nibabel.load(file)
        _check_axes(file, stored.shape)
        return tuple(stored.shape[:3]), affine_of(stored)


def stored_as(file: Path) -> tuple[int, bool]:
    """How many axes longer than 1 or spatial a file has, and whether it stores whole numbers."""
    if not file.name.lower().endswith(NIFTI):
        read = read_image(file)
        return read.voxels.ndim, read.whole
    with readable(str(file)):
        image: Any = nibabel.load(file)
        _check_axes(file, image.shape)
        return len(_squeezed(image.shape)), _is_whole(image)


def _check_axes(file: Path, shape: tuple[int, ...]) -> None:
    if 0 in shape:
        raise InputError(f"{file}: has no voxel along an axis, {shape}; write it again")


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape without axes of length 1 behind the third; ITK keeps channels in the fifth."""
    return (*shape, 1, 1)[:3] + tuple(size for size in shape[3:] if size > 1)


def _is_whole(image: Any) -> bool:
    slope, offset = image.dataobj.slope, image.dataobj.inter
    return (
        image.get_data_dtype().kind in "iu" and float(slope).is_integer() and offset == int(offset)
    )


def _read_nifti(file: Path) -> Image:
    with readable(str(file)):
        check_compressed(str(file))
        image: Any = nibabel.load(file)
        check_numbers(str(file), image.header)
        _check_axes(file, image.shape)
        voxels, step = _unpacked(image)
        affine = affine_of(image)
    voxels = voxels.reshape(_squeezed(voxels.shape), order="F").T
    return _checked(file, voxels, affine, _is_whole(image))._replace(
        step=step, behind=behind_image(image)
    )


def _unpacked(image: Any) -> tuple[Array, float | None]:
    """The voxels that a file stores as they are or by a scale, and the step of scaled integers."""
    dtype, slope, offset = image.get_data_dtype(), image.dataobj.slope, image.dataobj.inter
    if slope == 1 and offset == 0:
        return np.asanyarray(image.dataobj), None
    if dtype == np.uint8 and np.isclose(slope, 1 / 255) and offset == 0:
        return np.asarray(image.dataobj.get_unscaled()), None
    voxels = np.asanyarray(image.dataobj, dtype=np.float32)
    return voxels, abs(float(slope)) if dtype.kind in "iu" else None


def _read_itk(file: Path) -> Image:
    with readable(str(file)):
        voxels, affine = read_itk(str(file))
    voxels = np.ascontiguousarray(voxels[0] if len(voxels) == 1 else voxels)
    return _checked(file, voxels, affine, voxels.dtype.kind in "iu")


def _checked(file: Path, voxels: Array, affine: Any, whole: bool) -> Image:
    if voxels.ndim not in (3, 4):
        raise InputError(
            f"{file}: has {voxels.ndim} axes; give a volume, or one with channels last"
        )
    return Image(native(voxels), np.asarray(affine, dtype=np.float64), whole)
