"""What preprocessing and cropping take away from the label of a case."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from nacl_monai.data.cases import Case, image_files
from nacl_monai.data.preprocessed import check_preprocessed, check_slice_size, scaling_intensities
from nacl_monai.errors import InputError

_SAME_GRID = 1e-3  # relative change of a voxel's size, by rounding


class LostVoxels(NamedTuple):
    """What a case loses of a class.

    Attributes:
        case: The case's name.
        name: The class.
        voxels: Voxels that there would be without the loss.
        lost: Voxels that are missing, on the grid where they are.
    """

    case: str
    name: str
    voxels: int
    lost: int


def preprocess_label(
    case: Case,
    volume: Mapping[Hashable, Any],
    steps: Sequence[Callable[[Any], Any]],
    classes: Sequence[str],
    spatial_size: Sequence[int],
) -> list[LostVoxels]:
    """Takes a case through all steps after its reading, and counts what each class loses.

    A step that keeps the size of voxels, such as a crop, loses those that are gone after it. A step that
    resamples loses a class where nothing of it is left; otherwise its numbers say nothing.

    Args:
        case: The case.
        volume: Its ``image`` and ``label``, as read.
        steps: The transforms of the bundle's ``preprocessing`` and ``cropping``.
        classes: Names of all classes, background first.
        spatial_size: Height and width of a network's slice.

    Returns:
        The classes of which voxels are lost.

    Raises:
        InputError: If a step fails, `check_preprocessed` refuses what is left, or the slices are larger
            than ``spatial_size``.
    """
    data: Any = {**case, **volume}
    lost = torch.zeros(len(classes), dtype=torch.int64)
    before, size = _count(data, len(classes)), _voxel_size(data)
    file = image_files(case)[0]
    for step in steps:
        with scaling_intensities(file):
            data = _applied(step, data, file)
        after, new_size = _count(data, len(classes)), _voxel_size(data)
        resampled = not np.allclose(new_size, size, rtol=_SAME_GRID, atol=0)
        lost += torch.where((after == 0) | torch.tensor(not resampled), before - after, 0)
        before, size = after, new_size
    check_preprocessed(case, data)
    check_slice_size(case, data["label"].shape[1:3], spatial_size)
    return [
        LostVoxels(case["case"], name, int(before[index] + lost[index]), int(lost[index]))
        for index, name in enumerate(classes)
        if index and lost[index] > 0
    ]


def _applied(step: Callable[[Any], Any], data: Any, file: str) -> Any:
    try:
        return step(data)
    except (RuntimeError, ValueError) as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise InputError(f"{file}: cannot be preprocessed ({reason}); repair it") from error


def _count(data: Mapping[str, Any], classes: int) -> torch.Tensor:
    """The voxels of each class; those of another label, which nobody labeled, do not count."""
    label = data["label"].as_tensor().flatten().long()
    return torch.bincount(label, minlength=classes)[:classes]


def _voxel_size(data: Mapping[str, Any]) -> npt.NDArray[np.float64]:
    """The edges of a voxel in order, since a step that turns the axes loses nothing."""
    return np.sort(data["label"].pixdim.numpy())
