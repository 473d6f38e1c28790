"""Pictures of a case: a slice for the page of an audit, and maps on the grid of its label map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nacl_monai.evaluations.slices import case_slice, certainty
from nacl_monai.metrics.raters import class_votes
from nacl_monai.predictions.channels import Channels
from nacl_monai.predictions.images import Array
from nacl_monai.predictions.labels import Labels
from nacl_monai.predictions.reading import Reading


def picture(reading: Reading) -> dict[str, Any]:
    """The axial slice with most foreground in the label, as one looks at it: anterior is up.

    Returns:
        The arrays of `case_slice`, without an image; ``slice`` counts along the file's own axis.
    """
    channels = reading.channels
    labels = majority(reading.labels, channels)
    classes = labels.classes if channels.overlapping else labels.classes[None]
    probs, label = reading.seen(reading.stored), reading.seen(classes)
    return case_slice(probs, label, channels.names, overlapping=channels.overlapping)


def majority(raters: Sequence[Labels], channels: Channels) -> Labels:
    """What most raters say of each voxel, to look at; in a tie, the first class.

    A structure that may overlap is shown where more than half of them mark it.
    """
    first, *others = raters
    if not others:
        return first
    labels = [one.classes for one in raters]
    if channels.overlapping:
        votes = torch.stack(labels).sum(0)
        return replace(first, classes=(2 * votes > len(raters)).to(torch.uint8))
    return replace(first, classes=class_votes(labels, len(channels.values)).max(0).indices)


def write_maps(folder: Path, reading: Reading) -> None:
    """Writes ``CASE_probabilities.nii.gz``, ``CASE_confidence.nii.gz``, ``CASE_entropy.nii.gz``.

    The first has a channel per class. For exclusive classes ``CASE_label.nii.gz`` has the most probable
    one, by its value in label maps. The maps are those of an inference, on the grid of the label map,
    whose header says where it is.
    """
    channels, probs = reading.channels, reading.probs.float()
    confidence, entropy = certainty(probs, channels.overlapping)
    named = {"probabilities": probs, "confidence": confidence, "entropy": entropy}
    maps: dict[str, Array] = {
        name: voxels.numpy().astype(np.float32) for name, voxels in named.items()
    }
    if not channels.overlapping:
        values = torch.tensor([of[0] for of in channels.values.values()])
        maps["label"] = values[probs.max(0).indices].numpy().astype(np.int16)
    for name, voxels in maps.items():
        reading.write(folder / f"{reading.case.name}_{name}.nii.gz", voxels, name)
