"""Numbers with intervals, as text: each has the digits that its interval deserves."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan
from typing import Any

_MOST = 6  # decimals, as many as files hold


def decimals_of(low: float, high: float, otherwise: int) -> int:
    """The decimals that show two significant digits of half an interval.

    Args:
        low: Where the interval begins; NaN without one.
        high: Where it ends.
        otherwise: The decimals of a number without an interval, or whose interval is a point.

    Example:
        >>> decimals_of(0.027, 0.041, 3), decimals_of(1.2, 4.4, 3), decimals_of(60.0, 90.0, 3)
        (4, 1, 0)
    """
    half = (high - low) / 2
    if not 0 < half < float("inf"):
        return otherwise
    exponent = int(f"{half:.1e}".partition("e")[2])
    return min(max(1 - exponent, 0), _MOST)


def interval_texts(
    value: float, low: float, high: float, otherwise: int = 3, sign: str = ""
) -> tuple[str, str, str]:
    """A number and the ends of its interval, with the digits of `decimals_of`.

    Args:
        value: The number.
        low: Where its interval begins.
        high: Where it ends.
        otherwise: As in `decimals_of`.
        sign: "+" also marks positive numbers.
    """
    decimals = decimals_of(low, high, otherwise)
    # Adding 0 makes -0.000 of a rounded -0.0001 the 0.000 that it is.
    numbers = (round(number, decimals) + 0.0 for number in (value, low, high))
    shown, start, end = (f"{number:{sign}.{decimals}f}" for number in numbers)
    return shown, start, end


def interval_text(
    value: float,
    low: float,
    high: float,
    otherwise: int = 3,
    undefined: str = "–",
    *,
    sign: str = "",
    percent: bool = False,
) -> str:
    """A number and its interval, which is left out where it is NaN.

    Args:
        value: The number.
        low: Where its interval begins.
        high: Where it ends.
        otherwise: As in `decimals_of`.
        undefined: What stands for a number that is NaN.
        sign: "+" also marks positive numbers.
        percent: Whether a share is shown in percent.

    Example:
        >>> interval_text(1.1093, 1.1071, 1.1112), interval_text(2.031, 1.59, 2.46)
        ('1.1093 [1.1071, 1.1112]', '2.03 [1.59, 2.46]')
        >>> interval_text(0.145, 0.119, 0.172, percent=True)
        '14.5% [11.9, 17.2]'
    """
    if isnan(value):
        return undefined
    scale, unit = (100, "%") if percent else (1, "")
    shown, start, end = interval_texts(scale * value, scale * low, scale * high, otherwise, sign)
    return f"{shown}{unit}" if isnan(low) else f"{shown}{unit} [{start}, {end}]"


def row_texts(row: Mapping[Any, Any], otherwise: int = 3) -> dict[Any, str]:
    """The cells of a row as text: ``volume_ml`` as ``volume_low_ml`` and ``volume_high_ml`` deserve.

    Args:
        row: Column → cell; the number between the ends ``low`` and ``high`` is ``value``.
        otherwise: The decimals of all other numbers.

    Example:
        >>> row_texts({"case": "a", "volume_ml": 1.79, "volume_low_ml": 1.448, "volume_high_ml": 2.212})
        {'case': 'a', 'volume_ml': '1.79', 'volume_low_ml': '1.45', 'volume_high_ml': '2.21'}
    """
    texts = {
        name: f"{cell:.{otherwise}f}".replace("nan", "–") if isinstance(cell, float) else str(cell)
        for name, cell in row.items()
    }
    for low in map(str, row):
        names = low.replace("_low", "") if "_" in low else "value", low, low.replace("low", "high")
        if "low" in low and set(names) <= set(row) and not isnan(row[low]):
            value, start, end = (float(row[name]) for name in names)
            texts |= zip(names, interval_texts(value, start, end, otherwise), strict=True)
    return texts
