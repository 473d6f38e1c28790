"""Folders of label maps, one per rater, read case by case on one grid."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt

from nacl_monai.audits.images import read_image
from nacl_monai.audits.labels import label_files, whole_numbers
from nacl_monai.data.faults import VoxelGrid, check_affine, check_same_grid
from nacl_monai.data.tolerance import AFFINE_TOLERANCE
from nacl_monai.errors import InputError, SettingError
from nacl_monai.inference.orientation import orientation_to
from nacl_monai.raters.masks import RatedMasks

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class RatedCase:
    """The label maps of a case by all raters.

    Attributes:
        name: The name of the case.
        labels: ``(raters, x, y, z)``, integers; the axes run right, anterior and superior, but for an
            axis along which voxels are clearly the longest, which is the last.
        spacing: Size of a voxel along each axis, in mm.
    """

    name: str
    labels: Array
    spacing: tuple[float, ...]


def find_cases(folders: Sequence[Path]) -> Mapping[str, Sequence[Path]]:
    """Case → its label map by each rater.

    Raises:
        SettingError: If there is only one rater.
        InputError: If a folder is given twice, or lacks a case of another.
    """
    _check_several(folders)
    files = [label_files(folder) for folder in folders]
    cases = sorted(set().union(*files))
    for folder, of in zip(folders, files, strict=True):
        _check_complete(folder, of, cases)
    return {case: [of[case] for of in files] for case in cases}


def _check_several(folders: Sequence[Path]) -> None:
    """Refuses a single rater, and a rater who is given twice."""
    if len(folders) < 2:
        raise SettingError(f"{folders[0]}: is the only rater; give two or more folders")
    places: set[Path] = set()
    for folder in folders:
        if folder.resolve() in places:
            raise InputError(f"{folder}: is given twice; give every rater once")
        places.add(folder.resolve())


def _check_complete(folder: Path, files: Container[str], cases: Sequence[str]) -> None:
    missing = [case for case in cases if case not in files]
    if missing:
        more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(
            f"{folder}: has no label map of the case {missing[0]!r}{more}; every rater needs every "
            "case, so add it, or take the case out of the other folders"
        )


def read_cases(
    cases: Mapping[str, Sequence[Path]], affine_tolerance: float = AFFINE_TOLERANCE
) -> Iterator[RatedCase]:
    """Reads the cases.

    Args:
        cases: From `find_cases`.
        affine_tolerance: How far apart two raters' label maps may put a voxel, in mm.

    Raises:
        InputError: If a file cannot be read, is not a label map, gives its voxels no size, or is on
            another grid than the first rater's.
    """
    for name, files in cases.items():
        images = [read_image(file) for file in files]
        first = VoxelGrid(str(files[0]), images[0].shape, images[0].affine)
        for file, image in zip(files, images, strict=True):
            check_affine(str(file), image.affine)
        turn = orientation_to(images[0].affine, "RAS", slices_last=True)
        labels = []
        for file, image in zip(files, images, strict=True):
            if image.voxels.ndim != 3:
                raise InputError(f"{file}: has {len(image.voxels)} channels; a label map has one")
            check_same_grid(
                VoxelGrid(str(file), image.shape, image.affine), first, affine_tolerance
            )
            labels.append(_turned(whole_numbers(file, image.voxels, image.step), turn))
        yield RatedCase(name, np.stack(labels), _spacing(images[0].affine, turn))


def _turned(values: Array, turn: npt.NDArray[np.float64]) -> Array:
    """``(z, y, x)`` of a file to the axes of a case."""
    apply: Any = nibabel.orientations.apply_orientation
    return np.ascontiguousarray(apply(values.T, turn))


def _spacing(affine: npt.NDArray[np.float64], turn: npt.NDArray[np.float64]) -> tuple[float, ...]:
    """Sizes along the axes of a case."""
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    return tuple(float(sizes[axis]) for axis in np.argsort(turn[:, 0]))


def check_values(folders: Sequence[Path], values: Sequence[set[int]]) -> list[int]:
    """The label values of all raters, without the background.

    Args:
        folders: The raters' folders.
        values: The values that the label maps of each hold.

    Raises:
        InputError: If they have other values, or none but the background.
    """
    for folder, of in zip(folders, values, strict=True):
        if of != values[0]:
            raise InputError(
                f"{folder}: holds the label values {sorted(of)}, but {folders[0]} {sorted(values[0])}; "
                "give raters who labeled the same structures by the same values"
            )
    if not values[0]:
        raise InputError(f"{folders[0]}: holds no foreground voxel; give label maps of structures")
    return sorted(values[0])


def structure(
    case: RatedCase, value: int, patient: str, margin: float, volumes: bool
) -> RatedMasks | None:
    """The masks of one label value, cut out of the image; None where no rater has it.

    Args:
        case: The case.
        value: The structure's value.
        patient: Whose case it is.
        margin: Around it, in mm.
        volumes: Whether the volume is one plane, instead of each slice along the last axis.
    """
    masks = case.labels == value
    if not masks.any():
        return None
    cut = masks[(slice(None), *_box(masks.any(axis=0), case.spacing, margin))]
    if volumes:
        return RatedMasks(cut[:, None], case.spacing, patient)
    return RatedMasks(np.moveaxis(cut, 3, 1), case.spacing[:2], patient)


def _box(mask: Array, spacing: Sequence[float], margin: float) -> Iterator[slice]:
    """The box around a mask with a margin in mm and a voxel more, axis by axis."""
    for marked, size in zip(np.nonzero(mask), spacing, strict=True):
        extra = int(np.ceil(margin / size)) + 1
        yield slice(max(0, marked.min() - extra), marked.max() + 1 + extra)
