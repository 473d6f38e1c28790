"""What lines and tables say: numbers with their digits, what differs, and our word for a setting.

Whoever calls a setting as MONAI, torch and others do is told our word for it in one line.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from inspect import signature
from numbers import Real
from typing import Any, TypeVar

from nacl_monai.errors import SettingError, print_line

Called = TypeVar("Called", bound=Callable[..., Any])

#: What others call a setting, and ours, the first that is there.
RENAMED: Mapping[str, tuple[str, ...]] = {
    "alpha": ("penalty_weight", "entropy_weight", "label_smoothing", "false_positive_weight"),
    "bins": ("num_bins",),
    "ce_weight": ("cross_entropy_weight",),
    "distance_type": ("penalty",),
    "ignore_empty_classes": ("include_absent",),
    "kernel": ("kernel_size",),
    "kernel_ops": ("prior",),
    "lambda_ce": ("cross_entropy_weight",),
    "lambda_dice": ("dice_weight",),
    "mask": ("region", "ignore_index"),
    "n_bins": ("num_bins",),
    "weight": ("class_weights",),
    "include_background": ("region",),
    **dict.fromkeys(("sigmoid", "softmax", "use_softmax"), ("from_logits",)),
}
#: What others must be told and ours know, and why.
NEEDLESS = {
    **dict.fromkeys(("classes", "dim", "num_classes"), "the logits say it"),
    **dict.fromkeys(
        ("sigmoid", "softmax", "use_softmax"), "logits are expected, before the softmax"
    ),
    "include_background": "all classes count",
    "reduction": "the result is one number, over all voxels that count",
    "to_onehot_y": "labels are class indices or one-hot, as their shape says",
    "weight": "all classes weigh the same",
}
#: Our own words of the last minor version: the successor, and its value.
WITHDRAWN: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "include_absent": ("ignore_empty_classes", lambda included: not included)
}


def of_today(word: str, value: Any) -> tuple[str, Any]:
    """A setting that an older version recorded, as it is called and written now."""
    successor, translated = WITHDRAWN.get(word, (word, lambda value: value))
    return successor, translated(value)


def with_settings_of(function: Callable[..., Any], *but: str) -> Callable[[Called], Called]:
    """Decorates what passes further settings on: its signature names those of a function, too.

    Args:
        function: Its arguments with a default are the settings.
        *but: Those that are not passed on.
    """
    further = [
        p.replace(kind=p.KEYWORD_ONLY)
        for p in signature(function, eval_str=True).parameters.values()
        if p.default is not p.empty
    ]

    def decorate(item: Called) -> Called:
        own = signature(item)
        named = {p.name: p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD}
        added = [p for p in further if p.name not in {*named, *but}]
        item.__signature__ = own.replace(parameters=[*named.values(), *added])  # type: ignore[attr-defined]
        return item

    return decorate


def in_our_words(function: Called, accepted: frozenset[str] = frozenset()) -> Called:
    """Decorates a function or an ``__init__``: a keyword that it does not take ends in one line.

    Args:
        function: Its signature names all of its settings; one that takes any is left as it is.
        accepted: Further keywords that it takes.

    Raises:
        SettingError: By the result, with our word for the setting, or all those that there are.
    """
    names = [name for name in signature(function).parameters if name != "self"]
    if any(p.kind is p.VAR_KEYWORD for p in signature(function).parameters.values()):
        return function
    known = frozenset(names) | accepted

    @wraps(function)
    def checked(*args: Any, **settings: Any) -> Any:
        for word in [word for word in settings if word not in known]:
            _take(word, settings, names)
        return function(*args, **settings)

    return checked  # type: ignore[return-value]


def _take(word: str, settings: dict[str, Any], names: list[str]) -> None:
    successor = WITHDRAWN.get(word, ("",))[0]
    if successor in names:
        value = settings[successor] = of_today(word, settings.pop(word))[1]
        print_line("warning", f"{word}: is {successor}={value} from now on; pass that")
        return
    ours = next((name for name in RENAMED.get(word, ()) if name in names), None)
    if ours:
        raise SettingError(f"{word}: is called {ours} here; pass {ours}")
    if word in NEEDLESS:
        raise SettingError(f"{word}: is no setting here, since {NEEDLESS[word]}; leave it out")
    raise SettingError(f"{word}: is no setting here; pass one of {', '.join(names)}")


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


_DECIMALS = 6  # as many as files hold


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
    return min(max(1 - exponent, 0), _DECIMALS)


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
    if math.isnan(value):
        return undefined
    scale, unit = (100, "%") if percent else (1, "")
    shown, start, end = interval_texts(scale * value, scale * low, scale * high, otherwise, sign)
    return f"{shown}{unit}" if math.isnan(low) else f"{shown}{unit} [{start}, {end}]"


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
        if "low" in low and set(names) <= set(row) and not math.isnan(row[low]):
            value, start, end = (float(row[name]) for name in names)
            texts |= zip(names, interval_texts(value, start, end, otherwise), strict=True)
    return texts


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
