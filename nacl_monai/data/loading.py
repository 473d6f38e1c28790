"""Reading a case from disk, and refusing what nothing can be learned from."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import nibabel
import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import LoadImage, Transform
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from nacl_monai.errors import InputError

_UNREADABLE = (
    EOFError,
    HeaderDataError,
    ImageFileError,
    MemoryError,  # of a damaged header that announces too many voxels
    OSError,
    RuntimeError,
    ValueError,
    zlib.error,
)
_CHUNK = 2**20
AFFINE_TOLERANCE = 1e-3  # mm; files written by different tools differ by rounding


@contextmanager
def readable(file: str) -> Iterator[None]:
    """Turns what a library raises over an unreadable ``file`` into an `InputError`."""
    try:
        yield
    except _UNREADABLE as error:
        cause = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise InputError(
            f"{file}: cannot be read ({cause}); download or unpack it again"
        ) from error


def check_file(file: str) -> None:
    """Refuses a NIfTI ``file`` that is damaged, or whose voxels are colors or complex.

    Nobody else would notice: nibabel reads a compressed file as far as it needs the voxels, and the
    checksum comes behind them; MONAI drops what is imaginary.

    Raises:
        InputError: It cannot be read, or its voxels are not plain numbers.
    """
    with readable(file):
        if file.endswith(".gz"):
            with gzip.open(file) as stream:
                while stream.read(_CHUNK):
                    pass
        header: Any = nibabel.load(file).header
        dtype = header.get_data_dtype()
    if dtype.kind not in "iuf":
        raise not_numbers(file, header.get_value_label("datatype"))


def not_numbers(file: str, kind: str) -> InputError:
    """What to say of a ``file`` whose voxels are colors or complex."""
    return InputError(f"{file}: its voxels are {kind}; convert it to one real number per voxel")


class LoadCase(Transform):
    """MONAI's ``LoadImage`` for ``image`` and ``label``, with every check that a training needs.

    Args:
        label_values: For each class, the values on disk that become it. ``[[0], [1], [2], [4]]`` makes
            the 4 of BraTS class 3, ``[[0, 7], [1, 2]]`` joins values.
        in_channels: Channels that the image must have.

    An image of several files, one per modality, is stacked along its channels. Returns the case with
    ``image`` ``(C, H, W, D)`` float32 and ``label`` ``(1, H, W, D)`` uint8, class indices on the image's
    grid, both `MetaTensor`.

    Raises:
        InputError: A file cannot be read or is damaged; its voxels are no plain numbers; an image holds
            NaN or infinity, has a constant channel, is not 3-D, or has another number of channels; the
            label holds a value that is not among ``label_values``, or no foreground; shapes or affines
            of a case's files differ. The message names the file.
    """

    def __init__(self, label_values: Sequence[Sequence[int]], in_channels: int) -> None:
        self.label_values = [list(values) for values in label_values]
        self.in_channels = in_channels
        self._load = LoadImage(
            "NibabelReader", image_only=True, ensure_channel_first=True, dtype=np.float32
        )

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Loads the files that ``data["image"]`` and ``data["label"]`` name."""
        files = [data["image"]] if isinstance(data["image"], str) else list(data["image"])
        images = [self._read(file) for file in files]
        label = self._read(data["label"])
        for file, image in zip(files, images, strict=True):
            _check_image(image, file)
            _check_grid(image, file, images[0], files[0])
        _check_grid(label, data["label"], images[0], files[0])
        image = MetaTensor(torch.cat(tuple(images)), meta=images[0].meta)
        if len(image) != self.in_channels:
            file = max(zip(map(len, images), files, strict=True), key=lambda found: found[0])[1]
            raise InputError(
                f"{file}: the image has {len(image)} channel(s) but in_channels is "
                f"{self.in_channels}; correct the file, or set --in_channels {len(image)}"
            )
        label = self._classes(label, data["label"])
        label.affine = image.affine  # equal but for rounding, by which resampled grids could differ
        return {**data, "image": image, "label": label}

    def _read(self, file: str) -> MetaTensor:
        check_file(file)
        with readable(file):
            volume = self._load(file)
        assert isinstance(volume, MetaTensor)
        return volume

    def _classes(self, label: MetaTensor, file: str) -> MetaTensor:
        """Values on disk → class indices."""
        if len(label) != 1:
            raise InputError(f"{file}: has {len(label)} channels; a label map has one")
        check_label_values(torch.unique(label.as_tensor()).tolist(), self.label_values, file)
        classes = torch.zeros_like(label, dtype=torch.uint8)
        for index, values in enumerate(self.label_values[1:], start=1):
            for value in values:
                classes[label == value] = index
        assert isinstance(classes, MetaTensor)
        return classes


def check_label_values(
    found: Sequence[float], label_values: Sequence[Sequence[int]], file: str
) -> None:
    """Raises an `InputError` unless ``found`` are values of ``label_values`` and not all background."""
    expected = sorted(value for values in label_values for value in values)
    for value in found:
        if value not in expected:
            raise InputError(
                f"{file}: holds the label value {value:g}; expected only {expected}, "
                "so correct the file or the bundle's `label_values`"
            )
    if set(found) <= set(label_values[0]):
        raise InputError(f"{file}: holds no foreground voxel; repair or remove the case")


def _check_image(image: MetaTensor, file: str) -> None:
    if image.ndim != 4:
        raise InputError(f"{file}: has shape {tuple(image.shape)}; a 3-D volume is needed")
    if not torch.isfinite(image).all():
        raise InputError(f"{file}: holds NaN or infinite voxels; repair or remove the case")
    for channel in image:
        if channel.min() == channel.max():
            raise InputError(f"{file}: is constant; repair or remove the case")


def _check_grid(volume: MetaTensor, file: str, first: MetaTensor, first_file: str) -> None:
    """The files of a case describe the same voxels."""
    if volume.shape[1:] != first.shape[1:]:
        raise InputError(
            f"{file}: has shape {tuple(volume.shape[1:])} but {first_file} "
            f"{tuple(first.shape[1:])}; they must be equal"
        )
    if not torch.allclose(volume.affine, first.affine, atol=AFFINE_TOLERANCE):
        raise InputError(
            f"{file}: its affine differs from that of {first_file}; "
            "the two must describe the same grid"
        )
