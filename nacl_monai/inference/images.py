"""Reading an image, of NIfTI files or of a DICOM series, as the network takes it.

MONAI's reader stacks whatever DICOM files a folder holds by their instance numbers. These need not
follow the positions, may be missing, and are the same in two series of one folder; a missing slice goes
unnoticed. Here geometry alone decides, and what is not a single, evenly spaced stack is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
import numpy.typing as npt
import torch
from monai.data import MetaTensor
from monai.transforms import EnsureChannelFirst, LoadImage, MapTransform
from monai.utils import optional_import

from nacl_monai.errors import InputError, print_line

from .cases import files_of_case
from .grids import (
    ITK,
    REAL_KINDS,
    affine_of,
    check_compressed,
    distance_of_grids,
    is_nifti,
    read_itk,
)
from .windows import without_spacing

#: How far from the even stack a slice may be, as a share of the distance of slices.
UNEVEN = 0.1
_DICOMDIR = "1.2.840.10008.1.3.10"
_ALIKE = ("Rows", "Columns", "PixelSpacing", "ImageOrientationPatient")
_NEEDED = ("SeriesInstanceUID", *_ALIKE, "ImagePositionPatient")
_COSINE = 1e-4  # by which the directions of two slices may differ, for rounding
_MOST_LABELS = 30
pydicom, has_pydicom = optional_import("pydicom")


class ImageFault(InputError):
    """One image cannot be segmented; the others can."""


class Series(NamedTuple):
    """The slices of a series in the order of their positions, along row × column.

    Attributes:
        slices: What pydicom reads of each file, without its pixels; ``filename`` is the file.
        affine: From ``(column, row, slice)`` to mm, RAS+.
    """

    slices: list[Any]
    affine: npt.NDArray[np.float64]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows and slices."""
        first = self.slices[0]
        return int(first.Columns), int(first.Rows), len(self.slices)

    @property
    def distance(self) -> float:
        """Between the planes of neighboring slices, in mm."""
        normal = np.cross(self.affine[:3, 0], self.affine[:3, 1])
        return float(abs(self.affine[:3, 2] @ normal) / np.linalg.norm(normal))


def read_series(folder: str | Path) -> Series:
    """Reads where the slices of the series in a folder are. Files of other formats do not count.

    Raises:
        ImageFault: If pydicom is missing, or if the folder holds no series, several, or one that is not
            a stack of gray slices at even distances.
    """
    if not has_pydicom:
        raise ImageFault(
            f"{folder}: needs pydicom to be read as a DICOM series; pip install pydicom"
        )
    slices = _headers(folder)
    series = {header.get("SeriesInstanceUID") for header in slices} - {None}
    if not slices:
        raise ImageFault(f"{folder}: holds no DICOM image; name the folder of a series")
    if len(series) > 1:
        raise ImageFault(f"{folder}: holds {len(series)} DICOM series; give each its own folder")
    for header in slices:
        _check_slice(header)
    _check_alike(folder, slices)
    return _stacked(folder, slices)


def read_voxels(series: Series) -> npt.NDArray[np.float32]:
    """The voxels, ``(column, row, slice)``, in the unit that the files declare, such as HU."""
    images: Any = (pydicom.dcmread(header.filename) for header in series.slices)
    planes: Any = (pydicom.pixels.apply_modality_lut(image.pixel_array, image) for image in images)
    return np.stack([plane.T.astype(np.float32) for plane in planes], axis=-1)


def _headers(folder: str | Path) -> list[Any]:
    """The headers of the images in a folder, without a DICOMDIR, which only lists files."""
    files = [file for file in sorted(Path(folder).iterdir()) if file.is_file()]
    images = filter(pydicom.misc.is_dicom, files)
    read = [pydicom.dcmread(file, stop_before_pixels=True) for file in images]
    return [
        header for header in read if header.file_meta.get("MediaStorageSOPClassUID") != _DICOMDIR
    ]


def _check_slice(header: Any) -> None:
    if int(header.get("NumberOfFrames") or 1) > 1:
        raise ImageFault(
            f"{header.filename}: holds several frames; convert it to NIfTI, or to a file per slice"
        )
    missing = [name for name in _NEEDED if not header.get(name)]
    if missing:
        raise ImageFault(
            f"{header.filename}: lacks {missing[0]}; leave it out, or export the series again"
        )
    if header.get("SamplesPerPixel", 1) != 1:
        raise ImageFault(f"{header.filename}: holds colors; a slice has one number per pixel")


def _check_alike(folder: str | Path, slices: Sequence[Any]) -> None:
    first, *rest = slices
    for name in _ALIKE:
        for other in rest:
            if not np.allclose(other[name].value, first[name].value, rtol=_COSINE, atol=_COSINE):
                raise ImageFault(
                    f"{folder}: {_name(other)} has another {name} than {_name(first)}; leave the slices "
                    "of one stack there"
                )


def _stacked(folder: str | Path, slices: list[Any]) -> Series:
    """The slices along row × column, if they are at even distances."""
    if len(slices) == 1:
        raise ImageFault(f"{folder}: is a single slice; name a volume")
    cosines = np.array(slices[0].ImageOrientationPatient, float)
    row, column = cosines[:3], cosines[3:]
    places = np.array([header.ImagePositionPatient for header in slices], float)
    order = np.argsort(places @ np.cross(row, column), kind="stable")
    slices, places = [slices[k] for k in order], places[order]
    step = (places[-1] - places[0]) / (len(places) - 1)
    _check_even(folder, slices, places, step)
    down, across = map(float, slices[0].PixelSpacing)
    if not (0 < down < np.inf and 0 < across < np.inf):
        raise ImageFault(
            f"{folder}: has pixels of {down:g} × {across:g} mm; export the series again"
        )
    affine = np.eye(4)
    affine[:3] = np.column_stack([row * across, column * down, step, places[0]])
    return Series(slices, np.diag([-1.0, -1, 1, 1]) @ affine)


def _check_even(
    folder: str | Path, slices: Sequence[Any], places: npt.NDArray[Any], step: npt.NDArray[Any]
) -> None:
    """Refuses slices that are elsewhere than step by step from the first to the last."""
    distances = np.linalg.norm(np.diff(places, axis=0), axis=1)
    usual = float(np.median(distances))
    same = int(np.argmin(distances))
    if distances[same] <= UNEVEN * usual:
        raise ImageFault(
            f"{folder}: {_name(slices[same])} and {_name(slices[same + 1])} are in the same place; "
            "leave one volume there, of one time or contrast"
        )
    off = places - places[0] - step * np.arange(len(places))[:, None]
    if np.linalg.norm(off, axis=1).max() > UNEVEN * usual:
        odd = int(np.argmax(np.abs(distances - usual)))
        raise ImageFault(
            f"{folder}: {_name(slices[odd])} and {_name(slices[odd + 1])} are {distances[odd]:.3g} mm "
            f"apart, other slices {usual:.3g} mm; add what is missing, or resample to even distances"
        )


def _name(header: Any) -> str:
    return Path(header.filename).name


class ReadImage(MapTransform):
    """Reads the files of a case as one image, channels first; a folder is that of a DICOM series.

    A host of bundles gives a single file, which stands for all files of its case, or an image that it
    has read by itself.

    A channel without any contrast gets a warning, and so does one that looks like a label map: whole
    numbers, few apart. A folder of images may hold their label maps, too.

    Args:
        in_channels: Channels that the network takes.
        affine_tolerance: How far apart two files of a case may put a voxel, in mm. The image's affine is
            that of its first file.
        modalities: As in `find_cases`.

    Raises:
        ImageFault: If a file is missing, damaged or cannot be read, if the files of a case do not fit
            together, or if the image is not 3-D, has other channels than the network takes, or an affine
            that is not a place in space, or holds colors, complex numbers, NaN or infinite voxels.
    """

    def __init__(
        self, in_channels: int, affine_tolerance: float = 0.01, modalities: Sequence[str] = ("",)
    ) -> None:
        super().__init__("image")
        self.in_channels = in_channels
        self.affine_tolerance = affine_tolerance
        self.modalities = modalities

    def __call__(self, case: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The case with its image, ``(C, H, W, D)``, in place of the files."""
        source = case["image"]
        if isinstance(source, torch.Tensor):
            image = _channels_first(source)
        else:
            single = isinstance(source, str)
            image = self._read(files_of_case(source, self.modalities) if single else source)
        _check_image(image, self.in_channels)
        _warn(image)
        # By which hosts put a label on the image's grid; a reader may know another form.
        image.meta |= {"original_affine": image.affine.clone(), "spatial_shape": image.shape[1:]}
        return {**case, "image": image}

    def _read(self, files: Sequence[str]) -> Any:
        try:
            for file in files:
                _check_file(file)
            return self._join([read_volume(file) for file in files])
        except ImageFault:
            raise
        except Exception as error:  # readers raise many kinds of error
            cause = str(error).partition("\n")[0]
            names = " and ".join(files)
            raise ImageFault(
                f"{names}: cannot be read ({cause}); replace it, or leave it out"
            ) from error

    def _join(self, images: Sequence[Any]) -> Any:
        """The files of a case as one image. MONAI would ask for affines that are closer than this."""
        first = images[0]
        for image in images[1:]:
            if image.shape[1:] != first.shape[1:]:
                raise ValueError(f"shapes {[*first.shape[1:]]} and {[*image.shape[1:]]}")
            affines = image.affine.numpy(), first.affine.numpy()
            distance = distance_of_grids(first.shape[1:], *affines)
            if not distance <= self.affine_tolerance:
                raise ValueError(f"their affines put voxels up to {distance:.3g} mm apart")
        return torch.cat([*images]) if len(images) > 1 else first


def _channels_first(voxels: torch.Tensor) -> Any:
    """What a host has read, as `read_volume` would have; without a place it is at the origin."""
    image = voxels if isinstance(voxels, MetaTensor) else MetaTensor(voxels)
    meta = {"filename_or_obj": "the image", **image.meta}
    channel = "no_channel" if image.ndim == 3 else meta.get("original_channel_dim", 0)
    channels_first = EnsureChannelFirst(channel_dim=channel)(image)
    # A new one: MONAI counts the axes when it makes one, and would take the first for that of channels.
    return MetaTensor(without_spacing(channels_first).float(), meta=meta)


def read_volume(file: str) -> Any:
    """The voxels of a file or of a folder's series, channels first, at the place that counts.

    NIfTI is read by nibabel, MetaImage and NRRD by SimpleITK, and others by what MONAI has for them.
    """
    if Path(file).is_dir():  # one channel, as MONAI's readers give an image
        series = read_series(file)
        voxels, affine = read_voxels(series)[None], series.affine
    elif file.lower().endswith(ITK):
        stored, affine = read_itk(file)
        voxels = np.ascontiguousarray(stored.transpose(0, 3, 2, 1), np.float32)
    else:
        image = _load()(file)
        if is_nifti(file):  # MONAI may take the form that the header does not declare
            image.affine = torch.as_tensor(affine_of(nibabel.load(file)))
        return image
    meta = {"filename_or_obj": file}
    return MetaTensor(torch.from_numpy(voxels), affine=torch.from_numpy(affine), meta=meta)


@cache
def _load() -> Callable[[str], Any]:
    return LoadImage(ensure_channel_first=True, dtype=np.float32)


def _check_file(file: str) -> None:
    """Refuses what MONAI would read without a word: damaged voxels, colors and complex numbers."""
    if not Path(file).exists():
        raise ImageFault(f"{file}: missing; a case needs one file per modality")
    if Path(file).is_dir():
        return
    with Path(file).open("rb") as stream:
        marked = stream.read(132)[128:] == b"DICM"  # behind the preamble
    if marked:
        raise ImageFault(f"{file}: is a single DICOM file; name the folder of its series")
    check_compressed(file)
    if is_nifti(file):
        header: Any = nibabel.load(file).header
        if header.get_data_dtype().kind not in REAL_KINDS:
            kind = header.get_value_label("datatype")
            raise ImageFault(f"{file}: holds {kind} voxels; save it with one number per voxel")


def _check_image(image: Any, in_channels: int) -> None:
    file = image.meta["filename_or_obj"]
    affine = image.affine.numpy()
    if image.ndim != 4:
        raise ImageFault(f"{file}: is not 3-D; name a volume")
    if len(image) != in_channels:
        raise ImageFault(
            f"{file}: has {len(image)} channels; the network takes {in_channels}; name an image like "
            "those of its training"
        )
    if not np.isfinite(affine).all() or np.linalg.matrix_rank(affine[:3, :3]) < 3:
        raise ImageFault(f"{file}: has an affine without three directions; repair its header")
    if not image.isfinite().all():
        raise ImageFault(f"{file}: holds NaN or infinite voxels; repair it, or leave it out")


def _warn(image: Any) -> None:
    """Names the channels that are not an image, though a network finds something in them."""
    for number, channel in enumerate(image):
        fault = _fault_of(channel)
        if fault:
            which = f"channel {number}" if len(image) > 1 else "the image"
            file = image.meta["filename_or_obj"]
            print_line("warning", f"{file}: {which} {fault}")


def _fault_of(channel: torch.Tensor) -> str:
    low, high = channel.min().item(), channel.max().item()
    if low == high:
        return "is constant, so its maps mean nothing"
    if low >= 0 and high <= _MOST_LABELS and torch.equal(channel, channel.round()):
        return (
            f"holds nothing but whole numbers from {low:.0f} to {high:.0f}; if it is a label map, its "
            "maps mean nothing"
        )
    return ""
