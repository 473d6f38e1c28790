"""Checks of overrides: their keys are in the configuration, references resolve, and values fit.

A value is a literal, of the type of its key, and within its range; a training in 2-D or 3-D uses it.
"""

from __future__ import annotations

import ast
import difflib
import math
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from itertools import chain
from typing import Any, Literal

import torch
from monai.bundle import ConfigComponent, ConfigExpression, ConfigParser, ReferenceResolver
from monai.bundle.utils import merge_kv

from nacl_monai.errors import FOLDER_REMEDY, SettingError, check_no_code
from nacl_monai.training.definitions import given_overrides, running_parser
from nacl_monai.training.hints import (
    fits,
    in_words,
    is_class,
    is_made_later,
    locator,
    parameters,
    type_of,
)
from nacl_monai.words import leaves, parts, top_level

#: Packages whose classes and functions a configuration may name; MONAI has some of the same name.
_PACKAGES = ("data", "networks", "losses", "metrics", "training")
# For each number of dimensions, the keys of the other, and what is wrong with them.
_IDLE = {
    2: (
        ("patch", "patches_per_volume", "class_centered"),
        "is of patches; add --dims 3, or leave it out",
    ),
    3: (
        ("spatial_size", "discard_empty_slices"),
        "is of slices, and --dims 3 trains on patches; write --patch instead, or leave it out",
    ),
}
# What happens to volumes before they are cut, in 3-D too.
_READING = ("preprocessing", "cropping")
_COUNTS = (
    *("batch_size", "calibration::num_bins", "inferer::sw_batch_size", "max_epochs"),
    *("patches_per_volume", "val_interval"),
)
_TEXTS = (
    *("cache_dir", "calibrator", "checkpoint", "dataset_dir", "evaluation_dir", "experiment_name"),
    *("images", "output_dir", "run_name", "split_file", "tracking_uri"),
)


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


#: Keys of which more is known than the type of their default, whatever configuration has them.
LIMITS: dict[str, Limit] = {
    "dims": Limit(int, 2, 3),  # first, since others are looked up by it
    "average": Limit(Literal["probabilities", "logits"]),
    "calibration::boundary_width": Limit(float, 0.001, 1_000_000),
    "cases_to_evaluate": Limit(Literal["train", "val", "test"]),
    "class_centered": Limit(float, 0, 1),
    "device": Limit(str | torch.device),
    "fold": Limit(int, 0, 1_000_000),
    "in_channels": Limit(int, 1, 1024),
    "inferer::overlap": Limit(float | list[float], 0, 0.99),
    "learning_rate": Limit(float, 1e-12, 1),
    "num_workers": Limit(int, 0, 1024),
    "patch": Limit(list[int], 1, 4096, length=3),
    "pretrained": Limit(bool | str),
    "reliability_interval": Limit(int, 0, 1_000_000),
    "save_execute_config": Limit(bool | str),
    "spatial_size": Limit(list[int], 1, 4096, length=2),
    "train_fraction": Limit(float, 1e-6, 1),
    **dict.fromkeys(_COUNTS, Limit(int, 1, 1_000_000)),
    **dict.fromkeys(("seed", "split_seed"), Limit(int, 0, 2**32 - 1)),  # NumPy's
    **dict.fromkeys(_TEXTS, Limit(str)),
}


def checked_overrides(config: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """``overrides`` with ``#`` in their keys written as ``::``, and a class's name as a definition.

    Args:
        config: All keys that there are, with nothing in them evaluated.
        overrides: New values of some of them, or of arguments that a component takes.

    Raises:
        SettingError: If `nacl_monai.bundles.command_line.check_command_line` would raise it.
    """
    parser = ConfigParser(deepcopy(dict(config)))
    asked = {key.replace("#", "::"): value for key, value in overrides.items()}
    overrides, replaced = {}, {}
    for key, text in asked.items():
        _check_later(key, asked)
        check_literal(key, text)
        if key == "dataset_dir":
            check_no_code(f"--{key} {text}", [str(text)], FOLDER_REMEDY)
        overrides[key] = value = _chosen(key, text, parser)
        if value != text and any(later.startswith(f"{key}::") for later in asked):
            raise SettingError(f'--{key} {text}: is text, without parts; write --{key} "{value}"')
        replaced[key] = parser.get(key)
        check_type(key, value, _type_of_key(key, parser), replaced[key])
        parser[key] = deepcopy(value)
        _check_arguments(key, value)
    _check_leaves(parser)
    for key, value in overrides.items():
        if ConfigExpression.is_expression(value) and not references(value):
            evaluated(parser, key, value)
    check_limits(parser, replaced)
    return overrides


def joined_keys(files: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The keys of several files, joined as MONAI joins them."""
    config = ConfigParser(config={})
    for name, value in chain.from_iterable(file.items() for file in files):
        merge_kv(config, name, value)
    return dict(config.get())


def _nearest(key: str, known: list[str], prefix: str = "--") -> str:
    """The remedy for a ``key`` that does not exist: the nearest one that does."""
    matches = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    return f"did you mean {prefix}{matches[0]}?" if matches else "leave it out, or add the key"


def references(value: Any) -> list[str]:
    """The keys to which ``value`` itself refers."""
    if not isinstance(value, str) or not value.startswith(("@", "$")):
        return []
    return list(ReferenceResolver.match_refs_pattern(value))


def keys_referred_to(config: Any) -> set[str]:
    """The top-level keys to which anything in ``config`` refers."""
    return {top_level(key) for _, value in leaves(config) for key in references(value)}


def _keys(parser: ConfigParser) -> list[str]:
    """Every key but those of descriptions."""
    return [key for key, _ in leaves(parser.get(), inner=True) if "_desc_" not in key.split("::")]


def _check_later(key: str, overrides: Mapping[str, Any]) -> None:
    """A whole replaces its parts, so it comes before them."""
    keys = list(overrides)
    for later in keys[keys.index(key) + 1 :]:
        if key.startswith(f"{later}::"):
            raise SettingError(f"--{key}: is replaced by --{later} behind it; write it after that")


def _chosen(key: str, value: Any, parser: ConfigParser) -> Any:
    """``value``; the name of a class in place of a reference to a menu of classes as its definition."""
    menu = str(parser.get(key)).rpartition("::")[0]  # @losses of @losses::nacl
    if not (menu.startswith("@") and isinstance(value, str)) or is_made_later(value):
        return value
    entries = parser.get(menu[1:])
    if not (isinstance(entries, Mapping) and any(map(is_made_later, entries.values()))):
        raise _no_reference(key, value, menu)
    if value in entries or not (value in _own_names() or is_class(value)):
        raise _no_class(key, value, menu)
    return {"_target_": value}


def _no_class(key: str, value: str, menu: str) -> SettingError:
    if "." not in value:
        other = ", or name a class of MONAI's, or one with its module"
        return _no_reference(key, value, menu, other)
    return SettingError(
        f"--{key} {value}: no such class can be imported; correct the name, or put its folder on "
        "PYTHONPATH"
    )


def _no_reference(key: str, value: str, menu: str, other: str = "") -> SettingError:
    return SettingError(
        f"--{key} {value}: is not a reference to the menu; write it as a reference, "
        f"--{key} {menu}::{value}{other}"
    )


def _type_of_key(key: str, parser: ConfigParser) -> Any:
    """The type that ``key`` must have.

    Raises:
        SettingError: If there is no such key, and no component that takes it.
    """
    if key in LIMITS and key in parser:
        return LIMITS[key].hint
    above, _, name = key.rpartition("::")
    taken = _arguments(parser.get(above)) if above else {}
    if key in parser:
        return taken.get(name, type_of(parser[key], parser))
    if name not in taken:
        choices = f"; {above} takes: {', '.join(taken)}" if taken else ""
        nearest = _nearest(key, [*_keys(parser), *(f"{above}::{other}" for other in taken)])
        raise SettingError(
            f"--{key}: there is no such key in the configuration; {nearest}{choices}"
        )
    return taken[name]


def _arguments(component: Any) -> dict[str, Any]:
    """The arguments that a component takes, with their types."""
    if not ConfigComponent.is_instantiable(component):
        return {}
    return parameters(component, locator) or {}


def _check_arguments(key: str, value: Any) -> None:
    """Checks the types of the arguments of every component in the new ``value`` of ``key``."""
    if not isinstance(value, Mapping | list):
        return
    taken = {f"{key}::{name}": hint for name, hint in _arguments(value).items()}
    for name, below in parts(value, key):
        if name in taken:
            check_type(name, below, taken[name], None)
        _check_arguments(name, below)


def _check_leaves(parser: ConfigParser) -> None:
    for key, value in leaves(parser.get()):
        _check_references(key, value, parser)
        _check_syntax(key, value)
        _check_target(key, value)
        _check_import(key, value)


def _check_references(key: str, value: Any, parser: ConfigParser) -> None:
    if isinstance(value, str):
        value = ConfigParser.resolve_relative_ids(key, value)
    for target in references(value):
        if target not in parser:
            raise SettingError(
                f"{key}: there is no {target} in the configuration; {_other_than(target, parser)}"
            )


def _other_than(target: str, parser: ConfigParser) -> str:
    """The remedy for a reference to nothing: the entries of its menu, or the nearest key."""
    menu = target.rpartition("::")[0]
    choices = parser.get(menu) if menu else None
    if isinstance(choices, Mapping):
        return f"choose from: {', '.join(choices)}"
    return _nearest(target, _keys(parser), "@")


def _check_syntax(key: str, value: Any) -> None:
    if not ConfigExpression.is_expression(value):
        return
    try:
        ast.parse(ReferenceResolver.id_matcher.sub("reference", value[1:]))
    except SyntaxError as error:
        raise SettingError(
            f"{key}: {value} is not an expression of Python ({error.msg}); correct it"
        ) from error


def _check_target(key: str, value: Any) -> None:
    """MONAI takes a name without a module for one of its own, and has other classes of some names."""
    if key.rpartition("::")[2] == "_target_" and (full_name := _own_names().get(value)):
        raise SettingError(
            f"{key}: {value} alone would be MONAI's class of that name, if any; write {full_name}, "
            "or MONAI's with its module"
        )


@cache
def _own_names() -> dict[str, str]:
    """The full name of every name that the packages export; an export may lack them."""
    try:
        modules = [import_module(f"nacl_monai.{package}") for package in _PACKAGES]
    except ModuleNotFoundError:
        return {}
    return {name: f"{module.__name__}.{name}" for module in modules for name in module.__all__}


def _check_import(key: str, value: Any) -> None:
    """MONAI notices a module that is not there only where it is used."""
    if not ConfigExpression.is_import_statement(value):
        return
    try:
        exec(value.removeprefix("$"), {})  # noqa: S102 - an import, no more dangerous than MONAI's
    except (ImportError, SyntaxError) as error:
        statement = value.removeprefix("$")
        raise SettingError(
            f"{key}: {statement} fails ({error}); correct the name, or install the package"
        ) from error


def check_literal(key: str, value: Any) -> None:
    """Refuses what no configuration can hold, at any depth of ``value``.

    Raises:
        SettingError: For NaN, infinity and numbers that overflow, bytes, sets, complex numbers,
            mappings whose keys are not text, and text with a ``#``, which MONAI takes for ``::``.
    """
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise SettingError(f"--{key} {value}: {name!r} is not text; put it in quotes")
        check_literal(key, [*value.values()])
    elif isinstance(value, list | tuple):
        for below in value:
            check_literal(key, below)
    else:
        _check_scalar(key, value)


def _check_scalar(key: str, value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise SettingError(f"--{key}: {value} is not a finite number; choose one")
    if isinstance(value, str) and "#" in value and not is_made_later(value):
        raise SettingError(f"--{key} {value}: MONAI would take # for ::; choose a name without it")
    if not isinstance(value, bool | int | float | str | None):
        raise SettingError(
            f"--{key} {value}: is neither text, a number, a list nor a mapping; write one of these"
        )


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
    """The value of an expression in ``value``; else ``value`` itself.

    Raises:
        SettingError: If it fails.
    """
    parts = value if isinstance(value, list) else [value]
    if not any(isinstance(part, str) and is_made_later(part) for part in parts):
        return value
    try:
        return ConfigParser(parser.get()).get_parsed_content(key)
    except Exception as error:  # whatever an expression may raise
        cause = str(error.__cause__ or error).strip().partition("\n")[0]
        raise SettingError(f"--{key} {value}: cannot be evaluated ({cause}); correct it") from error


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


def check_dims(dims: int) -> None:
    """Refuses overrides that only the other kind of training follows.

    Args:
        dims: 2 for a training on slices, 3 for one on patches.

    Raises:
        SettingError: If the command sets something of patches in 2-D, or of slices in 3-D. Where a
            dataset's preprocessing or cropping makes volumes of ``spatial_size``, it is of both.
    """
    idle, fault = _IDLE[dims]
    for key in map(top_level, given_overrides() or {}):
        if key not in idle:
            continue
        reading = [running_parser().get(name) for name in _READING]
        if dims == 2 or key not in keys_referred_to(reading):
            raise SettingError(f"--{key}: {fault}")
