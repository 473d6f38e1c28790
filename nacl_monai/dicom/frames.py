"""The series that was segmented, and a map as its frames, whatever the axes of its file are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import torch

from nacl_monai.data.cases import AFFINE_TOLERANCE
from nacl_monai.data.faults import VoxelGrid, check_affine, check_same_grid
from nacl_monai.errors import InputError
from nacl_monai.inference.images import ImageFault, Series, read_series
from nacl_monai.metrics.voxels import dequantized
from nacl_monai.predictions.images import Image, read_image, whole_numbers
from nacl_monai.predictions.names import stem_of
from nacl_monai.tensors import sum_tolerance

_OVER = 1e-4  # by which rounding may bring a probability above 1, or below 0

Frames = npt.NDArray[Any]
# What every DICOM image has, though it may be empty. Anonymizers drop it.
_MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime"),
)
_NEEDED = ("StudyInstanceUID", "FrameOfReferenceUID")


def read_frames(
    file: Path, series: Series, classes: int, affine_tolerance: float = AFFINE_TOLERANCE
) -> Frames:
    """Reads a label map, or the probabilities of every class.

    Args:
        file: One channel of whole numbers is a label map; several channels are probabilities.
        series: On whose grid it must be; axes in another order or direction are turned.
        classes: How many there are, with the background.
        affine_tolerance: How far apart both may put a voxel, in mm.

    Returns:
        Class indices ``(slice, row, column)``, or the probabilities of all classes but the background,
        ``(slice, row, column, class)``, from 0 to 1.

    Raises:
        InputError: If the file cannot be read, is neither, is on another grid, has other classes, or
            classes that overlap.
    """
    image = _image(file)
    voxels = _turned(file, image, series, affine_tolerance)
    if voxels.ndim == 3:
        return _checked_labels(file, image, voxels, classes)
    return _checked_probabilities(file, voxels, classes)


def read_contours(
    files: Sequence[Path], series: Series, affine_tolerance: float = AFFINE_TOLERANCE
) -> Frames:
    """Reads the contours of a promise, which may overlap: ``(slice, row, column, contour)``, 1 inside.

    Args:
        files: One for each contour.
        series: On whose grid they must be.
        affine_tolerance: How far apart both may put a voxel, in mm.

    Raises:
        InputError: If a file cannot be read, is on another grid, or holds other numbers than 0 and 1.
    """
    contours = [_turned(file, _image(file), series, affine_tolerance) for file in files]
    for file, voxels in zip(files, contours, strict=True):
        if voxels.ndim != 3 or not np.isin(voxels, (0, 1)).all():
            raise InputError(
                f"{file}: is no contour, which is 1 inside and 0 elsewhere; leave it out"
            )
    return np.stack(contours, -1).astype(np.uint8)


def read_values(
    file: Path,
    series: Series,
    classes: Sequence[str] | None,
    affine_tolerance: float = AFFINE_TOLERANCE,
) -> dict[str, Frames]:
    """Reads what a Parametric Map shows: the probability of each class, or one number for each voxel.

    Args:
        file: Several channels are probabilities; one channel is another map, such as confidence.
        series: On whose grid it must be.
        classes: Names of all classes, with the background; None if they are not known.
        affine_tolerance: How far apart both may put a voxel, in mm.

    Returns:
        Name → ``(slice, row, column)``, float32: every class but the background, or the map's kind.

    Raises:
        InputError: As `read_frames`; and if the file is a label map, or holds NaN or negative numbers.
    """
    image = _image(file)
    voxels = _turned(file, image, series, affine_tolerance)
    if voxels.ndim == 4:
        names = classes or [str(k) for k in range(voxels.shape[3])]
        probs = _checked_probabilities(file, voxels, len(names))
        return {name: np.ascontiguousarray(probs[..., k]) for k, name in enumerate(names[1:])}
    values = voxels.astype(np.float32)
    if image.whole or not (np.isfinite(values).all() and values.min() >= 0):
        raise InputError(
            f"{file}: is not a map of numbers of 0 or more; give NAME_probabilities.nii.gz, "
            "NAME_confidence.nii.gz or NAME_entropy.nii.gz"
        )
    return {stem_of(file).rpartition("_")[2]: values}


def _image(file: Path) -> Image:
    if not file.is_file():
        raise InputError(f"{file}: is not a file; give a map that inference has written")
    return read_image(file)


def _turned(file: Path, image: Image, series: Series, tolerance: float) -> Frames:
    """The voxels, ``(slice, row, column[, class])``, if they are where those of the series are."""
    check_affine(str(file), image.affine)
    orientations: Any = nibabel.orientations
    turn = orientations.io_orientation(np.linalg.inv(series.affine) @ image.affine)
    voxels = orientations.apply_orientation(image.voxels.T, turn)
    affine = image.affine @ orientations.inv_ornt_aff(turn, image.shape)
    folder = str(Path(series.slices[0].filename).parent)
    source = VoxelGrid(folder, series.shape, series.affine)
    check_same_grid(VoxelGrid(str(file), voxels.shape[:3], affine), source, tolerance)
    return np.ascontiguousarray(np.moveaxis(voxels, (0, 2), (2, 0)))


def _checked_labels(file: Path, image: Image, voxels: Frames, classes: int) -> Frames:
    if not image.whole:
        raise InputError(
            f"{file}: is neither a label map nor probabilities; give NAME_label.nii.gz or "
            "NAME_probabilities.nii.gz"
        )
    labels = whole_numbers(file, voxels)
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise InputError(
            f"{file}: holds the label value {low if low < 0 else high}, but {classes} classes are "
            f"named, 0 to {classes - 1}; name all of them: --names"
        )
    return labels.astype(np.min_scalar_type(classes))


def _checked_probabilities(file: Path, voxels: Frames, classes: int) -> Frames:
    if voxels.shape[3] != classes:
        raise InputError(
            f"{file}: has {voxels.shape[3]} channels, but {classes} classes are named; name all of "
            "them, background first: --names"
        )
    stored, tolerance = dequantized(torch.from_numpy(voxels).movedim(-1, 1))
    probs = stored.float()
    low, high = (float(bound) for bound in probs.aminmax())
    if not (low >= -_OVER and high <= 1 + _OVER):  # which NaN is not, either
        raise InputError(f"{file}: holds values outside of 0 to 1; give probabilities")
    totals = probs.sum(1)
    total = float(totals.flatten()[(totals - 1).abs().argmax()])
    if abs(total - 1) > (tolerance or sum_tolerance(stored.dtype)):
        raise InputError(
            f"{file}: the channels of a voxel sum up to {total:.4g}, and the first may be no "
            "background; give probabilities of exclusive classes, which sum up to 1 (in a byte to 255)"
        )
    return probs[:, 1:].movedim(1, -1).contiguous().numpy().clip(0, 1)


def read_source(folder: Path) -> Series:
    """Reads the series in a folder, with all that a segmentation takes from it.

    An attribute that may be empty is empty where it is missing. The distance of slices is that of their
    positions, and replaces a missing thickness.

    Raises:
        InputError: If the folder holds no single, evenly spaced series, or one without a frame of
            reference.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: is not a folder; give the folder of the DICOM series")
    try:
        series = read_series(folder)
    except ImageFault:
        raise
    except (AttributeError, EOFError, OSError, TypeError, ValueError) as error:
        raise InputError(f"{folder}: cannot be read ({error}); export the series again") from error
    for keyword in _NEEDED:
        _check_common(folder, series.slices, keyword)
    for header in series.slices:
        _complete(header, series)
    return series


def _check_common(folder: Path, slices: Sequence[Any], keyword: str) -> None:
    values = {header.get(keyword) or "" for header in slices}
    if values == {""}:
        raise InputError(
            f"{folder}: its slices lack {keyword}, which a segmentation needs; export the series again"
        )
    if len(values) > 1:
        raise InputError(
            f"{folder}: its slices differ in {keyword}; leave those of one acquisition there"
        )


def _complete(header: Any, series: Series) -> None:
    """Fills in what highdicom asks every slice for, or compares between slices to the last digit."""
    for keyword in _MAY_BE_EMPTY:
        header.setdefault(keyword, "")
    if not header.get("SliceThickness"):
        header.SliceThickness = f"{series.distance:.10g}"
    header.SpacingBetweenSlices = f"{series.distance:.10g}"
    header.ImageOrientationPatient = series.slices[0].ImageOrientationPatient
