"""What overrides of a configuration may say: its keys, references to what is there, values that fit."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from importlib import import_module
from typing import Any

from monai.bundle import (
    ConfigComponent,
    ConfigExpression,
    ConfigParser,
    ReferenceResolver,
)

from nacl_monai.bundles.limits import LIMITS, check_limits, check_literal, check_type, evaluated
from nacl_monai.differences import leaves, parts, top_level
from nacl_monai.errors import SettingError
from nacl_monai.training.classes import is_class, locator
from nacl_monai.training.hints import is_made_later, parameters, type_of

#: Packages whose classes and functions a configuration may name; MONAI has some of the same name.
_PACKAGES = ("data", "networks", "losses", "metrics", "training")


def checked_overrides(config: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """``overrides`` with ``#`` in their keys written as ``::``, and a class's name as a definition.

    Args:
        config: All keys that there are, with nothing in them evaluated.
        overrides: New values of some of them, or of arguments that a component takes.

    Raises:
        SettingError: If `nacl_monai.bundles.command_line.check_command_line` would raise it.
    """
    parser = ConfigParser(deepcopy(dict(config)))
    given = {key.replace("#", "::"): value for key, value in overrides.items()}
    overrides, replaced = {}, {}
    for key, text in given.items():
        _check_later(key, given)
        check_literal(key, text)
        overrides[key] = value = _chosen(key, text, parser)
        if value != text:
            _check_no_parts(key, text, value, given)
        replaced[key] = parser.get(key)
        check_type(key, value, _type_of_key(key, parser), replaced[key])
        parser[key] = deepcopy(value)
        _check_arguments(key, value)
    for key, value in leaves(parser.get()):
        _check_references(key, value, parser)
        _check_syntax(key, value)
        _check_target(key, value)
        _check_import(key, value)
    for key, value in overrides.items():
        _check_evaluates(key, value, parser)
    check_limits(parser, replaced)
    return overrides


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
    return [key for key, _ in leaves(parser.get(), inner=True)]


def _check_later(key: str, overrides: Mapping[str, Any]) -> None:
    """A whole replaces its parts, so it comes before them."""
    keys = list(overrides)
    for later in keys[keys.index(key) + 1 :]:
        if key.startswith(f"{later}::"):
            raise SettingError(f"--{key}: is replaced by --{later} behind it; write it after that")


def _chosen(key: str, value: Any, parser: ConfigParser) -> Any:
    """``value``; the name of a class in place of a reference to a menu of classes as its definition."""
    menu = _menu_of(parser.get(key))
    if not (menu and isinstance(value, str)) or is_made_later(value):
        return value
    entries = parser.get(menu[1:])
    if not _are_classes(entries):
        raise _no_reference(key, value, menu)
    if value in entries or not _is_importable(value):
        raise _no_class(key, value, menu)
    return {"_target_": value}


def _menu_of(default: Any) -> str:
    """The menu ``@losses`` of a reference such as ``@losses::nacl``; empty for anything else."""
    is_reference = isinstance(default, str) and default.startswith("@")
    return default.rpartition("::")[0] if is_reference else ""


def _are_classes(entries: Any) -> bool:
    return isinstance(entries, Mapping) and any(map(is_made_later, entries.values()))


def _is_importable(name: str) -> bool:
    return name in _own_names() or is_class(name)


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


def _check_no_parts(key: str, text: str, value: Any, given: Mapping[str, Any]) -> None:
    """Refuses parts of what is named by a ``text``, whose definition is ``value``."""
    if any(later.startswith(f"{key}::") for later in given):
        raise SettingError(f'--{key} {text}: is text, without parts; write --{key} "{value}"')


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
        raise _no_such_key(key, above, taken, parser)
    return taken[name]


def _no_such_key(
    key: str, above: str, taken: Mapping[str, Any], parser: ConfigParser
) -> SettingError:
    """The fault of a key that there is not, nor an argument that a component at ``above`` takes."""
    choices = f"; {above} takes: {', '.join(taken)}" if taken else ""
    nearest = _nearest(key, [*_keys(parser), *(f"{above}::{other}" for other in taken)])
    return SettingError(f"--{key}: there is no such key in the configuration; {nearest}{choices}")


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


def _check_evaluates(key: str, value: Any, parser: ConfigParser) -> None:
    """Refuses an expression that fails by itself, without anything that it refers to."""
    if ConfigExpression.is_expression(value) and not references(value):
        evaluated(parser, key, value)


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
    """For every name that the packages export, the full one; an export may be without them."""
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
