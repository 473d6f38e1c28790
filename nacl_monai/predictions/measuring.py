"""The numbers of one case: checked probabilities and labels → sums and scores."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.metrics import compute_dice

from nacl_monai.data.faults import AFFINE_TOLERANCE
from nacl_monai.errors import InputError
from nacl_monai.metrics import CalibrationMetric, hausdorff_distance, structure_masks
from nacl_monai.metrics.inputs import dequantized
from nacl_monai.predictions.agreement import check_agreement
from nacl_monai.predictions.channels import Channels
from nacl_monai.predictions.labels import Labels, read_labels
from nacl_monai.predictions.layouts import labels_instead
from nacl_monai.predictions.maps import write_maps
from nacl_monai.predictions.pictures import picture
from nacl_monai.predictions.saved import Prediction, Probabilities
from nacl_monai.tensors import sum_tolerance

SCORES = ("dice", "hd95")
#: The regions of an evaluation, in its order.
EVALUATED_REGIONS = ("foreground", "union", "boundary", "all")


@dataclass(frozen=True)
class Settings:
    """What decides the numbers of an audit, beside its files.

    Attributes:
        channels: What the channels mean.
        regions: Names of the regions.
        num_bins: The number of equal bins.
        affine_tolerance: How far apart probabilities and label may put a voxel, in mm.
    """

    channels: Channels
    regions: Sequence[str] = EVALUATED_REGIONS
    num_bins: int = 15
    affine_tolerance: float = AFFINE_TOLERANCE

    def metric(self, from_logits: bool = False) -> CalibrationMetric:
        """A calibration metric that has seen no case."""
        return CalibrationMetric(
            num_bins=self.num_bins,
            regions=self.regions,
            structures=self.channels.names if self.channels.overlapping else (),
            from_logits=from_logits,
        )


@dataclass(frozen=True)
class Extras:
    """What is made of each case beside its numbers.

    Attributes:
        pictures: Whether a slice is kept.
        nifti: The folder of its maps as NIfTI files; None writes none.
    """

    pictures: bool = False
    nifti: Path | None = None


@dataclass(frozen=True)
class Measured:
    """What is kept of a case: a few kilobytes, whatever its size, and a slice if it is asked for.

    Attributes:
        sums: The buffers of the metric.
        scores: "dice" and "hd95" of each structure.
        picture: The slice.
    """

    sums: Sequence[npt.NDArray[Any]]
    scores: Mapping[str, npt.NDArray[Any]]
    picture: Mapping[str, Any] | None = None


def measured_file(
    prediction: Prediction,
    label: Path,
    read: Callable[[Prediction], Probabilities],
    settings: Settings,
    extras: Extras,
) -> Measured | InputError:
    """Reads a case and measures it; its fault, if it has one.

    Raises:
        InputError: If a file of its maps cannot be written.
    """
    warnings.filterwarnings(
        "ignore", category=FutureWarning, module="monai"
    )  # its own deprecations
    try:
        predicted, labels = read_case(prediction, label, read, settings)
        numbers = measured(torch.from_numpy(predicted.voxels), labels, settings)
    except InputError as fault:
        return _of_file(fault, prediction.file)
    if extras.nifti is not None:
        write_maps(extras.nifti, prediction.case, predicted, labels, label, settings.channels)
    if extras.pictures:
        return replace(numbers, picture=picture(predicted, labels, settings.channels))
    return numbers


def read_case(
    prediction: Prediction,
    label: Path,
    read: Callable[[Prediction], Probabilities],
    settings: Settings,
) -> tuple[Probabilities, Labels]:
    """The probabilities and the labels of a case, checked.

    Raises:
        InputError: If they cannot be read, are not what they should be, or do not fit each other.
    """
    predicted = read(prediction)
    check_channels(prediction, predicted, settings.channels)
    check_agreement(predicted, settings.channels)
    return predicted, read_labels(label, settings.channels, predicted, settings.affine_tolerance)


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
    if predicted.whole and voxels.max(initial=0) <= 1:
        raise labels_instead(file)
    if len(voxels) != len(channels.values):
        raise InputError(
            f"{file}: has {len(voxels)} channels, but there are {channels.describe()}: "
            f"{', '.join(channels.names)}; give the dataset.json of these predictions with --dataset"
        )
    low, high = float(voxels.min()), float(voxels.max())
    if np.isnan(low):
        raise InputError(f"{file}: holds NaN; predict the case again, or leave it out")
    if predicted.voxels.dtype != np.uint8 and (low < -1e-3 or high > 1 + 1e-2):
        raise InputError(
            f"{file}: reaches from {low:.4g} to {high:.4g}, so these are logits; save probabilities, "
            f"after {channels.activation}"
        )
    if not channels.overlapping:
        _check_sums(file, voxels)


def _check_sums(file: Path, voxels: npt.NDArray[Any]) -> None:
    probs, tolerance = dequantized(torch.from_numpy(voxels)[None])
    off = float((probs.sum(1, dtype=torch.float32) - 1).abs().max())
    if off > (tolerance or sum_tolerance(probs.dtype)):
        raise InputError(
            f"{file}: the sum over a voxel's classes is off 1 by {off:.4g}; if each channel is a "
            "structure of its own, say --activation sigmoid"
        )


def measured(
    probs: torch.Tensor, labels: Labels, settings: Settings, from_logits: bool = False
) -> Measured:
    """The numbers of one case.

    Args:
        probs: ``(C, *spatial)``, from `Probabilities`.
        labels: On the same grid.
        settings: Of the audit.
        from_logits: Whether logits come in place of probabilities.

    Raises:
        InputError: If the metric refuses.
    """
    masks = None if labels.mask is None else [labels.mask]
    sums: Any = settings.metric(from_logits)([probs], [labels.classes], mask=masks)
    prediction, label = _structures(probs, labels, settings.channels, from_logits)
    scores = {
        "dice": compute_dice(prediction, label, include_background=True),
        "hd95": hausdorff_distance(prediction, label),
    }
    return Measured(
        [tensor.numpy() for tensor in sums],
        {name: values[0].double().numpy() for name, values in scores.items()},
    )


def _structures(
    probs: torch.Tensor, labels: Labels, channels: Channels, from_logits: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """The masks of all structures, predicted and labeled, ``(1, S, *spatial)``."""
    if channels.overlapping:
        half = 0.0 if from_logits else 127.5 if probs.dtype == torch.uint8 else 0.5
        pair = ((probs > half).to(torch.uint8), labels.classes)
    else:
        maps = (probs.max(0).indices[None], labels.classes[None])
        pair = tuple(structure_masks(one, channels.structures) for one in maps)  # type: ignore[assignment]
    if labels.mask is not None:
        pair = (pair[0] * labels.mask, pair[1] * labels.mask)
    return pair[0][None], pair[1][None]
