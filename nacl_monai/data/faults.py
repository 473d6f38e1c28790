"""What is wrong with a case: every check and its message, once.

Training (`nacl_monai.data.LoadCase`) and the check of a download (`nacl_monai.data.check`) read files
in different ways, and refuse the same for the same reason. Every function names the file at fault.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from nacl_monai.errors import InputError

SPATIAL_AXES = 3
AFFINE_TOLERANCE = 1e-3  # mm; files written by different tools differ by rounding


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


def not_real_numbers(file: str, kind: str) -> InputError:
    """Returns the error for voxels that are colors or complex numbers."""
    return InputError(f"{file}: its voxels are {kind}; convert it to one real number per voxel")


def check_three_axes(file: str, shape: Sequence[int]) -> None:
    """Checks the number of axes, without that of channels.

    Raises:
        InputError: If the file is not 3-D.
    """
    if len(shape) != SPATIAL_AXES:
        raise InputError(f"{file}: has shape {tuple(shape)}; a 3-D volume is needed")


def check_same_grid(grid: VoxelGrid, first: VoxelGrid) -> None:
    """Checks that two files of a case describe the same voxels.

    Raises:
        InputError: If the shapes differ, or the affines by more than rounding.
    """
    if grid.shape != first.shape:
        raise InputError(
            f"{grid.file}: has shape {grid.shape} but {first.file} {first.shape}; they must be equal"
        )
    if not np.allclose(grid.affine, first.affine, atol=AFFINE_TOLERANCE):
        raise InputError(
            f"{grid.file}: its affine differs from that of {first.file}; "
            "the two must describe the same grid"
        )


def check_channels(files: Iterable[str], channels: Sequence[int], in_channels: int) -> None:
    """Checks how many channels the files of an image have together.

    Raises:
        InputError: If these are not ``in_channels``. The message names the file with the most.
    """
    total = sum(channels)
    if total != in_channels:
        _, file = max(zip(channels, files, strict=True), key=lambda pair: pair[0])
        raise InputError(
            f"{file}: the image has {total} channel(s) but in_channels is {in_channels}; "
            f"correct the file, or set --in_channels {total}"
        )


def check_image_voxels(file: str, image: torch.Tensor) -> None:
    """Checks that something can be learned from an image.

    Args:
        file: The file.
        image: Its voxels, channels first.

    Raises:
        InputError: If a voxel is NaN or infinite, or a channel is constant.
    """
    if not torch.isfinite(image).all():
        raise InputError(f"{file}: holds NaN or infinite voxels; repair or remove the case")
    if any(channel.min() == channel.max() for channel in image):
        raise InputError(f"{file}: is constant; repair or remove the case")


def check_label_channels(file: str, channels: int) -> None:
    """Checks that a label map gives one number per voxel.

    Raises:
        InputError: If it has several channels.
    """
    if channels != 1:
        raise InputError(f"{file}: has {channels} channels; a label map has one")


def check_label_values(
    file: str, present: Iterable[float], label_values: Sequence[Sequence[int]]
) -> None:
    """Checks the values that a label map holds.

    Args:
        file: The file.
        present: The values of its voxels.
        label_values: For each class, the values on disk that become it, background first.

    Raises:
        InputError: If a value belongs to no class, or all of them to the background.
    """
    present = list(present)
    expected = sorted(value for values in label_values for value in values)
    for value in present:
        if value not in expected:
            raise InputError(
                f"{file}: holds the label value {value:g}; expected only {expected}, "
                "so correct the file or the bundle's `label_values`"
            )
    if set(present) <= set(label_values[0]):
        raise InputError(f"{file}: holds no foreground voxel; repair or remove the case")
