"""Classes by their names, and the types of a configuration's values, as Python's annotations write them.

A type comes from the signature of the class or function whose argument a key is, from the value that is
replaced, or from `nacl_monai.bundles.overrides`. Names without a dot are MONAI's.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Hashable, Iterable, Mapping
from pydoc import ErrorDuringImport, locate
from types import SimpleNamespace, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from monai.bundle import ComponentLocator, ConfigComponent, ConfigParser

from nacl_monai.errors import SettingError

_NOTHING = type(None)
_UNIONS = (Union, UnionType)
#: The classes of the values of these types; ``True`` is not a number, though a bool is an int.
_EXACT: dict[type, tuple[type, ...]] = {
    float: (int, float),
    **{kind: (kind,) for kind in (int, bool, str, _NOTHING)},
}
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
#: With what the names of this package's classes begin.
PACKAGE = "nacl_monai."
#: Finds MONAI's classes by nothing but their names.
locator = ComponentLocator()


def fits(value: Any, hint: Any) -> bool:
    """Whether ``value`` is of the type ``hint``, or a reference, an expression or a component.

    As `isinstance`, but a whole number is a number, ``True`` is not a number, text is not a list, and
    a list may stand for a tuple.

    Example:
        >>> fits([1, 2], list[int]), fits("false", bool), fits("@max_epochs", int)
        (True, False, True)
    """
    if is_made_later(value) or hint in (Any, object) or isinstance(hint, TypeVar):
        return True
    inner = get_args(hint)
    if get_origin(hint) in _UNIONS:
        return any(fits(value, choice) for choice in inner)
    if get_origin(hint) is Literal:
        return value in inner
    kind = _NOTHING if hint is None else get_origin(hint) or hint
    return not isinstance(kind, type) or _is_one(value, kind, inner)


def _is_one(value: Any, kind: type, inner: tuple[Any, ...]) -> bool:
    """Whether ``value`` is of ``kind``, a class that may have members of the types ``inner``."""
    if kind in _EXACT:
        return type(value) in _EXACT[kind]
    if isinstance(value, str):
        return kind is Hashable
    if isinstance(value, list | tuple):
        is_list = issubclass(kind, list | tuple) or isinstance(value, kind)
        return is_list and _hold(value, inner)
    if isinstance(value, Mapping) and inner:
        return issubclass(kind, Mapping) and _hold(value.values(), inner[-1:])
    return isinstance(value, kind)


def _hold(members: Iterable[Any], hints: tuple[Any, ...]) -> bool:
    """Whether each member is of one of these types; of any, where there are none."""
    kinds = [hint for hint in hints if hint is not ...] or [Any]
    return all(any(fits(member, kind) for kind in kinds) for member in members)


def is_made_later(value: Any) -> bool:
    """Whether ``value`` is a reference, an expression or a component, whose type is not known yet."""
    if isinstance(value, str):
        return value[:1] in ("@", "$", "%")
    return ConfigComponent.is_instantiable(value)


def referred(value: Any, parser: ConfigParser) -> Any:
    """The target of a reference, however indirect; any other value unchanged."""
    while isinstance(value, str) and value.startswith("@"):
        value = parser.get(value[1:])
    return value


def type_of(value: Any, parser: ConfigParser) -> Any:
    """The type of whatever may replace ``value``, or what ``value`` refers to."""
    value = referred(value, parser)
    if value is None or is_made_later(value):
        return list | dict if isinstance(value, Mapping) else Any
    if isinstance(value, Mapping):
        return dict.__class_getitem__((str, _type_of_any(value.values(), parser)))
    if isinstance(value, list | tuple):
        return list.__class_getitem__(_type_of_any(value, parser))
    return type(value)


def _type_of_any(members: Iterable[Any], parser: ConfigParser) -> Any:
    return Union[tuple(type_of(member, parser) for member in members) or (Any,)]  # noqa: UP007


def parameters(component: Mapping[str, Any], locator: ComponentLocator) -> dict[str, Any] | None:
    """The arguments that a component takes, with their types; None if there is no such component.

    Where a class hands the arguments that it does not name on, those of its parents count too.

    Args:
        component: A mapping with ``_target_``.
        locator: Finds MONAI's classes by nothing but their names.
    """
    name = ConfigComponent(dict(component), locator=locator).resolve_module_name()  # type: ignore[no-untyped-call]
    target = locate(name) if isinstance(name, str) else None
    if not callable(target):
        return None
    named: dict[str, Any] = {}
    for maker in _makers(target):
        arguments = inspect.signature(maker).parameters.values()
        by_name = (a for a in arguments if a.kind in (a.POSITIONAL_OR_KEYWORD, a.KEYWORD_ONLY))
        named = {a.name: _type_of_argument(a, maker) for a in by_name} | named
        if inspect.Parameter.VAR_KEYWORD not in [argument.kind for argument in arguments]:
            break
    named.pop("self", None)
    return named


def _makers(target: Any) -> list[Any]:
    """The ``__init__`` of a class and those of its parents, or the function itself."""
    kinds = target.__mro__ if inspect.isclass(target) else ()
    return [vars(kind)["__init__"] for kind in kinds if "__init__" in vars(kind)] or [target]


def _type_of_argument(argument: inspect.Parameter, maker: Any) -> Any:
    """Its type by itself, since a signature may have arguments of others; Any where none is known."""
    if argument.annotation is argument.empty:
        return Any
    holder = SimpleNamespace(__annotations__={"": argument.annotation})
    try:
        return get_type_hints(holder, vars(sys.modules[maker.__module__]))[""]
    except (AttributeError, KeyError, NameError, TypeError):  # what a type checker alone imports
        return Any


def in_words(hint: Any, plural: bool = False) -> str:
    """A type as people say it.

    Example:
        >>> in_words(list[int] | None)
        'a list of whole numbers or None'
    """
    inner = get_args(hint)
    if get_origin(hint) in _UNIONS:
        return " or ".join(dict.fromkeys(in_words(choice, plural) for choice in inner))
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(str, inner))}"
    kind = get_origin(hint) or hint
    names = next((names for known, names in _WORDS.items() if _is_like(kind, known)), None)
    if names is None:
        return str(getattr(kind, "__name__", kind))
    is_any = not inner or inner[-1] in (Any, ...)
    return names[plural] + ("" if is_any else f" of {in_words(inner[-1], plural=True)}")


def _is_like(kind: Any, known: type) -> bool:
    """Whether a value of the class ``known`` is one of ``kind``."""
    if known in (list, dict):
        return isinstance(kind, type) and (issubclass(known, kind) or issubclass(kind, known))
    return kind is known


def is_class(name: str) -> bool:
    """Whether a class or function of this name can be imported; a name without a dot is MONAI's.

    Raises:
        SettingError: If its module is there, and fails to be imported.
    """
    if "." not in name:
        return locator.get_component_module_name(name) is not None
    return taken("_target_", {"_target_": name}) is not None


def taken(key: str, definition: Mapping[str, Any]) -> dict[str, Any] | None:
    """The arguments that a class takes, with their types; None if there is no such class.

    Args:
        key: What the message names.
        definition: With the class as its ``_target_``.

    Raises:
        SettingError: If the class's module is there, and fails to be imported.
    """
    try:
        return parameters(definition, locator)
    except ErrorDuringImport as error:
        raise SettingError(
            f"{key}: {definition['_target_']} cannot be imported ({error.value!r}); correct its module, "
            "or install what it needs"
        ) from error
