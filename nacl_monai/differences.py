"""Records key by key, and what differs between two of them, in words for one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_MOST = 5
_LONGEST = 60


def top_level(key: str) -> str:
    """The first part of a key, ``a`` of ``a::b::c``."""
    return key.partition("::")[0]


def leaves(config: Any, prefix: str = "", inner: bool = False) -> Iterator[tuple[str, Any]]:
    """Every ``(a::b::c, value)`` below ``config``; with ``inner`` the branches too, before their parts.

    Example:
        >>> config = {"a": {"b": [1, {"c": None}]}, "d": 2}
        >>> list(leaves(config))
        [('a::b::0', 1), ('a::b::1::c', None), ('d', 2)]
        >>> [key for key, _ in leaves(config, inner=True)]
        ['a', 'a::b', 'a::b::0', 'a::b::1', 'a::b::1::c', 'd']
    """
    if not isinstance(config, Mapping | list):
        yield prefix, config
        return
    for key, value in parts(config, prefix):
        if inner and isinstance(value, Mapping | list):
            yield key, value
        yield from leaves(value, key, inner)


def parts(config: Mapping[str, Any] | list[Any], key: str) -> Iterator[tuple[str, Any]]:
    """Every ``(key::name, value)`` one level below ``config``, which is at ``key``."""
    pairs = config.items() if isinstance(config, Mapping) else enumerate(config)
    above = f"{key}::" if key else ""
    return ((f"{above}{name}", value) for name, value in pairs)


def computing(config: Mapping[str, Any]) -> dict[str, Any]:
    """The leaves of a configuration, without what only describes it to a reader.

    Example:
        >>> computing({"losses": {"nacl": {"_desc_": {"label": "NACL"}, "sigma": 1.0}}})
        {'losses::nacl::sigma': 1.0}
    """
    return {key: value for key, value in leaves(config) if "_desc_" not in key.split("::")}


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
    """The first of `differences`, five unless ``most`` is given, and the number of the others.

    Example:
        >>> first_of(list("abcde")), first_of(list("abcdefg"))
        ('a, b, c, d, e', 'a, b, c, d, e and 2 more')
        >>> first_of(["a"], most=1), first_of(["a", "b", "c"], most=1)
        ('a', 'a and 2 more')
    """
    more = len(changes) - most
    return ", ".join(changes[:most]) + (f" and {more} more" if more > 0 else "")


def _shown(values: Mapping[str, Any], key: str) -> str:
    return str(values[key])[:_LONGEST] if key in values else "not set"


def listed(names: Sequence[Any], most: int = 8) -> str:
    """The first names, eight unless ``most`` is given, and how many there are if these are not all.

    Example:
        >>> listed(range(8)), listed(range(9))
        ('0, 1, 2, 3, 4, 5, 6, 7', '0, 1, 2, 3, 4, 5, 6, 7 … (9 in all)')
        >>> listed("abc", most=2)
        'a, b … (3 in all)'
    """
    shown = ", ".join(str(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} … ({len(names)} in all)"


def first_repeated(names: Sequence[str]) -> str | None:
    """The first name that is there more than once, or None.

    Example:
        >>> first_repeated(["a", "b", "c", "c", "b"])
        'b'
    """
    times = Counter(names)
    return next((name for name in names if times[name] > 1), None)
