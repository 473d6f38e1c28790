"""A case and its contents: probabilities, labels, and the places of its voxels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import scipy
import torch
from torch import nn

from nacl_monai.data.faults import VoxelGrid, check_affine
from nacl_monai.errors import InputError
from nacl_monai.inference.grids import distance_of_grids
from nacl_monai.inference.maps import map_image, write_nifti
from nacl_monai.inference.promised import Array
from nacl_monai.metrics.voxels import dequantized, of_classes
from nacl_monai.posthoc import OUTPUTS
from nacl_monai.predictions.channels import Channels
from nacl_monai.predictions.images import (
    Affine,
    Labels,
    Prediction,
    Probabilities,
    check_grid,
    read_grid,
    read_image,
    turned,
    voxel_sizes,
)


@dataclass(frozen=True)
class Case:
    """One image.

    Attributes:
        name: What every file and table calls it.
        prediction: Its files.
        labels: Its label map by each rater; empty without labels.
        patient: Its patient; the case itself if unknown.
    """

    name: str
    prediction: Prediction
    labels: Sequence[Path] = ()
    patient: str = ""


@dataclass(frozen=True)
class Reading:
    """The contents of a case, on one grid.

    Attributes:
        case: The case.
        predicted: Its probabilities.
        labels: Its labels by each rater, if there are any.
        channels: What the channels mean.
        tolerance: How far apart two files may put a voxel, in mm.
    """

    case: Case
    predicted: Probabilities
    labels: Sequence[Labels]
    channels: Channels
    tolerance: float

    @property
    def stored(self) -> torch.Tensor:
        """The probabilities as they were stored, ``(C, z, y, x)``."""
        return torch.as_tensor(self.predicted.voxels)

    @property
    def probs(self) -> torch.Tensor:
        """The probabilities as floating numbers, ``(C, z, y, x)``."""
        return dequantized(self.stored[None])[0][0]

    @property
    def size(self) -> int:
        """Bytes of its voxels, with the most probable classes and the labels."""
        of_labels = (rater.classes.nbytes + self.stored[0].numel() for rater in self.labels)
        return self.stored.nbytes + 8 * self.stored[0].numel() + sum(of_labels)

    @property
    def affine(self) -> Affine:
        """From ``(x, y, z)`` to mm; of the label where no file of the prediction says it."""
        if self.predicted.affine is None and self.labels:
            return self.labels[0].affine
        return self.predicted.affine

    @property
    def spacing(self) -> tuple[float, ...]:
        """The size of a voxel along each axis of the voxels, in mm.

        Raises:
            InputError: If no file says where the voxels are.
        """
        if self.affine is None:
            raise InputError(
                f"{self.predicted.file}: no file beside it says where its voxels are, so that no margin "
                "in mm is known; add the .pkl or the segmentation"
            )
        return voxel_sizes(self.affine, are_turned=self.predicted.turned)

    @property
    def masks(self) -> list[torch.Tensor]:
        """Where the first rater has each structure."""
        classes, structures = self.labels[0].classes, self.channels.structures.values()
        if self.channels.overlapping:
            return [classes[list(channels)].any(0) for channels in structures]
        return [of_classes(classes, channels) for channels in structures]

    def through(self, module: nn.Module) -> Reading:
        """The same case behind a calibrator, from logits, image and spacing to logits.

        Raises:
            InputError: If the calibrator's distances are in mm and nobody knows how large voxels are,
                or in voxels and somebody does.
        """
        outputs = OUTPUTS[self.channels.activation]
        logits = outputs.logits_of(self.stored, self.predicted.step)
        spacing = None if self.affine is None else [*self.spacing]
        try:
            with torch.no_grad():
                probs = outputs.probs_of(module(logits[None], spacing=spacing)[0])
        except ValueError as error:
            raise InputError(
                f"{self.predicted.file}: {error}; calibrate predictions like these, or add the file "
                "that says where they are"
            ) from error
        predicted = replace(self.predicted, voxels=probs.numpy(), whole=False, step=None)
        return replace(self, predicted=predicted)

    def seen(self, voxels: torch.Tensor) -> torch.Tensor:
        """Voxels ``(…, z, y, x)`` along right, anterior and superior; the last keeps its direction."""
        axes, runs_back = _anatomical(None if self.predicted.turned else self.affine)
        moved = voxels.movedim([-1 - axis for axis in axes], (-3, -2, -1))
        return moved.flip([axis for axis, back in zip((-3, -2), runs_back, strict=False) if back])

    def image(self, file: Path) -> Array:
        """The first channel of an image on the grid of the prediction, ``(z, y, x)``, to look at.

        Raises:
            InputError: If it cannot be read, or is elsewhere.
        """
        image = read_image(file)
        voxels = image.voxels[0] if image.voxels.ndim == 4 else image.voxels
        if self.predicted.turned:
            voxels = turned(voxels, image.affine)
        grid = VoxelGrid(str(file), image.shape, image.affine)
        check_grid(self.predicted, grid, tuple(voxels.shape[::-1]), self.tolerance)
        return voxels

    def write(self, file: Path, voxels: Array, kind: str) -> None:
        """Writes a map on the grid of the label map, or of the file that says where the prediction is.

        Args:
            file: To write, ``.nii.gz``.
            voxels: ``(z, y, x)``, or ``(C, z, y, x)`` for channels last.
            kind: What the header calls it.
        """
        source = self.case.labels[0] if self.case.labels else self.predicted.source
        affine = self.labels[0].affine if self.labels else self.predicted.affine
        affine = np.eye(4) if affine is None else affine
        stored, behind = self._as_imaged(voxels, affine), self.predicted.behind
        write_nifti(map_image(stored, kind, source, affine, behind), file)

    def _as_imaged(self, voxels: Array, affine: Array) -> Array:
        """Voxels ``(x, y, z)``, with channels last, along the axes of an image that a reader turned."""
        volume = voxels.T if voxels.ndim == 3 else voxels.transpose(3, 2, 1, 0)
        if not self.predicted.turned:
            return volume
        nib: Any = nibabel.orientations
        back = nib.ornt_transform(nib.axcodes2ornt("RAS"), nib.io_orientation(affine))
        return np.asarray(nib.apply_orientation(volume, back))

    def on(self, file: Path) -> Reading:
        """The probabilities, without labels, on the grid of an image; resampled if theirs is another.

        Args:
            file: The image.

        Raises:
            InputError: If it cannot be read, or the place of the probabilities is unknown.
        """
        stored, affine = read_grid(file)
        shape = (*stored, 1, 1)[:3]
        check_affine(str(file), affine)
        known = affine if self.predicted.affine is None else self.predicted.affine
        voxels = self._as_imaged(self.probs.numpy(), known)
        same = voxels.shape[:3] == shape
        if self.predicted.affine is None and not same:
            raise InputError(
                f"{self.predicted.file}: no file beside it says where its voxels are, and {file} has "
                f"the shape {shape}, not {voxels.shape[:3]}; add the .pkl or the segmentation"
            )
        if not same or distance_of_grids(shape, known, affine) > self.tolerance:
            outside = np.eye(len(self.channels.values))[0] * (not self.channels.overlapping)
            voxels = resampled(voxels, known, shape, affine, outside)
        probs = np.ascontiguousarray(voxels.transpose(3, 2, 1, 0))
        behind = self.predicted.behind
        predicted = Probabilities(probs, affine, self.predicted.file, file, behind=behind)
        return replace(self, predicted=predicted, labels=(), case=replace(self.case, labels=()))


class Memory:
    """The first cases that are read, as far as there is room; no other process has them.

    Args:
        room: In bytes.
    """

    def __init__(self, room: int = 2**27) -> None:
        self.room, self.readings = room, dict[Path, Reading]()

    def __reduce__(self) -> tuple[Any, ...]:
        return Memory, (0,)

    def keep(self, reading: Reading) -> None:
        """Keeps a case, if there is room."""
        if reading.size <= self.room:
            self.room -= reading.size
            self.readings[reading.case.prediction.file] = reading


def resampled(
    voxels: Array, source: Array, shape: Sequence[int], target: Array, outside: Sequence[float]
) -> Array:
    r"""Channels at the places of another grid, by linear interpolation.

    The voxel :math:`i` of the new grid with the affine :math:`B` is the voxel :math:`A^{-1} B i` of the
    old one. Up to a voxel beyond the outermost centers their values go on; two voxels beyond, all is
    outside. What sums to 1 does so afterwards.

    Args:
        voxels: ``(x, y, z, C)``.
        source: The affine :math:`A` of these voxels, in mm.
        shape: Voxels of the new grid along each axis.
        target: Its affine :math:`B`.
        outside: The value of each channel outside.

    Returns:
        ``(x, y, z, C)`` in single precision.

    Example:
        >>> line = np.array([0.0, 1.0]).reshape(2, 1, 1, 1)
        >>> half = np.diag([0.5, 1, 1, 1])
        >>> resampled(line, np.eye(4), (4, 1, 1), half, [0.0]).ravel().tolist()
        [0.0, 0.5, 1.0, 1.0]
    """
    to_source = np.linalg.inv(source) @ target
    channels = [
        scipy.ndimage.affine_transform(
            np.pad(channel.astype(np.float32), 1, mode="edge"),
            to_source[:3, :3],
            to_source[:3, 3] + 1,
            tuple(shape),
            order=1,
            mode="grid-constant",
            cval=value,
        )
        for channel, value in zip(np.moveaxis(voxels, -1, 0), outside, strict=True)
    ]
    return np.stack(channels, -1)


def _anatomical(affine: Affine) -> tuple[Sequence[int], Sequence[bool]]:
    """Which of x, y and z runs right or left, anterior or posterior, up or down, and which run backward.

    Without an affine, or with one that says nothing, the axes are taken as they are.
    """
    turn: Any = nibabel.orientations.io_orientation(np.eye(4) if affine is None else affine)  # type: ignore[no-untyped-call]
    if np.isnan(turn).any():
        return (0, 1, 2), (False, False, False)
    axes = np.argsort(turn[:, 0])
    return axes.tolist(), (turn[axes, 1] < 0).tolist()
