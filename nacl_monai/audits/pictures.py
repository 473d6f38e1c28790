"""Pictures of a case: a slice for the page of an audit, and maps on the grid of its label map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import torch

from nacl_monai.audits.channels import Channels
from nacl_monai.audits.images import Affine, Probabilities
from nacl_monai.audits.labels import Labels
from nacl_monai.evaluations.slices import case_slice, certainty
from nacl_monai.inference.maps import map_image, write_nifti
from nacl_monai.metrics.raters import class_votes
from nacl_monai.metrics.voxels import dequantized


def picture(predicted: Probabilities, labels: Labels, channels: Channels) -> dict[str, Any]:
    """The axial slice with most foreground in the label, as one looks at it: anterior is up.

    Args:
        predicted: The probabilities.
        labels: On the same grid.
        channels: What the channels mean.

    Returns:
        The arrays of `case_slice`, without an image; ``slice`` counts along the file's own axis.
    """
    classes = labels.classes if channels.overlapping else labels.classes[None]
    affine = None if predicted.turned else labels.affine
    probs, label = (seen(part, affine) for part in (torch.from_numpy(predicted.voxels), classes))
    return case_slice(probs, label, channels.names, overlapping=channels.overlapping)


def seen(voxels: torch.Tensor, affine: Affine) -> torch.Tensor:
    """Voxels ``(…, z, y, x)`` along right, anterior and superior; the last keeps its direction.

    Args:
        voxels: Of a volume.
        affine: From ``(x, y, z)`` to mm, RAS+; None where axes run so already.
    """
    axes, runs_back = _anatomical(affine)
    turned = voxels.movedim([-1 - axis for axis in axes], (-3, -2, -1))
    return turned.flip([axis for axis, back in zip((-3, -2), runs_back, strict=False) if back])


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
    turn: Any = nibabel.orientations.io_orientation(np.eye(4) if affine is None else affine)  # type: ignore[no-untyped-call]
    if np.isnan(turn).any():
        return (0, 1, 2), (False, False, False)
    axes = np.argsort(turn[:, 0])
    return axes.tolist(), (turn[axes, 1] < 0).tolist()


def write_maps(
    folder: Path,
    case: str,
    predicted: Probabilities,
    labels: Labels,
    label: Path,
    channels: Channels,
) -> None:
    """Writes ``CASE_probabilities.nii.gz``, ``CASE_confidence.nii.gz``, ``CASE_entropy.nii.gz``.

    The first has a channel per class. For exclusive classes ``CASE_label.nii.gz`` has the most probable
    one, by its value in label maps. The maps are those of an inference, on the grid of the label map,
    whose header says where it is.

    Args:
        folder: The files' folder.
        case: Its name.
        predicted: The probabilities.
        labels: What was read of ``label``.
        label: The file of the label map.
        channels: What the channels mean.
    """
    probs = dequantized(torch.from_numpy(predicted.voxels)[None])[0][0].float()
    confidence, entropy = certainty(probs, channels.overlapping)
    maps = {"probabilities": probs, "confidence": confidence[None], "entropy": entropy[None]}
    if not channels.overlapping:
        values = torch.tensor([of[0] for of in channels.values.values()])
        maps["label"] = values[probs.max(0).indices][None]
    affine = np.eye(4) if labels.affine is None else labels.affine
    for name, voxels in maps.items():
        stored = _stored(name, voxels.numpy(), affine if predicted.turned else None)
        write_nifti(map_image(stored, name, label, affine), folder / f"{case}_{name}.nii.gz")


def _stored(name: str, voxels: npt.NDArray[Any], turned: Affine) -> npt.NDArray[Any]:
    """Channels ``(C, z, y, x)`` as ``(x, y, z, C)`` or ``(x, y, z)``, on the label map's own axes.

    Args:
        name: The map's name.
        voxels: Its channels.
        turned: The affine of the label map, if the axes were turned to run right, anterior, superior.
    """
    channels_last = voxels.transpose(3, 2, 1, 0)
    if turned is not None:
        nib: Any = nibabel.orientations
        back = nib.ornt_transform(nib.axcodes2ornt("RAS"), nib.io_orientation(turned))
        channels_last = nib.apply_orientation(channels_last, back)
    dtype = np.int16 if name == "label" else np.float32
    return (channels_last if name == "probabilities" else channels_last[..., 0]).astype(dtype)
