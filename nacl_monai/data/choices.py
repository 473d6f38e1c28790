"""How a network gets its images: channels, axes, voxel sizes and intensities."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, log10
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.data.utils import compute_shape_offset, zoom_affine

from nacl_monai.data.descriptions import is_word_for_ct
from nacl_monai.data.faults import VoxelGrid
from nacl_monai.data.formats import Description
from nacl_monai.data.survey import Choice, Options, Survey
from nacl_monai.errors import InputError, SettingError

PERCENTILES = (0.5, 99.5)


def is_ct(description: Description, options: Options) -> bool:
    """Whether the image is only a CT, whose intensities mean the same in every volume.

    Raises:
        InputError: If a CT is beside another modality, since one step scales all channels alike.
    """
    names = [options.modality] if options.modality else description.channels
    are_ct = [is_word_for_ct(name) for name in names]
    if any(are_ct) and not all(are_ct):
        raise InputError(
            f"{description.source}: the channels are {', '.join(names)}, but a CT has one window for "
            "all volumes, and others have none; scale all by the percentiles of each volume, --modality "
            "mixed, or write `preprocessing` by hand"
        )
    return all(are_ct) and bool(names)


def choose_channels(description: Description, found: Survey) -> Choice:
    """How many channels there are, and how inference finds their files.

    Raises:
        InputError: If the description names another number.
    """
    names, ends = description.channels, description.modalities
    if names and len(names) != found.channels:
        raise InputError(
            f"{description.source}: names {len(names)} channel(s), {', '.join(names)}, but the images "
            f"have {found.channels}; correct one of both"
        )
    named = f"Channels: {', '.join(names)}" if names else "Nobody names the channels"
    files = "a file each" if len(ends) > 1 else "one file per image"
    if any(ends):
        files += f", whose name ends in {' or '.join(f'{end}.nii' for end in ends if end)}"
    if len({*ends}) < len(ends):
        files += (
            ", which folders tell apart and names do not, so that inference cannot find them by name: "
            "call them after their channels, and write here what each name ends with"
        )
    return Choice(f"{named}; {files}", {"modalities": ends, "in_channels": found.channels})


def choose_preprocessing(description: Description, found: Survey, options: Options) -> list[Choice]:
    """How volumes are turned, resampled and scaled, and how large a network's slice is.

    Raises:
        SettingError: If a spacing or window cannot be meant.
        InputError: If the foreground of a CT gives no window.
    """
    volumes = turned(found.grids)
    spacing = resampled(volumes, options.spacing)
    sizes = sizes_of(volumes, spacing.pixdim)
    height, width, _ = sizes.largest
    why, step = _intensity(description, found, options)
    return [
        Choice(
            f"{volumes.why}. {spacing.why}. {why}",
            {"preprocessing": [volumes.step, *spacing.steps, step]},
        ),
        Choice(
            f"The largest slices are {height}×{width}; all are padded to "
            f"{sizes.slice[0]}×{sizes.slice[1]}. Patches are those of --dims 3",
            {"spatial_size": sizes.slice, "patch": sizes.patch},
        ),
        Choice(
            "Augmentation flips no axis, since the data do not say where left and right look alike; [0] "
            "flips those",
            {"flip_axes": []},
        ),
        Choice(
            "Nothing is cropped, and no slice is left out",
            {"cropping": [], "discard_empty_slices": False},
        ),
    ]


def _intensity(description: Description, found: Survey, options: Options) -> tuple[str, Any]:
    """How intensities become numbers in [0, 1]: the reason and the step."""
    if options.window is not None:
        return _window(*options.window, "The window is as given")
    if is_ct(description, options):
        low, high = map(float, np.percentile(np.concatenate(found.foreground), PERCENTILES))
        if low == high:
            raise InputError(
                f"{description.source}: nearly all of the CT's foreground is {low:g}, which gives no "
                "window; pass one, --window LOW HIGH"
            )
        digits = 3 - floor(log10(high - low))  # whatever the unit
        return _window(
            round(low, digits),
            round(high, digits),
            f"CT: the window is from the {PERCENTILES[0]} to the {PERCENTILES[1]} percentile of the "
            f"foreground of {len(found.foreground)} cases, as in nnU-Net",
        )
    why = (
        "Each channel of a volume is scaled by its own percentiles, 0.5 and 99.5, as it is not a CT"
    )
    return why, "@scale_by_percentiles"


def _window(low: float, high: float, why: str) -> tuple[str, Any]:
    if not low < high:
        raise SettingError(f"--window {low:g} {high:g}: is empty; write the lower end first")
    step = {
        "_target_": "ScaleIntensityRanged",
        "keys": "image",
        "a_min": float(low),
        "a_max": float(high),
        "b_min": 0.0,
        "b_max": 1.0,
        "clip": True,
    }
    return f"{why}: {low:g} to {high:g}", step


#: A slice is thick if it is this many times as thick as its pixels are wide; nnU-Net's threshold too.
ANISOTROPIC = 3.0
#: A voxel is clearly the longest along an axis, as `TurnAxesd` has it.
THICK = 1.5
#: Networks halve slices four times.
MULTIPLE, SMALLEST = 16, 32
#: A patch of 3-D training is at most so long, for its memory.
LARGEST_PATCH = 96
_UNIFORM = 0.01  # relative difference of spacings by rounding

_TO_RAS = {
    "_target_": "nacl_monai.inference.orientation.TurnAxesd",
    "keys": ["image", "label"],
    "axcodes": "RAS",
}


class Turned(NamedTuple):
    """The grids of all volumes after their axes are turned.

    Attributes:
        step: The step of preprocessing that turns them.
        why: In words.
        shapes: ``(cases, 3)``.
        affines: ``(cases, 4, 4)``.
    """

    step: Any
    why: str
    shapes: npt.NDArray[np.int64]
    affines: npt.NDArray[np.float64]

    @property
    def spacings(self) -> npt.NDArray[np.float64]:
        """Size of a voxel along each axis in mm, ``(cases, 3)``."""
        norms: npt.NDArray[np.float64] = np.linalg.norm(self.affines[:, :3, :3], axis=1)
        return norms


def turned(grids: Sequence[VoxelGrid]) -> Turned:
    """Finds out how to turn volumes so that slices, where they are thick, go last."""
    found = _turned(grids, slices_last=False)._replace(
        step="@to_ras", why="Axes run to the right, anterior and superior side"
    )
    longest = found.spacings.argmax(axis=1)
    middle = np.sort(found.spacings, axis=1)[:, 1]
    is_thick = found.spacings.max(axis=1) > THICK * middle
    if (is_thick & (longest != 2)).any():
        return _turned(grids, slices_last=True)
    return found


def _turned(grids: Sequence[VoxelGrid], slices_last: bool) -> Turned:
    step = {**_TO_RAS, "slices_last": slices_last, "allow_missing_keys": True}
    turn = ConfigParser({"step": step}).get_parsed_content("step")
    shapes, affines = [], []
    for grid in grids:
        empty = MetaTensor(
            torch.zeros(1, *grid.shape, dtype=torch.uint8), affine=torch.from_numpy(grid.affine)
        )
        label = turn({"label": empty})["label"]
        shapes.append(label.shape[1:])
        affines.append(label.affine.numpy())
    why = "Thick slices are along other axes in some cases, and go last"
    return Turned(step, why, np.array(shapes), np.array(affines))


class Resampled(NamedTuple):
    """How volumes are resampled.

    Attributes:
        pixdim: Size of a voxel in mm along each axis, -1 where it stays; none to leave all as they are.
        why: In words.
    """

    pixdim: list[float]
    why: str

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The step of preprocessing that does it, if any."""
        if not self.pixdim:
            return []
        return [
            {
                "_target_": "Spacingd",
                "keys": ["image", "label"],
                "pixdim": self.pixdim,
                "mode": ["bilinear", "nearest"],
                "allow_missing_keys": True,
            }
        ]


def resampled(volumes: Turned, spacing: str) -> Resampled:
    """Chooses the size of a voxel.

    Args:
        volumes: After they are turned.
        spacing: ``median``, ``none``, or three sizes in mm, ``X,Y,Z``, of which -1 leaves one as it is.

    Raises:
        SettingError: If ``spacing`` is none of these.
    """
    median = np.median(volumes.spacings, axis=0)
    sizes = "×".join(f"{size:.3g}" for size in median)
    if spacing == "none":
        return Resampled(
            [], f"Nothing is resampled, as asked for; voxels are {sizes} mm in the median"
        )
    if spacing != "median":
        return Resampled(_given(spacing), f"Resampled as asked for; the median is {sizes} mm")
    if (np.abs(volumes.spacings / median - 1) < _UNIFORM).all():
        return Resampled([], f"All voxels are {sizes} mm, so nothing is resampled")
    pixdim = [float(f"{size:.4g}") for size in median]
    if median[2] > ANISOTROPIC * median[:2].min():
        return Resampled(
            [*pixdim[:2], -1.0],
            f"Resampled to the median within slices; the slices are thick ({median[2]:.3g} mm) and stay",
        )
    return Resampled(pixdim, "Resampled to the median")


def _given(spacing: str) -> list[float]:
    try:
        pixdim = [float(size) for size in spacing.split(",")]
    except ValueError:
        pixdim = []
    if len(pixdim) != 3 or not all(0 < size < np.inf or size == -1 for size in pixdim):
        raise SettingError(
            f"--spacing {spacing}: is not a spacing; write median, none, or three sizes in mm: 0.8,0.8,3"
        )
    return pixdim


class Sizes(NamedTuple):
    """How large images are, and what a network sees of them.

    Attributes:
        largest: Along each axis, in voxels after they are turned and resampled.
        slice: Height and width of a slice that holds all.
        patch: Height, width and depth of a patch, at most :data:`LARGEST_PATCH` along each axis.
    """

    largest: list[int]
    slice: list[int]
    patch: list[int]


def sizes_of(volumes: Turned, pixdim: Sequence[float]) -> Sizes:
    """Chooses the size of slices and of patches.

    Args:
        volumes: After they are turned.
        pixdim: What they are resampled to, see `Resampled`.
    """
    shapes = [
        _resampled_shape(shape, affine, pixdim) if pixdim else shape
        for shape, affine in zip(volumes.shapes, volumes.affines, strict=True)
    ]
    largest = np.max(shapes, axis=0)
    padded = -(-largest // MULTIPLE) * MULTIPLE
    return Sizes(
        largest.tolist(),
        np.maximum(padded[:2], SMALLEST).tolist(),
        np.minimum(padded, LARGEST_PATCH).tolist(),
    )


def _resampled_shape(
    shape: npt.NDArray[np.int64], affine: npt.NDArray[np.float64], pixdim: Sequence[float]
) -> npt.NDArray[np.int64]:
    """The shape that MONAI's ``Spacingd`` makes."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    sizes = np.where(np.array(pixdim) > 0, pixdim, spacing)
    new: npt.NDArray[np.int64] = compute_shape_offset(
        shape, affine, zoom_affine(affine, sizes, diagonal=False)
    )[0]
    return new
