r"""Distances to a mask, exact as far as they are asked for, with torch alone, on any device.

Squares add up axis by axis, so that each axis takes the minimum over its own steps:

.. math:: f_a(x) = \min_k f_{a-1}(x - k e_a) + (k s_a)^2

For narrow bands this is many times as fast as a distance transform, and most of a CT is far from any
structure, so that a box around it is enough.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

#: What is as far as the margin is within it, whatever the rounding of spacings.
ROUNDED = 1 + 1e-6


def squared_distances(
    mask: torch.Tensor, width: float, sizes: list[float], dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """The squared Euclidean distance to the mask, ``(*spatial)``; exact where it is below ``width``.

    TorchScript holds it.

    Args:
        mask: Boolean, ``(*spatial)``.
        width: Larger distances may be too large, or infinite.
        sizes: The size of a voxel along each axis.
        dtype: Of the result.

    Example:
        >>> mask = torch.tensor([[True, False, False], [False] * 3])
        >>> squared_distances(mask, 3.0, [2.0, 1.0]).tolist()
        [[0.0, 1.0, 4.0], [4.0, 5.0, 8.0]]
    """
    inside, lows, empty = mask, [0] * len(sizes), False
    for axis, size in enumerate(sizes):
        places = along(mask, axis)
        empty = len(places) == 0
        if not empty:
            reach = int(width / size)
            lows[axis] = max(0, int(places.amin()) - reach)
            length = min(mask.shape[axis], int(places.amax()) + 1 + reach) - lows[axis]
            inside = inside.narrow(axis, lows[axis], length)
    squared = torch.full(inside.shape, math.inf, dtype=dtype, device=mask.device)
    squared.masked_fill_(inside, 0.0)
    if empty:
        return squared
    for axis, size in enumerate(sizes):
        _add_axis(squared, axis, width, size)
    if squared.shape == mask.shape:
        return squared
    distances = torch.full(mask.shape, math.inf, dtype=dtype, device=mask.device)
    box = distances
    for axis, low in enumerate(lows):
        box = box.narrow(axis, low, squared.shape[axis])
    box.copy_(squared)
    return distances


def _add_axis(squared: torch.Tensor, axis: int, width: float, size: float) -> None:
    """Adds the squares along an axis to those of the axes before, in place. TorchScript holds it.

    It goes in blocks across the axis, each of about a million voxels: one map is all that is kept.
    """
    across = 1 if axis == 0 and squared.dim() > 1 else 0
    whole, length = squared.shape[across], squared.shape[axis]
    rows = whole if across == axis else max(1, (1 << 20) * whole // squared.numel())
    for start in range(0, whole, rows):
        block = squared.narrow(across, start, min(rows, whole - start))
        nearest = block.clone()
        for step in range(1, min(math.ceil(width / size), length)):
            inner, further = length - step, (step * size) ** 2
            for here, there in ((0, step), (step, 0)):
                through = block.narrow(axis, there, inner) + further
                closest = nearest.narrow(axis, here, inner)
                torch.minimum(closest, through, out=closest)
        block.copy_(nearest)


def bounding_box(mask: torch.Tensor, margin: Sequence[int]) -> tuple[slice, ...] | None:
    """The box around the true voxels, with a margin: most of a CT is far from any boundary."""
    box = []
    for axis, extra in enumerate(margin):
        places = along(mask, axis)
        if not len(places):
            return None
        low, high = int(places.amin()), int(places.amax()) + 1
        box.append(slice(max(0, low - extra), high + extra))
        mask = mask.narrow(axis, low, high - low)
    return tuple(box)


def along(mask: torch.Tensor, axis: int) -> torch.Tensor:
    """The positions along an axis at which there is a true voxel. TorchScript holds it."""
    line = mask
    for other in range(mask.dim() - 1, -1, -1):
        if other != axis:
            line = line.any(other)
    return line.nonzero()
