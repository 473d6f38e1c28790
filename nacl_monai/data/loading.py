"""Reading a case from disk, and refusing what nothing can be learnt from."""

from __future__ import annotations

import zlib
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import LoadImage, Transform
from nibabel.filebasedimages import ImageFileError

from nacl_monai.errors import InputError

_UNREADABLE = (OSError, EOFError, RuntimeError, ValueError, zlib.error, ImageFileError)
_AFFINE_TOLERANCE = 1e-3  # mm; files written by different tools differ by rounding


class LoadCased(Transform):
    """MONAI's ``LoadImage`` for ``image`` and ``label``, with every check that a training needs.

    Args:
        label_values: The values that a label may hold, for instance ``range(4)``.

    Returns the case with ``image`` ``(C, H, W, D)`` float32 and ``label`` ``(1, H, W, D)`` uint8, both
    `MetaTensor`.

    Raises:
        InputError: A file cannot be read; the image holds NaN or infinity, is constant or not 3-D;
            the label holds other values than ``label_values``, or no foreground; shapes or affines
            of image and label differ. The message names the file.
    """

    def __init__(self, label_values: Sequence[int]) -> None:
        self.label_values = sorted(label_values)
        self._load = LoadImage(image_only=True, ensure_channel_first=True, dtype=np.float32)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Loads the files that ``data["image"]`` and ``data["label"]`` name."""
        image, label = self._read(data["image"]), self._read(data["label"])
        self._check_image(image, data["image"])
        self._check_label(label, data["label"])
        self._check_pair(image, label, data)
        return {**data, "image": image, "label": label.to(torch.uint8)}

    def _read(self, file: str) -> MetaTensor:
        try:
            volume = self._load(file)
        except _UNREADABLE as error:
            cause = (
                str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
            )
            raise InputError(
                f"{file}: cannot be read ({cause}); download or unpack it again"
            ) from error
        assert isinstance(volume, MetaTensor)
        return volume

    @staticmethod
    def _check_image(image: MetaTensor, file: str) -> None:
        if image.ndim != 4:
            raise InputError(f"{file}: has shape {tuple(image.shape)}; a 3-D volume is needed")
        if not torch.isfinite(image).all():
            raise InputError(f"{file}: holds NaN or infinite voxels; repair or remove the case")
        if image.min() == image.max():
            raise InputError(f"{file}: is constant; repair or remove the case")

    def _check_label(self, label: MetaTensor, file: str) -> None:
        found = torch.unique(label.as_tensor()).tolist()
        for value in found:
            if value not in self.label_values:
                raise InputError(
                    f"{file}: holds the label value {value:g}; expected only {self.label_values}, "
                    "so correct the file or the bundle's `classes`"
                )
        if found == [0.0]:
            raise InputError(f"{file}: holds no foreground voxel; repair or remove the case")

    @staticmethod
    def _check_pair(image: MetaTensor, label: MetaTensor, data: Mapping[Hashable, Any]) -> None:
        if label.shape != (1, *image.shape[1:]):
            raise InputError(
                f"{data['label']}: has shape {tuple(label.shape[1:])} but its image "
                f"{tuple(image.shape[1:])}; they must be equal"
            )
        if not torch.allclose(image.affine, label.affine, atol=_AFFINE_TOLERANCE):
            raise InputError(
                f"{data['label']}: its affine differs from that of {data['image']}; "
                "the two must describe the same grid"
            )
