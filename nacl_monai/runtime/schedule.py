"""When the learning rate falls (section 4.1.3)."""

from __future__ import annotations


def half_of_epochs(max_epochs: int) -> int:
    """The number of epochs after which the learning rate falls: half of all, but at least one.

    Example:
        >>> half_of_epochs(100), half_of_epochs(1)
        (50, 1)
    """
    return max(1, max_epochs // 2)
