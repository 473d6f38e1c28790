"""Classes by their names: those of MONAI without a dot, all others with their module."""

from __future__ import annotations

from collections.abc import Mapping
from pydoc import ErrorDuringImport
from typing import Any

from monai.bundle import ComponentLocator

from nacl_monai.errors import SettingError
from nacl_monai.training.hints import parameters

#: With what the names of this package's classes begin.
PACKAGE = "nacl_monai."
#: Finds MONAI's classes by nothing but their names.
locator = ComponentLocator()


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
