"""What overrides of a configuration may say: its keys, references to what is there, values that fit."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator, Mapping
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

from nacl_monai.errors import SettingError
from nacl_monai.runtime.definitions import is_class, locator
from nacl_monai.runtime.hints import is_made_later, parameters, type_of
from nacl_monai.runtime.limits import LIMITS, check_limits, check_literal, check_type, evaluated

#: Packages whose classes and functions a configuration may name; MONAI has some of the same name.
_PACKAGES = ("data", "networks", "losses", "metrics", "handlers")


def checked_overrides(config: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """``overrides`` with ``#`` in their keys written as ``::``, and a class's name as a definition.

    Args:
        config: All keys that there are, with nothing in them evaluated.
        overrides: New values of some of them, or of arguments that a component takes.

    Raises:
        SettingError: If `nacl_monai.runtime.check_command_line` would raise it.
    """
    parser = ConfigParser(deepcopy(dict(config)))
    given = {key.replace("#", "::"): value for key, value in overrides.items()}
    overrides, replaced = {}, {}
    for key, text in given.items():
        _check_later(key, given)
        check_literal(key, text)
        overrides[key] = value = _chosen(key, text, parser)
        if value != text and any(later.startswith(f"{key}::") for later in given):
            raise SettingError(f'--{key} {text}: is text, without parts; write --{key} "{value}"')
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
        if ConfigExpression.is_expression(value) and not references(value):
            evaluated(parser, key, value)
    check_limits(parser, replaced)
    return overrides


def leaves(config: Any, prefix: str = "", inner: bool = False) -> Iterator[tuple[str, Any]]:
    """Every ``(a::b::c, value)`` below ``config``; with ``inner`` the branches too."""
    if isinstance(config, Mapping | list):
        pairs = config.items() if isinstance(config, Mapping) else enumerate(config)
        for name, value in pairs:
            key = f"{prefix}::{name}" if prefix else str(name)
            if inner and isinstance(value, Mapping | list):
                yield key, value
            yield from leaves(value, key, inner)
    else:
        yield prefix, config


def _nearest(key: str, known: list[str], prefix: str = "--") -> str:
    """The remedy for a ``key`` that does not exist: the nearest one that does."""
    matches = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    return f"did you mean {prefix}{matches[0]}?" if matches else "leave it out, or add the key"


def references(value: Any) -> list[str]:
    """The keys to which ``value`` itself refers."""
    if not isinstance(value, str) or not value.startswith(("@", "$")):
        return []
    return list(ReferenceResolver.match_refs_pattern(value))


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
    default = parser.get(key)
    from_menu = isinstance(default, str) and default.startswith("@") and "::" in default
    if not (from_menu and isinstance(value, str)) or is_made_later(value):
        return value
    menu = default.rpartition("::")[0]
    entries = parser.get(menu[1:])
    of_classes = isinstance(entries, Mapping) and any(map(is_made_later, entries.values()))
    if of_classes and value not in entries and (value in _own_names() or is_class(value)):
        return {"_target_": value}
    if of_classes and "." in value:
        raise SettingError(
            f"--{key} {value}: no such class can be imported; correct the name, or put its folder on "
            "PYTHONPATH"
        )
    instead = ", or name a class of MONAI's, or one with its module" if of_classes else ""
    raise SettingError(
        f"--{key} {value}: is no reference to the menu; write it as a reference, "
        f"--{key} {menu}::{value}{instead}"
    )


def _type_of_key(key: str, parser: ConfigParser) -> Any:
    """The type that ``key`` must have.

    Raises:
        SettingError: If there is no such key, and no component that takes it.
    """
    if key in LIMITS and key in parser:
        return LIMITS[key].hint
    above, _, name = key.rpartition("::")
    component = parser.get(above) if above else None
    taken = _arguments(component)
    if key in parser:
        return taken.get(name, type_of(parser[key], parser))
    if name not in taken:
        choices = f"; {above} takes: {', '.join(taken)}" if taken else ""
        raise SettingError(
            f"--{key}: there is no such key in the configuration; "
            f"{_nearest(key, [*_keys(parser), *(f'{above}::{other}' for other in taken)])}{choices}"
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
    taken = _arguments(value)
    for name, below in value.items() if isinstance(value, Mapping) else enumerate(value):
        if name in taken:
            check_type(f"{key}::{name}", below, taken[name], None)
        _check_arguments(f"{key}::{name}", below)


def _check_references(key: str, value: Any, parser: ConfigParser) -> None:
    if isinstance(value, str):
        value = ConfigParser.resolve_relative_ids(key, value)
    for target in references(value):
        if target in parser:
            continue
        menu, _, _ = target.rpartition("::")
        choices = parser.get(menu) if menu and menu in parser else None
        remedy = (
            f"choose from: {', '.join(choices)}"
            if isinstance(choices, Mapping)
            else _nearest(target, _keys(parser), "@")
        )
        raise SettingError(f"{key}: there is no {target} in the configuration; {remedy}")


def _check_syntax(key: str, value: Any) -> None:
    if not ConfigExpression.is_expression(value):
        return
    try:
        ast.parse(ReferenceResolver.id_matcher.sub("reference", value[1:]))
    except SyntaxError as error:
        raise SettingError(
            f"{key}: {value} is no expression of Python ({error.msg}); correct it"
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
