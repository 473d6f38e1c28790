"""The files of a case → its numbers, or its fault in one line."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from nacl_monai.audits.agreement import check_agreement
from nacl_monai.audits.channels import Channels
from nacl_monai.audits.images import read_grid
from nacl_monai.audits.labels import Labels, read_labels
from nacl_monai.audits.layouts import labels_instead
from nacl_monai.audits.maps import write_maps
from nacl_monai.audits.measuring import Extras, Measured, Settings, measured, measured_by_all
from nacl_monai.audits.pictures import majority, picture
from nacl_monai.audits.saved import Prediction, Probabilities
from nacl_monai.data.faults import VoxelGrid, check_same_grid
from nacl_monai.errors import InputError
from nacl_monai.metrics.inputs import dequantized
from nacl_monai.tensors import sum_tolerance

_PERCENT = 100


def measured_files(
    prediction: Prediction,
    label_maps: Sequence[Path],
    read: Callable[[Prediction], Probabilities],
    settings: Settings,
    extras: Extras,
) -> list[Measured] | InputError:
    """Reads a case and measures it; its fault, if it has one.

    Args:
        prediction: The files of the probabilities.
        label_maps: One, or that of each rater.
        read: Reads the probabilities.
        settings: The audit's settings.
        extras: What is made of the case besides.

    Returns:
        The numbers; with several raters those against their share, and then those against each.

    Raises:
        InputError: If a file of its maps cannot be written.
    """
    warnings.filterwarnings(
        "ignore", category=FutureWarning, module="monai"
    )  # its own deprecations
    channels = settings.channels
    try:
        predicted, labels = read_case(prediction, label_maps, read, settings)
        probs = torch.from_numpy(predicted.voxels)
        if settings.raters:
            numbers = measured_by_all(probs, labels, settings, predicted.step)
        else:
            numbers = [measured(probs, labels[0], settings, step=predicted.step)]
    except InputError as fault:
        return _of_file(fault, prediction.file)
    if extras.nifti is not None:
        write_maps(extras.nifti, prediction.case, predicted, labels[0], label_maps[0], channels)
    if extras.pictures:
        shown = picture(predicted, majority(labels, channels), channels)
        numbers[0] = replace(numbers[0], picture=shown)
    return numbers


def read_case(
    prediction: Prediction,
    label_maps: Sequence[Path],
    read: Callable[[Prediction], Probabilities],
    settings: Settings,
) -> tuple[Probabilities, list[Labels]]:
    """The probabilities of a case and its labels by each rater, checked.

    Raises:
        InputError: If they cannot be read, are not what they should be, or do not fit each other.
    """
    predicted = read(prediction)
    check_channels(prediction, predicted, settings.channels)
    check_agreement(predicted, settings.channels)
    return predicted, _labels_of_all(label_maps, predicted, settings)


def _labels_of_all(
    files: Sequence[Path], predicted: Probabilities, settings: Settings
) -> list[Labels]:
    """The label maps of all raters, on one grid."""
    tolerance = settings.affine_tolerance
    labels = [read_labels(file, settings.channels, predicted, tolerance) for file in files]
    if len(files) > 1:
        first, *others = (VoxelGrid(str(file), *read_grid(file)) for file in files)
        for grid in others:
            check_same_grid(grid, first, tolerance)
    return labels


def _of_file(fault: InputError, file: Path) -> InputError:
    """A fault of the metric's, which knows no files, with the name of the file."""
    where, _, what = str(fault).partition(": ")
    return InputError(f"{file}: {where} {what}") if where in ("probs", "labels") else fault


def check_channels(prediction: Prediction, predicted: Probabilities, channels: Channels) -> None:
    """Refuses what the metric would refuse less plainly, before the label is read.

    Raises:
        InputError: If there are other channels than the classes, label maps, logits, or sums that only
            a sigmoid has.
    """
    file, voxels = prediction.file, predicted.voxels
    if (predicted.whole and _are_labels(voxels, channels)) or _are_masks(voxels):
        raise labels_instead(file)
    if len(voxels) != len(channels.values):
        raise InputError(
            f"{file}: has {len(voxels)} channels, but there are {channels.describe()}: "
            f"{', '.join(channels.names)}; give the dataset.json of these predictions with --dataset"
        )
    _check_range(file, voxels, channels)
    if not channels.overlapping:
        _check_sums(file, voxels)


def _are_labels(voxels: npt.NDArray[Any], channels: Channels) -> bool:
    """Whether nothing is above 1; but in bytes, structures that are nowhere have the probability 0."""
    nowhere = channels.overlapping and voxels.dtype == np.uint8 and not voxels.any()
    return bool(voxels.max(initial=0) <= 1) and not nowhere


def _are_masks(voxels: npt.NDArray[Any]) -> bool:
    """Whether nothing is between 0 and 1, and a channel has both: no network draws such a boundary."""
    one = 255 if voxels.dtype == np.uint8 else 1
    planes = (plane for channel in voxels for plane in channel)
    if not all(((plane == 0) | (plane == one)).all() for plane in planes):  # mostly by the first
        return False
    return any((channel == 0).any() and (channel == one).any() for channel in voxels)


def _check_range(file: Path, voxels: npt.NDArray[Any], channels: Channels) -> None:
    low, high = float(voxels.min()), float(voxels.max())
    if np.isnan(low):
        raise InputError(f"{file}: holds NaN; predict the case again, or leave it out")
    # As far as the metric takes it: a calibrator is fitted to what can be audited.
    over = 0 if channels.overlapping else sum_tolerance(torch.from_numpy(voxels).dtype)
    if high == _PERCENT and voxels.dtype == np.uint8 and _end_at(voxels, _PERCENT):
        raise InputError(
            f"{file}: reaches to 100, as percent do, but whole numbers are taken for 255ths; save "
            "probabilities from 0 to 1"
        )
    if voxels.dtype != np.uint8 and not 0 <= low <= high <= 1 + over:
        raise InputError(
            f"{file}: reaches from {low:.4g} to {high:.6g}, beyond 0 and 1, as logits do; save "
            f"probabilities, after {channels.activation}"
        )


def _end_at(voxels: npt.NDArray[Any], most: int) -> bool:
    """Whether the largest number is more frequent than the next: an end of the scale, and no peak."""
    return int((voxels == most).sum()) > int((voxels == most - 1).sum())


def _check_sums(file: Path, voxels: npt.NDArray[Any]) -> None:
    probs, tolerance = dequantized(torch.from_numpy(voxels)[None])
    off = float((probs.sum(1, dtype=torch.float32) - 1).abs().max())
    if off > (tolerance or sum_tolerance(probs.dtype)):
        raise InputError(
            f"{file}: the sum over a voxel's classes is off 1 by {off:.4g}; if each channel is a "
            "structure of its own, say --activation sigmoid"
        )
