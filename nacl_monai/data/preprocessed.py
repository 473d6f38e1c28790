"""What is wrong with a case once it is preprocessed: every check and its message, once.

A training and ``nacl-monai check --preprocess`` refuse the same, in the same words.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from monai.data import MetaTensor

from nacl_monai.data.cases import AFFINE_TOLERANCE, Case, image_files
from nacl_monai.errors import InputError
from nacl_monai.inference.images import distance_of_grids

_BYTE = 255


@contextmanager
def scaling_intensities(file: str) -> Iterator[None]:
    """Makes a fault of what MONAI merely warns of: intensities that it leaves as they are.

    Raises:
        InputError: If the block scales a range of intensities whose ends are equal.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("error", r"Divide by zero \(a_min == a_max\)")
        try:
            yield
        except (RuntimeError, Warning) as error:
            if not isinstance(error.__cause__ or error, Warning):
                raise
            raise InputError(
                f"{file}: has no range of intensities to scale, as nearly all of its voxels have the "
                "same; crop the image, or scale it otherwise in the bundle's `preprocessing`"
            ) from error


def check_preprocessed(case: Case, volume: Mapping[Hashable, Any]) -> None:
    """Checks that preprocessing and cropping leave an image, and a label of classes on the same grid.

    Args:
        case: Its files.
        volume: What they made of its ``image`` and ``label``, channels first.

    Raises:
        InputError: If a channel of the image is constant, if the label has another shape or place, or if
            it holds something else than whole numbers of a byte.
    """
    image, label = (torch.as_tensor(volume[key]) for key in ("image", "label"))
    if any(channel.min() == channel.max() for channel in image):
        raise InputError(
            f"{image_files(case)[0]}: is constant when it is preprocessed and cropped; correct the "
            "range of intensities in the bundle's `preprocessing`, or its `cropping`, or remove the case"
        )
    if not _are_on_one_grid(image, label):
        raise InputError(
            f"{case['label']}: is not where its image is when both are preprocessed and cropped; give "
            "each step that turns, resamples or crops `keys: [image, label]`"
        )
    # A step that interpolates may round, and then nothing tells; MONAI's transforms do not round.
    broken = label[(label != label.round()) | (label < 0) | (label > _BYTE)]
    if len(broken):
        raise InputError(
            f"{case['label']}: holds {broken[0]:g} when it is preprocessed, which is not a class; give "
            "each step that resamples `mode: [bilinear, nearest]`, and each that scales `keys: image`"
        )


def _are_on_one_grid(image: torch.Tensor, label: torch.Tensor) -> bool:
    shape = image.shape[1:]
    if shape != label.shape[1:]:
        return False
    if not (isinstance(image, MetaTensor) and isinstance(label, MetaTensor)):
        return True  # nothing says where a plain tensor is
    affines = (one.affine.numpy() for one in (image, label))
    return distance_of_grids(shape, *affines) <= AFFINE_TOLERANCE


def check_slice_size(case: Case, size: Sequence[int], spatial_size: Sequence[int]) -> None:
    """Checks that the slices of a case fit into a network's.

    Args:
        case: The case.
        size: Height and width of its slices after preprocessing and cropping.
        spatial_size: Height and width of a network's slice.

    Raises:
        InputError: If they are larger.
    """
    height, width = size
    if height > spatial_size[0] or width > spatial_size[1]:
        raise InputError(
            f"{image_files(case)[0]}: its slices are {height}×{width}, larger than spatial_size "
            f"{spatial_size[0]}×{spatial_size[1]}; raise it: --spatial_size [{height},{width}] "
            "(rounded up to multiples of 16)"
        )


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
