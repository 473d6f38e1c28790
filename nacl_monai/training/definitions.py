"""Networks and losses that are not an entry of a menu: a class by its name, or with its arguments.

``--network_def my_package.MyNet`` stands for ``--network_def "{'_target_': 'my_package.MyNet'}"``, and
what the configuration knows of any network, such as its ``in_channels``, needs not be given.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monai.bundle import ConfigComponent

from nacl_monai.training.classes import PACKAGE, taken
from nacl_monai.training.hints import is_made_later
from nacl_monai.training.ignoring import ignoring
from nacl_monai.training.running import running_parser

#: What can be defined inline, and the key of the arguments that its class is given where it takes them.
ARGUMENTS = {"network_def": "network_arguments", "loss": "loss_arguments"}


def complete_definitions() -> None:
    """Completes the configuration that calls this: see `completed`, then `ignoring`.

    It then begins anew: whatever is made after this call is made of the complete definitions.
    """
    parser = running_parser()
    changed = False
    for changes_of in (completed, ignoring):
        changes = changes_of(parser.get())
        parser.update(changes)
        changed |= bool(changes)
    if changed:
        parser.parse()


def completed(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of :data:`ARGUMENTS` whose definitions change when they are completed.

    A class is given every argument of ``network_arguments`` or ``loss_arguments`` that it takes and that
    the definition does not set. The definition inside a wrapper of this package, such as
    ``nacl_monai.networks.SingleOutput``, is completed alike.

    Args:
        config: With nothing in it evaluated.

    Raises:
        SettingError: If a class cannot be imported.

    Example:
        >>> config = {"network_arguments": {"spatial_dims": 2, "in_channels": "@in_channels"}}
        >>> completed({**config, "network_def": "SegResNet"})["network_def"]
        {'_target_': 'SegResNet', 'spatial_dims': 2, 'in_channels': '@in_channels'}
    """
    definitions = {
        key: _complete(key, _definition(config[key]), config[arguments])
        for key, arguments in ARGUMENTS.items()
        if {key, arguments} <= config.keys()
    }
    return {key: whole for key, whole in definitions.items() if whole != config[key]}


def _definition(value: Any) -> Any:
    """The name of a class as its definition; anything else as it is."""
    is_name = isinstance(value, str) and not is_made_later(value)
    return {"_target_": value} if is_name else value


def _complete(key: str, value: Any, arguments: Mapping[str, Any]) -> Any:
    """A definition with the arguments that it lacks; anything else as it is."""
    if not ConfigComponent.is_instantiable(value):
        return value
    lacking = (taken(f"{key}::_target_", value) or {}).keys() - value
    added = {name: argument for name, argument in arguments.items() if name in lacking}
    if str(value["_target_"]).startswith(PACKAGE):
        value = {name: _complete(f"{key}::{name}", part, arguments) for name, part in value.items()}
    return {**value, **added}
