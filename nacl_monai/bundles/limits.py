"""What a key of a configuration may hold: literals, of its type, and within its range."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from monai.bundle import ConfigParser

from nacl_monai.errors import SettingError
from nacl_monai.training.hints import fits, in_words, is_made_later


@dataclass(frozen=True)
class Limit:
    """The type of a key, and the range of its numbers.

    Attributes:
        hint: The type.
        low: The least number.
        high: The largest number.
        length: The length of a list.
    """

    hint: Any
    low: float = -math.inf
    high: float = math.inf
    length: int | None = None

    def allows(self, value: Any) -> bool:
        """Whether ``value`` has this type, and is within the range."""
        if not fits(value, self.hint):
            return False
        numbers = value if isinstance(value, list | tuple) else [value]
        return self.length in (None, len(numbers)) and all(
            self.low <= number <= self.high for number in numbers if isinstance(number, int | float)
        )

    def __str__(self) -> str:
        text = in_words(self.hint)
        if self.length is not None:
            text = text.replace("list of", f"list of {self.length}")
        return text if math.isinf(self.high) else f"{text} from {self.low} to {self.high}"


_COUNT = Limit(int, 1, 1_000_000)
_SEED = Limit(int, 0, 2**32 - 1)  # NumPy's
_TEXT = Limit(str)
#: Keys of which more is known than the type of their default, whatever configuration has them.
LIMITS: dict[str, Limit] = {
    "dims": Limit(int, 2, 3),  # first, since others are looked up by it
    "average": Limit(Literal["probabilities", "logits"]),
    "batch_size": _COUNT,
    "cache_dir": _TEXT,
    "calibration::boundary_width": Limit(float, 0.001, 1_000_000),
    "calibration::num_bins": _COUNT,
    "calibrator": _TEXT,
    "cases_to_evaluate": Limit(Literal["train", "val", "test"]),
    "checkpoint": _TEXT,
    "class_centered": Limit(float, 0, 1),
    "dataset_dir": _TEXT,
    "device": Limit(str | torch.device),
    "evaluation_dir": _TEXT,
    "experiment_name": _TEXT,
    "fold": Limit(int, 0, 1_000_000),
    "images": _TEXT,
    "in_channels": Limit(int, 1, 1024),
    "inferer::overlap": Limit(float | list[float], 0, 0.99),
    "inferer::sw_batch_size": _COUNT,
    "learning_rate": Limit(float, 1e-12, 1),
    "max_epochs": _COUNT,
    "num_workers": Limit(int, 0, 1024),
    "output_dir": _TEXT,
    "patch": Limit(list[int], 1, 4096, length=3),
    "patches_per_volume": _COUNT,
    "pretrained": Limit(bool | str),
    "reliability_interval": Limit(int, 0, 1_000_000),
    "run_name": _TEXT,
    "save_execute_config": Limit(bool | str),
    "seed": _SEED,
    "spatial_size": Limit(list[int], 1, 4096, length=2),
    "split_file": _TEXT,
    "split_seed": _SEED,
    "tracking_uri": _TEXT,
    "train_fraction": Limit(float, 1e-6, 1),
    "val_interval": _COUNT,
}


def check_literal(key: str, value: Any) -> None:
    """Refuses what no configuration can hold, at any depth of ``value``.

    Raises:
        SettingError: For NaN, infinity and numbers that overflow, bytes, sets, complex numbers,
            mappings whose keys are not text, and text with a ``#``, which MONAI takes for ``::``.
    """
    if isinstance(value, Mapping):
        _check_mapping(key, value)
    elif isinstance(value, list | tuple):
        for below in value:
            check_literal(key, below)
    elif isinstance(value, float) and not math.isfinite(value):
        raise SettingError(f"--{key}: {value} is not a finite number; choose one")
    elif isinstance(value, str) and "#" in value and not is_made_later(value):
        raise SettingError(f"--{key} {value}: MONAI would take # for ::; choose a name without it")
    elif not isinstance(value, bool | int | float | str | None):
        raise SettingError(
            f"--{key} {value}: is neither text, a number, a list nor a mapping; write one of these"
        )


def _check_mapping(key: str, value: Mapping[Any, Any]) -> None:
    for name, below in value.items():
        if not isinstance(name, str):
            raise SettingError(f"--{key} {value}: {name!r} is not text; put it in quotes")
        check_literal(key, below)


def check_type(key: str, value: Any, hint: Any, default: Any) -> None:
    """Refuses a value of another type.

    Args:
        key: As on the command line.
        value: Its new value.
        hint: The type that it must have.
        default: The value that it replaces.

    Raises:
        SettingError: If ``value`` is of another type.
    """
    if not fits(value, hint) and (value, default) != (None, None):
        raise _refusal(key, value, in_words(hint), hint, default)


def check_limits(parser: ConfigParser, defaults: Mapping[str, Any]) -> None:
    """Refuses values out of the range of their key, whether from a command or a file.

    Args:
        parser: Holds the whole configuration. An expression of a key that has a range is evaluated.
        defaults: The values that a command replaced, for the message.

    Raises:
        SettingError: If a value is out of range, or if the ``device`` is not there.
    """
    for key, limit in LIMITS.items():
        value = parser.get(key)
        if not fits("", limit.hint):  # any text may do, whatever an expression gives
            value = evaluated(parser, key, value)
        if value is not None and not limit.allows(value):
            raise _refusal(key, value, str(limit), limit.hint, defaults.get(key))
    device = evaluated(parser, "device", parser.get("device"))
    if isinstance(device, str | torch.device):
        _check_device(device)


def evaluated(parser: ConfigParser, key: str, value: Any) -> Any:
    """What an expression in ``value`` gives; ``value`` where there is none.

    Raises:
        SettingError: If it fails.
    """
    if not _holds_expression(value):
        return value
    try:
        return ConfigParser(parser.get()).get_parsed_content(key)
    except Exception as error:  # whatever an expression may raise
        cause = str(error.__cause__ or error).strip().partition("\n")[0]
        raise SettingError(f"--{key} {value}: cannot be evaluated ({cause}); correct it") from error


def _holds_expression(value: Any) -> bool:
    parts = value if isinstance(value, list) else [value]
    return any(isinstance(part, str) and is_made_later(part) for part in parts)


def _refusal(key: str, value: Any, expected: str, hint: Any, default: Any) -> SettingError:
    if hint is bool:
        remedy = f"write --{key} True or --{key} False"
    elif hint is str:
        remedy = f"write it in quotes: --{key} \"'{value}'\""
    elif default is None or is_made_later(default):
        remedy = "correct it"
    else:
        remedy = f"write one, as in --{key} {default}"
    return SettingError(f"--{key} {value}: is not {expected}; {remedy}")


def _check_device(device: str | torch.device) -> None:
    """Refuses a device that is not there."""
    try:
        there = _is_there(torch.device(device))
    except Exception:  # noqa: BLE001 - each backend has its own kinds of error
        there = False
    if not there:
        choices = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        raise SettingError(f"--device {device}: is not there; choose from: {', '.join(choices)}")


def _is_there(device: torch.device) -> bool:
    """CUDA is asked without taking memory of a GPU; any other device has to hold a number."""
    if device.type == "cuda":
        return (device.index or 0) < torch.cuda.device_count()
    return torch.zeros(1, device=device).item() == 0
