"""Reading a case from disk for training, and refusing one from which nothing can be learned."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import LoadImage, Transform

from nacl_monai.data.faults import (
    VoxelGrid,
    check_channels,
    check_image_voxels,
    check_label_channels,
    check_label_values,
    check_same_grid,
    check_three_axes,
)
from nacl_monai.data.reading import check_file, readable


class LoadCase(Transform):
    """MONAI's ``LoadImage`` for ``image`` and ``label``, with every check that a training needs.

    An image of several files, one per modality, is stacked along its channels. Returns the case with
    ``image`` ``(C, H, W, D)`` float32 and ``label`` ``(1, H, W, D)`` uint8, class indices on the image's
    grid, both `MetaTensor`.

    Args:
        label_values: For each class, the values on disk that become it. ``[[0], [1], [2], [4]]`` makes
            the 4 of BraTS class 3; ``[[0, 7], [1, 2]]`` joins values.
        in_channels: Channels that the image must have.

    Raises:
        InputError: If a file cannot be read, is damaged, is not 3-D or holds no plain numbers; if an
            image holds NaN or infinity, has a constant channel or another number of channels; if the
            label holds a value that is not among ``label_values``, or no foreground; if the shapes or
            affines of a case's files differ. The message names the file.
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
        first = _grid_of(files[0], images[0])
        for file, image in zip(files, images, strict=True):
            check_three_axes(file, image.shape[1:])
            check_image_voxels(file, image)
            check_same_grid(_grid_of(file, image), first)
        check_same_grid(_grid_of(data["label"], label), first)
        check_channels(files, [len(image) for image in images], self.in_channels)
        image = MetaTensor(torch.cat(tuple(images)), meta=images[0].meta)
        label = self._to_classes(data["label"], label)
        label.affine = image.affine  # equal but for rounding, by which resampled grids could differ
        return {**data, "image": image, "label": label}

    def _read(self, file: str) -> MetaTensor:
        check_file(file)
        with readable(file):
            return cast("MetaTensor", self._load(file))

    def _to_classes(self, file: str, label: MetaTensor) -> MetaTensor:
        """Turns the values on disk into class indices."""
        check_label_channels(file, len(label))
        check_label_values(file, torch.unique(label.as_tensor()).tolist(), self.label_values)
        classes = torch.zeros_like(label, dtype=torch.uint8)
        for index, values in enumerate(self.label_values[1:], start=1):
            for value in values:
                classes[label == value] = index
        return cast("MetaTensor", classes)


def _grid_of(file: str, voxels: MetaTensor) -> VoxelGrid:
    return VoxelGrid(file, tuple(voxels.shape[1:]), voxels.affine.numpy())
