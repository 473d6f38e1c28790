"""What the network sees: channels, axes, spacing, intensities, size."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, log10
from typing import Any

import numpy as np

from nacl_monai.data.formats import Description
from nacl_monai.data.formats.description import is_word_for_ct
from nacl_monai.data.new.choice import Choice, Options
from nacl_monai.data.new.geometry import resampled, sizes_of, turned
from nacl_monai.data.new.survey import Survey
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
    names = description.channels
    if names and len(names) != found.channels:
        raise InputError(
            f"{description.source}: names {len(names)} channel(s), {', '.join(names)}, but the images "
            f"have {found.channels}; correct one of both"
        )
    named = f"Channels: {', '.join(names)}" if names else "Nobody names the channels"
    return Choice(
        f"{named}; {_files_in_words(description.modalities)}",
        {"modalities": description.modalities, "in_channels": found.channels},
    )


def _files_in_words(modalities: Sequence[str]) -> str:
    if len({*modalities}) < len(modalities):
        return (
            "a file each, which folders tell apart and names do not, so that inference cannot find them "
            "by name: call them after their channels, and write here what each name ends with"
        )
    files = "a file each" if len(modalities) > 1 else "one file per image"
    ends = " or ".join(f"{end}.nii" for end in modalities if end)
    return f"{files}, whose name ends in {ends}" if ends else files


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
