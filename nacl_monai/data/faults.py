"""What is wrong with a case: every check and its message, once. Each names the file at fault."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, product
from math import floor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from nacl_monai.data.cases import Case, image_files
from nacl_monai.data.tolerance import AFFINE_TOLERANCE
from nacl_monai.errors import InputError, SettingError

SPATIAL_AXES = 3
_BYTE = 255


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


def check_affine(file: str, affine: npt.NDArray[np.float64]) -> None:
    """Checks that voxels have a size and a place. They need not be boxes: a shear is none of a fault.

    Raises:
        InputError: If a number of the affine is NaN or infinite, or it maps the volume to a plane.
    """
    axes = affine[:SPATIAL_AXES, :SPATIAL_AXES]
    if not np.isfinite(affine).all() or np.linalg.matrix_rank(axes) < SPATIAL_AXES:
        raise InputError(
            f"{file}: its affine gives the voxels no size; repair its header, or remove the case"
        )


def distance_of_grids(
    shape: Sequence[int], first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]
) -> float:
    """The largest distance between the places where two affines put the same voxel, in mm.

    Example:
        >>> distance_of_grids((11, 2, 2), np.eye(4), np.diag([1.5, 1, 1, 1]))
        5.0
    """
    corners = np.array([(*corner, 1) for corner in product(*((0, size - 1) for size in shape))])
    return float(np.linalg.norm(corners @ (first - second).T, axis=1).max())


def check_same_grid(grid: VoxelGrid, first: VoxelGrid, tolerance: float = AFFINE_TOLERANCE) -> None:
    """Checks that two files of a case describe the same voxels.

    Args:
        grid: The voxels of one file.
        first: Those of the other.
        tolerance: How far apart their affines may put a voxel, in mm.

    Raises:
        InputError: If the shapes differ, or the affines by more than the tolerance.
    """
    if grid.shape != first.shape:
        raise InputError(
            f"{grid.file}: has shape {grid.shape} but {first.file} {first.shape}; they must be equal"
        )
    distance = distance_of_grids(grid.shape, grid.affine, first.affine)
    if distance > tolerance:
        raise InputError(
            f"{grid.file}: its affine puts voxels up to {distance:.3g} mm away from where "
            f"{first.file} has them; the two must describe the same grid, so correct one, or accept "
            f"it: --affine_tolerance {(floor(100 * distance) + 1) / 100:g}"
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
        InputError: If a value belongs to no class or to two, or all of them to the background.
    """
    present = list(present)
    expected: list[float] = sorted(chain(*label_values))
    for value in present:
        if value not in expected:
            raise InputError(
                f"{file}: holds the label value {value:g}; expected only {expected}, "
                "so correct the file or the bundle's `label_values`"
            )
        if expected.count(value) > 1:
            raise InputError(
                f"{file}: holds the label value {value:g}, which the bundle's `label_values` has twice; "
                "leave it once"
            )
    if set(present) <= set(label_values[0]):
        raise InputError(f"{file}: holds no foreground voxel; repair or remove the case")


def check_ignored(ignore_index: int | None, label_values: Sequence[Sequence[int]]) -> None:
    """Checks that the value of voxels that nobody labeled is neither a label's nor a class's.

    Raises:
        SettingError: If it is not above all values of ``label_values``, or does not fit into a byte.
    """
    largest = max(chain(*label_values))
    if ignore_index is not None and not largest < ignore_index <= _BYTE:
        raise SettingError(
            f"ignore_index: is {ignore_index}; it must be above all label_values, the largest of which "
            f"is {largest}, and at most {_BYTE}"
        )


def check_not_its_label(case: Case, loaded: Mapping[str, torch.Tensor]) -> None:
    """Checks that no image of a case holds the voxels of its label.

    Args:
        case: The case.
        loaded: The voxels of its files, channels first, as far as they could be read.

    Raises:
        InputError: If a channel of an image is equal to the label.
    """
    label = loaded[case["label"]]
    for file in image_files(case):
        if any(torch.equal(channel, label[0]) for channel in loaded.get(file, ())):
            raise InputError(
                f"{file}: holds the voxels of its label, {case['label']}; put the image there"
            )


def check_new(case: Case, fingerprints: Sequence[str], known: dict[str, str]) -> None:
    """Checks that no earlier case holds the same image or the same label.

    Args:
        case: The case.
        fingerprints: Those of its image and its label, see `nacl_monai.data.loading.LoadedCase`.
        known: The file of every fingerprint so far; this case's are added.

    Raises:
        InputError: If one is known already. Such a case would be counted twice, or tested on what it was
            trained on.
    """
    files = (("image", image_files(case)[0]), ("label map", case["label"]))
    for fingerprint, (kind, file) in zip(fingerprints, files, strict=True):
        if known.get(fingerprint) == file:
            raise InputError(
                f"{file}: is the {kind} of {case['case']} and of another case; correct the list of cases"
            )
        if fingerprint in known:
            raise InputError(
                f"{file}: is the same {kind} as {known[fingerprint]}; remove one of the cases"
            )
        known[fingerprint] = file
