"""Pictures of a case: a slice for the page of an audit, and maps as images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nacl_monai.evaluations.slices import case_slice, certainty
from nacl_monai.inference.promised import Array
from nacl_monai.metrics.raters import class_votes
from nacl_monai.predictions.channels import Channels
from nacl_monai.predictions.checks import segmented
from nacl_monai.predictions.labels import Labels
from nacl_monai.predictions.reading import Reading


def picture(reading: Reading, image: torch.Tensor | None = None) -> dict[str, Any]:
    """The axial slice with most foreground in the label, as one looks at it: anterior is up.

    Args:
        reading: The case.
        image: Its channels, along right, anterior and superior.

    Returns:
        The arrays of `case_slice`; ``slice`` counts along the file's own axis.
    """
    channels = reading.channels
    labels = majority(reading.labels, channels)
    classes = labels.classes if channels.overlapping else labels.classes[None]
    probs, label = reading.seen(reading.stored), reading.seen(classes)
    how: dict[str, Any] = {"image": image, "overlapping": channels.overlapping}
    return case_slice(probs, label, channels.names, **how)


def majority(raters: Sequence[Labels], channels: Channels) -> Labels:
    """The majority vote of the raters for each voxel, to look at; in a tie, the first class.

    A structure that may overlap is shown where more than half of them mark it.
    """
    first, *rest = raters
    if not rest:
        return first
    labels = [rater.classes for rater in raters]
    if channels.overlapping:
        votes = torch.stack(labels).sum(0)
        return replace(first, classes=(2 * votes > len(raters)).to(torch.uint8))
    return replace(first, classes=class_votes(labels, len(channels.values)).max(0).indices)


def write_maps(
    folder: Path,
    reading: Reading,
    sure: tuple[torch.Tensor, torch.Tensor] | None = None,
    threshold: float | None = None,
) -> int:
    """Writes ``CASE_probabilities.nii.gz``, ``CASE_confidence.nii.gz``, ``CASE_entropy.nii.gz``.

    The first has a channel per class. ``CASE_label.nii.gz`` is the label map that nnU-Net would make of
    the probabilities, unless structures overlap and nothing says how they are painted over each other.
    ``CASE_above_STRUCTURE.nii.gz`` is 1 where the probability of a structure is the threshold or more.
    The maps are those of an inference, on the grid of the label map, whose header says where it is, or
    of the file that says where the prediction is.

    Args:
        folder: Where they are written.
        reading: The case.
        sure: Its `certainty`, if it is known.
        threshold: Of the last ones, which are not written without one.

    Returns:
        How many were written.
    """
    channels, probs = reading.channels, reading.probs.float()
    confidence, entropy = sure or certainty(probs, channels.overlapping)
    maps: dict[str, Array] = {
        "probabilities": probs.numpy(),
        "confidence": confidence.numpy(),
        "entropy": entropy.numpy(),
    }
    masks = _masks(reading.predicted.voxels, probs.numpy(), channels, threshold)
    for name, voxels in maps.items():
        reading.write(_file(folder, reading, name), voxels.astype(np.float32), name)
    for name, voxels in masks.items():
        reading.write(_file(folder, reading, name), voxels.astype(np.int16), "label")
    return len(maps) + len(masks)


def _masks(
    stored: Array, probs: Array, channels: Channels, threshold: float | None
) -> dict[str, Array]:
    """The maps of whole numbers."""
    masks = {}
    if channels.painted or not channels.overlapping:
        masks["label"] = segmented(stored, channels)
    if threshold is not None:
        for name, members in channels.structures.items():
            masks[above(name)] = probs[list(members)].sum(0) >= threshold
    return masks


def above(structure: str) -> str:
    """The kind of a map at a threshold."""
    return f"above_{structure}"


def _file(folder: Path, reading: Reading, name: str) -> Path:
    return folder / f"{reading.case.name}_{name}.nii.gz"
