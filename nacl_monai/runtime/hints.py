"""The types of a configuration's values, as Python's annotations write them.

A type comes from the signature of the class or function whose argument a key is, from the value that is
replaced, or from `nacl_monai.runtime.limits`.
"""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Iterator, Mapping
from pydoc import locate
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from monai.bundle import ComponentLocator, ConfigComponent, ConfigParser

_NOTHING = type(None)
#: How people call a value, and several.
_WORDS: dict[type, tuple[str, str]] = {
    bool: ("True or False", "True or False"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("text", "texts"),
    _NOTHING: ("None", "None"),
    tuple: ("a list", "lists"),
    list: ("a list", "lists"),
    dict: ("a mapping", "mappings"),
}


def fits(value: Any, hint: Any) -> bool:
    """Whether ``value`` is of the type ``hint``, or a reference, an expression or a component.

    As `isinstance`, but a whole number is a number, ``True`` is no number, text is no list, and a list
    may stand for a tuple.

    Example:
        >>> fits([1, 2], list[int]), fits("false", bool), fits("@max_epochs", int)
        (True, False, True)
    """
    if is_made_later(value) or hint in (Any, object) or isinstance(hint, TypeVar):
        return True
    if get_origin(hint) in (Union, UnionType):
        return any(fits(value, choice) for choice in get_args(hint))
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    kind = _NOTHING if hint is None else get_origin(hint) or hint
    return not isinstance(kind, type) or _is_one(value, kind, get_args(hint))


def _is_one(value: Any, kind: type, inner: tuple[Any, ...]) -> bool:
    """`fits` for a type that is a class, with the types of what is in it."""
    if kind is float:
        return type(value) in (int, float)
    if kind in (int, bool, str, _NOTHING) or isinstance(value, str):
        return type(value) is kind or kind is Hashable
    if isinstance(value, list | tuple):
        is_list = issubclass(kind, list | tuple) or isinstance(value, kind)
        members = [hint for hint in inner if hint is not ...] or [Any]
        return is_list and all(any(fits(v, hint) for hint in members) for v in value)
    if isinstance(value, Mapping) and inner:
        return issubclass(kind, Mapping) and all(fits(v, inner[-1]) for v in value.values())
    return isinstance(value, kind)


def is_made_later(value: Any) -> bool:
    """Whether ``value`` is a reference, an expression or a component, whose type is not known yet."""
    if isinstance(value, str):
        return value[:1] in ("@", "$", "%")
    return ConfigComponent.is_instantiable(value)


def type_of(value: Any, parser: ConfigParser) -> Any:
    """The type of whatever may replace ``value``; of a reference, that of what it refers to."""
    while isinstance(value, str) and value.startswith("@"):
        value = parser.get(value[1:])
    if value is None or (isinstance(value, str) and is_made_later(value)):
        return Any
    if ConfigComponent.is_instantiable(value):
        return list | dict
    if isinstance(value, list | tuple | Mapping):
        members = value.values() if isinstance(value, Mapping) else value
        inner: Any = Union[tuple(type_of(member, parser) for member in members) or (Any,)]  # noqa: UP007
        return dict.__class_getitem__((str, inner)) if isinstance(value, Mapping) else list[inner]
    return type(value)


def parameters(component: Mapping[str, Any], locator: ComponentLocator) -> dict[str, Any] | None:
    """The arguments that a component takes, with their types; None if there is no such component.

    Where a class hands the arguments that it does not name on, those of its parents count too.

    Args:
        component: A mapping with ``_target_``.
        locator: Finds MONAI's classes by their names alone.
    """
    name = ConfigComponent(dict(component), locator=locator).resolve_module_name()  # type: ignore[no-untyped-call]
    target = locate(name) if isinstance(name, str) else None
    if not callable(target):
        return None
    found: dict[str, Any] = {}
    for maker in _makers(target):
        arguments, hints = inspect.signature(maker).parameters.values(), _hints(maker)
        named = (a for a in arguments if a.kind in (a.POSITIONAL_OR_KEYWORD, a.KEYWORD_ONLY))
        found = {**{a.name: hints.get(a.name, Any) for a in named}, **found}
        if all(a.kind is not a.VAR_KEYWORD for a in arguments):
            break
    found.pop("self", None)
    return found


def _makers(target: Any) -> Iterator[Any]:
    if not inspect.isclass(target):
        yield target
        return
    yield from (vars(c)["__init__"] for c in target.__mro__ if "__init__" in vars(c))


def _hints(maker: Any) -> dict[str, Any]:
    try:
        return get_type_hints(maker)
    except (NameError, TypeError):  # of names that only a type checker imports
        return {}


def in_words(hint: Any, plural: bool = False) -> str:
    """A type as people say it.

    Example:
        >>> in_words(list[int] | None)
        'a list of whole numbers or None'
    """
    inner = get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(dict.fromkeys(in_words(choice, plural) for choice in inner))
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(str, inner))}"
    kind = get_origin(hint) or hint
    words = next((words for known, words in _WORDS.items() if _is_like(kind, known)), None)
    if words is None:
        return str(getattr(kind, "__name__", kind))
    known_inner = [member for member in inner[-1:] if member not in (Any, ...)]
    return words[plural] + "".join(f" of {in_words(member, plural=True)}" for member in known_inner)


def _is_like(kind: Any, known: type) -> bool:
    """Whether a value of the class ``known`` is one of ``kind``."""
    if known in (list, dict):
        return isinstance(kind, type) and (issubclass(known, kind) or issubclass(kind, known))
    return kind is known
