"""Settings of losses, refused by name when a loss is made instead of when it is used."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from nacl_monai.errors import SettingError


def require(valid: bool, name: str, value: object, remedy: str) -> None:
    """Refuses the setting ``name`` unless it is valid.

    Raises:
        SettingError: If it is not; the message ends with "pass" and the remedy.
    """
    if not valid:
        raise SettingError(f"{name}: is {value!r}; pass {remedy}")


def check_not_negative(name: str, value: float) -> None:
    """Refuses the setting ``name`` if it is negative.

    Raises:
        SettingError: If it is.
    """
    require(value >= 0, name, value, "0 or more")


def check_option(name: str, options: Collection[str], value: str) -> None:
    """Refuses the setting ``name`` unless its value is one of the options.

    Raises:
        SettingError: If it is not.
    """
    require(value in options, name, value, f"one of {', '.join(options)}")


def check_weights(name: str, weights: Iterable[float]) -> None:
    """Refuses the setting ``name`` if a weight is negative, or all are 0.

    Raises:
        SettingError: If so; what has a negative weight would be unlearned.
    """
    given = list(weights)
    valid = all(weight >= 0 for weight in given) and any(given)
    require(valid, name, given, "weights of 0 or more, not all of them 0")
