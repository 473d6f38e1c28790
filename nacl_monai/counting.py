"""How many of what: in words, as a share, as a number or a share of cases."""

from __future__ import annotations

import math
from numbers import Real

from nacl_monai.errors import SettingError


def counted(number: int, noun: str) -> str:
    """The number and the noun, in the plural unless there is one.

    Example:
        >>> counted(1, "patient"), counted(20, "sound case")
        ('1 patient', '20 sound cases')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def check_share(option: str, number: float) -> None:
    """Refuses a share that is not between 0 and 1.

    Raises:
        SettingError: If it is not between 0 and 1.
    """
    if not isinstance(number, Real) or not 0 < number < 1:
        raise SettingError(f"{option}: is {number}; give a number between 0 and 1")


def number_within(budget: str, cases: int, option: str = "--budget") -> int:
    """A number of the cases: a count, or a share in percent.

    Raises:
        SettingError: If it is neither.

    Example:
        >>> number_within("20%", 12), number_within("5", 12), number_within("50", 12)
        (3, 5, 12)
    """
    number, percent, rest = budget.partition("%")
    try:
        amount = float(number)
    except ValueError:
        amount = -1.0
    whole = percent or amount.is_integer()
    if rest or not 0 < amount < math.inf or not whole or (percent and amount > 100):
        raise SettingError(f"{option}: is {budget!r}; give a number of cases, or a share: 20%")
    return min(cases, math.ceil(amount * cases / 100 - 1e-9) if percent else math.ceil(amount))
