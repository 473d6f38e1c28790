"""A slice of a case as a picture, for the page of an audit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import nibabel
import numpy as np
import torch

from nacl_monai.audits.channels import Channels
from nacl_monai.audits.images import Affine, Probabilities
from nacl_monai.audits.labels import Labels
from nacl_monai.metrics.raters import class_votes
from nacl_monai.training.case_slice import case_slice


def picture(predicted: Probabilities, labels: Labels, channels: Channels) -> dict[str, Any]:
    """The axial slice with most foreground in the label, as one looks at it: anterior is up.

    Args:
        predicted: The probabilities.
        labels: On the same grid.
        channels: What the channels mean.

    Returns:
        The arrays of `case_slice`, without an image; ``slice`` counts along the file's own axis.
    """
    axes, runs_back = _anatomical(None if predicted.turned else labels.affine)
    classes = labels.classes if channels.overlapping else labels.classes[None]
    order = (0, *(3 - axis for axis in axes))  # of z, y, x
    probs, label = torch.from_numpy(predicted.voxels).permute(order), classes.permute(order)
    shown = case_slice(probs, label, channels.names, overlapping=channels.overlapping)
    return {name: _flipped(array, runs_back) for name, array in shown.items()}


def _flipped(array: Any, runs_back: Sequence[bool]) -> Any:
    """A picture whose columns and rows run as one looks at it; what is not a picture stays."""
    if np.ndim(array) != 2:
        return array
    columns, rows = (slice(None, None, -1 if back else None) for back in runs_back[:2])
    return array[rows, columns]


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


def _anatomical(affine: Affine) -> tuple[Sequence[int], Sequence[bool]]:
    """Which of x, y and z runs right or left, anterior or posterior, up or down, and which run backward.

    Without an affine, or with one that says nothing, the axes are taken as they are.
    """
    plain = ((0, 1, 2), (False, False, False))
    if affine is None:
        return plain
    turn: Any = nibabel.orientations.io_orientation(affine)  # type: ignore[no-untyped-call]
    if np.isnan(turn).any():
        return plain
    axes = np.argsort(turn[:, 0])
    return axes.tolist(), (turn[axes, 1] < 0).tolist()
