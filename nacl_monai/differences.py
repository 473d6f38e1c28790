"""What differs between two records, in words for one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MOST = 5
_LONGEST = 60


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Every key whose value differs, with both values.

    Example:
        >>> differences({"rate": 0.1, "size": 3}, {"rate": 0.2, "size": 3, "fold": 1})
        ['rate (0.1, now 0.2)', 'fold (not set, now 1)']
    """
    return [
        f"{key} ({_shown(before, key)}, now {_shown(now, key)})"
        for key in {**before, **now}
        if before.get(key) != now.get(key)
    ]


def first_of(changes: list[str], most: int = _MOST) -> str:
    """The first of `differences`, five unless ``most`` is given, and the number of the others."""
    others = len(changes) - most
    return ", ".join(changes[:most]) + (f" and {others} more" if others > 0 else "")


def _shown(values: Mapping[str, Any], key: str) -> str:
    return str(values[key])[:_LONGEST] if key in values else "not set"
