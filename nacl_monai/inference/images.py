"""Reading an image as the network takes it, and refusing one that it cannot take."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing
from monai.transforms import LoadImage, Transform

from .faults import ImageFault
from .series import read_series, read_voxels

_CHUNK = 2**20
_MOST_LABELS = 30
_REAL_KINDS = "iuf"  # NumPy's letters for signed, unsigned and floating-point numbers


class ReadImage(Transform):
    """Reads the files of a case as one image, channels first; a folder is that of a DICOM series.

    A channel without any contrast gets a warning, and so does one that looks like a label map: whole
    numbers, few apart. A folder of images may hold their label maps, too.

    Args:
        in_channels: Channels that the network takes.
        affine_tolerance: How far apart two files of a case may put a voxel, in mm. The image's affine is
            that of its first file.

    Raises:
        ImageFault: If a file is missing, damaged or cannot be read, if the files of a case do not fit
            together, or if the image is not 3-D, has other channels than the network takes, or an affine
            that is not a place in space, or holds colors, complex numbers, NaN or infinite voxels.
    """

    def __init__(self, in_channels: int, affine_tolerance: float = 0.01) -> None:
        self.in_channels = in_channels
        self.affine_tolerance = affine_tolerance
        self.load: Callable[[str], Any] = LoadImage(ensure_channel_first=True)

    def __call__(self, case: Mapping[str, Any]) -> dict[str, Any]:
        """The case with its image, ``(C, H, W, D)``, in place of the files."""
        files = case["image"]
        try:
            for file in files:
                _check_file(file)
            image = self._join([self._load(file) for file in files])
        except Exception as error:  # readers raise many kinds of error
            cause = str(error).partition("\n")[0]
            names = " and ".join(files)
            raise ImageFault(
                f"{names}: cannot be read ({cause}); replace it, or leave it out"
            ) from error
        _check_image(image, self.in_channels)
        _warn(image)
        return {**case, "image": image}

    def _load(self, file: str) -> Any:
        if Path(file).is_dir():
            return _load_series(file)
        image = self.load(file)
        if _is_nifti(file):  # MONAI may take the form that the header does not declare
            image.affine = torch.as_tensor(_affine_of(file))
        return image

    def _join(self, images: Sequence[Any]) -> Any:
        """The files of a case as one image. MONAI would ask for affines that are closer than this."""
        first = images[0]
        for image in images[1:]:
            if image.shape[1:] != first.shape[1:]:
                raise ValueError(f"shapes {[*first.shape[1:]]} and {[*image.shape[1:]]}")
            distance = _distance(image, first)
            if not distance <= self.affine_tolerance:
                raise ValueError(f"their affines put voxels up to {distance:.3g} mm apart")
        return torch.cat([*images]) if len(images) > 1 else first


def _affine_of(file: str) -> Any:
    """As a training reads it (`nacl_monai.data.faults.affine_of`), which an export does not have."""
    stored: Any = nibabel.load(file)
    header = stored.header
    both = header["sform_code"] and header["qform_code"]
    if both and not np.allclose(affine_to_spacing(stored.affine), header["pixdim"][1:4]):
        return header.get_qform()
    return stored.affine


def _distance(image: Any, other: Any) -> float:
    """The largest distance between where two affines put the same voxel, which is that of a corner."""
    corners = np.array([(*at, 1) for at in product(*((0, size - 1) for size in image.shape[1:]))])
    apart = corners @ (image.affine - other.affine).numpy().T
    return float(np.linalg.norm(apart, axis=1).max())


def _check_file(file: str) -> None:
    """Refuses what MONAI would read without a word: damaged voxels, colors and complex numbers.

    nibabel reads a compressed file only as far as it needs the voxels, and the checksum follows them.
    """
    if not Path(file).exists():
        raise ImageFault(f"{file}: missing; a case needs one file per modality")
    if _is_dicom(file):
        raise ImageFault(f"{file}: is a single DICOM file; name the folder of its series")
    if file.lower().endswith(".gz"):
        _decompress(file)
    if _is_nifti(file):
        header: Any = nibabel.load(file).header
        if header.get_data_dtype().kind not in _REAL_KINDS:
            kind = header.get_value_label("datatype")
            raise ImageFault(f"{file}: holds {kind} voxels; save it with one number per voxel")


def _load_series(folder: str) -> MetaTensor:
    """The DICOM series in a folder, one channel, as MONAI's readers give an image."""
    series = read_series(folder)
    voxels = torch.from_numpy(read_voxels(series))[None]
    affine = torch.from_numpy(series.affine)
    return MetaTensor(voxels, affine=affine, meta={"filename_or_obj": folder})


def _is_dicom(file: str) -> bool:
    """Whether it is a file, and has the mark of DICOM behind its preamble."""
    if Path(file).is_dir():
        return False
    with Path(file).open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _decompress(file: str) -> None:
    """Reads a file to its end, where gzip compares the checksum."""
    with gzip.open(file) as stream:
        while stream.read(_CHUNK):
            pass


def _is_nifti(file: str) -> bool:
    return file.lower().endswith((".nii", ".nii.gz"))


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
            print(f"warning: {file}: {which} {fault}", file=sys.stderr)


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
