"""One slice of a case as pictures, made, kept and read: label, prediction and certainty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from nacl_monai.errors import InputError
from nacl_monai.files import atomic_path
from nacl_monai.inference.maps import entropy_map
from nacl_monai.inference.records import MARGIN
from nacl_monai.metrics.record import REMEDY
from nacl_monai.metrics.regions import near
from nacl_monai.metrics.sums_file import read_arrays
from nacl_monai.metrics.voxels import OUTSIDE_INSIDE, dequantized
from nacl_monai.tensors import check_probabilities, check_unit_interval, without_metadata
from nacl_monai.words import listed

Picture = npt.NDArray[Any]
_SHOWN = ("label", "prediction", "confidence", "entropy")


def case_slice(
    probs: torch.Tensor,
    label: torch.Tensor,
    names: Sequence[str],
    *,
    image: torch.Tensor | None = None,
    overlapping: bool = False,
) -> dict[str, Any]:
    """The axial slice with most foreground in the label, which so depends only on the label.

    Structures that overlap are painted over each other, the largest first. Where one of them is
    uncertain, so is the slice: its confidence is the least of all structures, its entropy the largest.

    Args:
        probs: Probabilities, ``(C, *spatial)``, with two or three axes that run right, anterior and
            superior; in half precision as well.
        label: Class indices ``([1, ]*spatial)`` or one-hot ``(C, *spatial)``; where structures overlap,
            one mask each.
        names: The names of the classes, background first, or of the structures.
        image: ``(channels, *spatial)``; the first channel is kept.
        overlapping: Whether the channels are structures of their own.

    Returns:
        ``label`` and ``prediction`` uint8, ``confidence`` and ``entropy`` (of its maximum) float32, and
        ``image`` float32 where it is given, each ``(rows, columns)`` as one looks at it: anterior is up;
        ``slice``, its position, and ``classes``, the names of label values 0, 1, ….

    Raises:
        InputError: If there are not as many names as channels, or the values are not probabilities.
    """
    if len(names) != len(probs):
        raise InputError(
            f"classes: {len(names)} names ({', '.join(names)}) for {len(probs)} channels of "
            "probabilities; give one for each"
        )
    label = label if label.ndim == probs.ndim else label[None]
    foreground = _foreground(label, overlapping)  # most of it is in the slice; a picture is slice 0
    position = int(foreground.sum(dim=(0, 1)).argmax()) if foreground.ndim == 3 else 0
    pictures = _pictures(_plane(probs, position), _plane(label, position), overlapping)
    if image is not None:
        pictures["image"] = _plane(image, position)[0]
    return {
        **{name: _upright(name, voxels) for name, voxels in pictures.items()},
        "slice": position,
        "classes": np.array([OUTSIDE_INSIDE[0], *names] if overlapping else list(names)),
    }


def _foreground(label: torch.Tensor, overlapping: bool) -> torch.Tensor:
    """The voxels ``(*spatial)`` that are of any structure, or of any class but the background."""
    if overlapping:
        return (label > 0).any(0)
    return (label[1:] > 0).any(0) if len(label) > 1 else label[0] != 0


def _plane(voxels: torch.Tensor, position: int) -> torch.Tensor:
    """The slice ``(channels, x, y)`` of a volume; a picture as it is."""
    plane = voxels if voxels.ndim == 3 else voxels[..., position]
    return without_metadata(plane.detach()).cpu()


def _pictures(
    probs: torch.Tensor, label: torch.Tensor, overlapping: bool
) -> dict[str, torch.Tensor]:
    """What is shown of a slice, `_SHOWN`; structures that overlap are painted, the smallest last."""
    stored, tolerance = dequantized(probs[None])
    if overlapping:
        check_unit_interval(stored[0], activation="sigmoid")
        order = [int(k) for k in label.flatten(1).sum(1).argsort(descending=True, stable=True)]
        maps = [_painted(masks, order) for masks in (label > 0, stored[0] > 0.5)]
    else:
        check_probabilities(stored, tolerance)
        labeled = label[0] if len(label) == 1 else label.max(0).indices
        maps = [labeled, stored[0].max(0).indices]
    return dict(zip(_SHOWN, (*maps, *certainty(stored[0], overlapping)), strict=True))


def certainty(probs: torch.Tensor, overlapping: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Confidence and entropy of every voxel, ``(*spatial)``, in single precision or better.

    Args:
        probs: Probabilities, ``(C, *spatial)``.
        overlapping: Whether the channels are structures of their own; the least certain one counts.

    Example:
        >>> certainty(torch.tensor([[0.5], [0.9]]), overlapping=True)
        (tensor([0.5000]), tensor([1.]))
    """
    probs = probs.to(torch.promote_types(probs.dtype, torch.float32))
    entropy = entropy_map(probs if not overlapping else torch.stack([1 - probs, probs]))[0]
    return confidence_of(probs, overlapping), entropy.amax(0) if overlapping else entropy


def confidence_of(probs: torch.Tensor, overlapping: bool) -> torch.Tensor:
    """The confidence alone."""
    return torch.maximum(1 - probs, probs).amin(0) if overlapping else probs.amax(0)


def doubt_near(
    confidence: torch.Tensor,
    predicted: torch.Tensor,
    spacing: Sequence[float],
    margin: float = MARGIN,
) -> torch.Tensor:
    r"""The chance that a voxel near the prediction is wrong, 1 − confidence; 0 elsewhere.

    Its sum over a plane is how many voxels of the plane are expected to be wrong, if the probabilities
    are right: what a correction of that plane mends.

    Args:
        confidence: The probability of the predicted class, ``(*spatial)``.
        predicted: Where any structure is predicted, ``(*spatial)``.
        spacing: The size of a voxel along each axis in mm.
        margin: How near, in mm.

    Example:
        >>> confidence = torch.tensor([0.5, 0.6, 0.75, 0.5])
        >>> doubt_near(confidence, torch.tensor([False, False, True, False]), [2.0], margin=2).tolist()
        [0.0, 0.3999999761581421, 0.25, 0.5]
    """
    return (1 - confidence) * near(predicted[None], margin, [*spacing])[0]


def doubtful_planes(doubt: Picture, axis: int) -> list[tuple[int, float, list[int]]]:
    """The planes that may have errors, those of most first: position, expected errors, worst voxel.

    Args:
        doubt: Of each voxel, from `doubt_near`.
        axis: Across the planes.

    Example:
        >>> doubtful_planes(np.array([[0.0, 0.0], [0.25, 0.5], [0.0, 1.0]]), 0)
        [(2, 1.0, [2, 1]), (1, 0.75, [1, 1])]
    """
    planes = np.moveaxis(doubt, axis, 0)
    sums = planes.reshape(len(planes), -1).sum(1, dtype=float)
    found = []
    for k in np.argsort(-sums, kind="stable")[: np.count_nonzero(sums)].tolist():
        place = [*map(int, np.unravel_index(planes[k].argmax(), planes.shape[1:]))]
        found.append((k, float(sums[k]), [*place[:axis], k, *place[axis:]]))
    return found


def thick_axis(spacing: Sequence[float]) -> int:
    """The axis along which voxels are three times as thick as along all others, or else the last.

    Example:
        >>> thick_axis((1.0, 5.0, 1.5)), thick_axis((1.0, 1.5, 1.0))
        (1, 2)
    """
    first, second = np.argsort(spacing)[::-1][:2]
    return int(first) if spacing[first] >= 3 * spacing[second] else len(spacing) - 1


def _painted(masks: torch.Tensor, order: Sequence[int]) -> torch.Tensor:
    painted = torch.zeros(masks.shape[1:], dtype=torch.uint8)
    for k in order:
        painted[masks[k]] = k + 1
    return painted


def _upright(name: str, picture: torch.Tensor) -> Picture:
    """A slice ``(x, y)`` as ``(rows, columns)``: what runs along y is up."""
    dtype = np.uint8 if name in ("label", "prediction") else np.float32
    return np.rot90(picture.numpy()).astype(dtype)


def write_slice(file: Path, arrays: Mapping[str, Any]) -> None:
    """Writes a `case_slice`, whole or not at all."""
    with atomic_path(file) as temporary:
        np.savez(temporary, **arrays)  # compressing takes longer than segmenting


@dataclass(frozen=True)
class CaseMap:
    """The content of ``maps/CASE.npz``: one slice of one test case; an audit knows no image."""

    image: npt.NDArray[np.float32] | None
    label: npt.NDArray[np.uint8]
    prediction: npt.NDArray[np.uint8]
    confidence: npt.NDArray[np.float32]
    entropy: npt.NDArray[np.float32]
    slice: int
    classes: list[str]
    path: Path


def read_map(path: Path) -> CaseMap:
    """Reads the ``maps/CASE.npz`` of one case.

    Raises:
        InputError: If the file is missing, lacks an array, or holds pictures of unlike shape or
            label values without a class.
    """
    arrays = read_arrays(path, (*_SHOWN, "slice", "classes"), REMEDY, ["image"])
    _check_pictures(path, {key: arrays[key] for key in ("image", *_SHOWN) if key in arrays})
    classes = [str(name) for name in arrays["classes"]]
    highest = max(int(arrays[key].max()) for key in ("label", "prediction"))
    if highest >= len(classes):
        raise InputError(
            f"{path}: label value {highest}, but only {len(classes)} classes "
            f"({listed(classes)}); evaluate the run again"
        )
    return CaseMap(
        **{key: arrays[key] for key in _SHOWN},
        image=arrays.get("image"),
        slice=int(arrays["slice"]),
        classes=classes,
        path=path,
    )


def _check_pictures(path: Path, pictures: Mapping[str, npt.NDArray[Any]]) -> None:
    shapes = {picture.shape for picture in pictures.values()}
    if len(shapes) > 1 or pictures["label"].ndim != 2:
        raise InputError(
            f"{path}: {', '.join(pictures)} must be (H, W) and alike, "
            f"not {listed(sorted(shapes))}; evaluate the run again"
        )
