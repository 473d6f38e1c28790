"""Random augmentation of what a network sees: flips, rotation, scaling, gamma, noise.

Image and label are turned alike, the image by linear interpolation and the label by its nearest voxel,
and what moves in from outside is zero, as padding is. Random numbers follow from the seed, the epoch and
the item (`seeded`), and not on what was read before: neither resuming nor the number of workers changes
them.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from monai.data.utils import set_rnd
from monai.transforms import (
    Compose,
    EnsureTyped,
    RandAdjustContrastd,
    RandAffined,
    RandFlipd,
    RandGaussianNoised,
    ScaleIntensityRanged,
)

from nacl_monai.errors import SettingError

_IMAGE, _LABEL = "image", "label"
_BOTH = (_IMAGE, _LABEL)


def random_augmentation(
    spatial_dims: int,
    *,
    flip_axes: Sequence[int] = (),
    degrees: float = 15.0,
    scale: float = 0.1,
    gamma: Sequence[float] = (0.7, 1.5),
    noise: float = 0.05,
    prob: float = 0.2,
) -> list[Any]:
    r"""MONAI's random transforms of items: ``image`` ``(C, *spatial)``, ``label`` ``(1, *spatial)``.

    Each axis of ``flip_axes`` is flipped in half of the items; each other change happens with ``prob``.

    Args:
        spatial_dims: 2 or 3.
        flip_axes: Axes of a volume along which an anatomy looks as natural when it is mirrored; those
            that a slice lacks are left out.
        degrees: Largest angle of the rotation within the plane of slices, either way.
        scale: Largest change of the size, as a share of it.
        gamma: Bounds of :math:`\gamma` in :math:`v^\gamma`, where 0 and 1 are the least and the largest
            intensity of an item, which stay.
        noise: Largest standard deviation of the Gaussian noise, in the image's unit.
        prob: Probability of the rotation and scaling, of gamma and of noise.

    Returns:
        Transforms whose items have the same shapes and types, an image in [0, 1], and class indices.

    Raises:
        SettingError: If an argument is out of range.

    Example:
        >>> from monai.transforms import Compose
        >>> item = {"image": torch.rand(1, 8, 8), "label": torch.ones(1, 8, 8, dtype=torch.uint8)}
        >>> changed = Compose(random_augmentation(2, flip_axes=[0], prob=1.0))(item)
        >>> changed["image"].shape, changed["label"].dtype
        (torch.Size([1, 8, 8]), torch.uint8)
    """
    for name, value, valid, remedy in (
        ("spatial_dims", spatial_dims, spatial_dims in (2, 3), "2 or 3"),
        ("flip_axes", flip_axes, set(flip_axes) <= {0, 1, 2}, "a list of axes out of 0, 1, 2"),
        ("degrees", degrees, 0 <= degrees <= 180, "a number from 0 to 180"),
        ("scale", scale, 0 <= scale < 1, "a share from 0 to below 1"),
        ("gamma", gamma, len(gamma) == 2 and 0 < gamma[0] <= gamma[-1], "two bounds above 0"),
        ("noise", noise, noise >= 0, "a number from 0"),
        ("prob", prob, 0 <= prob <= 1, "a share from 0 to 1"),
    ):
        if not valid:
            raise SettingError(f"augmentation: {name} is {value}; pass {remedy}")
    rotation, scaling = math.radians(degrees), [scale] * spatial_dims
    return [
        *(
            RandFlipd(_BOTH, prob=0.5, spatial_axis=axis)
            for axis in flip_axes
            if axis < spatial_dims
        ),
        RandAffined(
            _BOTH,
            prob=prob,
            rotate_range=[0.0, 0.0, rotation] if spatial_dims == 3 else [rotation],
            scale_range=scaling,
            mode=["bilinear", "nearest"],
            padding_mode="zeros",
        ),
        RandAdjustContrastd(_IMAGE, prob=prob, gamma=(gamma[0], gamma[1])),
        RandGaussianNoised(_IMAGE, prob=prob, std=noise),
        ScaleIntensityRanged(_IMAGE, 0.0, 1.0, 0.0, 1.0, clip=True),
        # MONAI's metadata would slow the training down.
        EnsureTyped(_BOTH, dtype=[torch.float32, torch.uint8], track_meta=False),
    ]


def seeded(transform: Callable[[Any], Any], item: Any, entropy: Sequence[int]) -> Any:
    """``transform(item)`` with random numbers that follow only from ``entropy``.

    The transform's own generators are seeded, and those of Python, NumPy and torch's CPU while it runs;
    afterwards these three go on as if nothing had been. It therefore does not matter in which of
    several worker processes an item is made, or in none.

    Args:
        transform: For instance MONAI's ``Compose``.
        item: What it is applied to.
        entropy: Integers from 0 that name the item, such as the seed of an epoch and an index.

    Example:
        >>> from monai.transforms import RandScaleIntensity
        >>> transform = RandScaleIntensity(0.5, prob=1.0)
        >>> first, other, again = (seeded(transform, torch.ones(1), [0, k]) for k in (7, 8, 7))
        >>> bool(first == again), bool(first == other)
        (True, False)
    """
    if isinstance(transform, Compose) and not len(transform):
        return item  # to seed nothing took a fifteenth of a training on small slices
    seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
    set_rnd(transform, seed)
    with _global_generators(seed):
        return transform(item)


@contextmanager
def _global_generators(seed: int) -> Iterator[None]:
    states = random.getstate(), np.random.get_state()  # noqa: NPY002 - the one that transforms may use
    with torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002
