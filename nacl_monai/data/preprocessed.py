"""What is wrong with a case once it is preprocessed: every check and its message, once.

A training and ``nacl-monai check --preprocess`` refuse the same, in the same words.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from monai.data import MetaTensor

from nacl_monai.data.cases import Case, image_files
from nacl_monai.data.faults import distance_of_grids
from nacl_monai.data.tolerance import AFFINE_TOLERANCE
from nacl_monai.errors import InputError

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
