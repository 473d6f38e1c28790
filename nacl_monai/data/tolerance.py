"""How far apart two files may put the same voxel: the default, and the word of a command."""

from __future__ import annotations

import math

#: In mm; files written by different tools differ by rounding.
AFFINE_TOLERANCE = 0.01


def distance(text: str) -> float:
    """The word of a command that is a distance: finite, and 0 or more.

    Raises:
        ValueError: If it is none.

    Example:
        >>> distance("0.5")
        0.5
    """
    number = float(text)
    if not 0 <= number < math.inf:
        raise ValueError(text)
    return number
