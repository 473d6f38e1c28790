"""The configuration that is running: its parser, its definitions, its voxels without a label.

MONAI passes the parser and the overrides of a command to nobody. But whatever a configuration does, be
it from a command or from Python, happens inside its parser's `get_parsed_content`, and a command inside
`monai.bundle.run`.

Networks and losses need not be an entry of a menu: a class by its name, or with its arguments, will do.
``--network_def my_package.MyNet`` stands for ``--network_def "{'_target_': 'my_package.MyNet'}"``, and
what the configuration knows of any network, such as its ``in_channels``, needs not be given.

Where a dataset has unlabeled voxels, which it says once by its ``ignore_index``, nothing that
counts voxels counts them; configurations of all others stay as they are.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any

import monai.bundle
from monai.bundle import ConfigComponent, ConfigParser

from nacl_monai.training.hints import PACKAGE, is_made_later, taken

#: What can be defined inline, and the key of the arguments that its class may take.
ARGUMENTS = {"network_def": "network_arguments", "loss": "loss_arguments"}
IGNORE_INDEX = "ignore_index"
#: Makes ignored voxels background to metrics without an ``ignore_index``.
WITHOUT = "nacl_monai.training.outputs.outputs_without_ignored"
_LOSSES = ("loss", "losses")
#: How a metric of MONAI, which has no ``ignore_index``, is told what to compare.
_FROM_ENGINE = re.compile(r"\$[\w.]*\bfrom_engine\((\[.*\])\)")


def running_parser() -> ConfigParser:
    """The configuration, overrides included, whose evaluation led to this call.

    Raises:
        RuntimeError: If none did.
    """
    frame = _frame_of(ConfigParser.get_parsed_content)
    if frame is None:
        raise RuntimeError("to be called from a configuration of monai.bundle")
    parser: ConfigParser = frame.f_locals["self"]
    return parser


def given_overrides() -> dict[str, Any] | None:
    """The keys and values that ``monai.bundle run`` was given; None if it did not lead to this call."""
    frame = _frame_of(monai.bundle.run)
    if frame is None:
        return None
    file = frame.f_locals["args_file"]
    arguments = {} if file is None else ConfigParser.load_config_file(file)
    overrides = {**arguments, **frame.f_locals["override"]}
    return {key.replace("#", "::"): value for key, value in overrides.items()}


def _frame_of(function: Callable[..., Any]) -> FrameType | None:
    """The innermost call of ``function`` that has not returned."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_code is not function.__code__:
        frame = frame.f_back
    return frame


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
        key: _complete(key, config[key], config[arguments])
        for key, arguments in ARGUMENTS.items()
        if {key, arguments} <= config.keys()
    }
    return {key: whole for key, whole in definitions.items() if whole != config[key]}


def _complete(key: str, value: Any, arguments: Mapping[str, Any]) -> Any:
    """A definition, or a name of a class, with the arguments that it lacks; anything else as it is."""
    if "::" not in key and isinstance(value, str) and not is_made_later(value):
        value = {"_target_": value}
    if not ConfigComponent.is_instantiable(value):
        return value
    lacking = (taken(f"{key}::_target_", value) or {}).keys() - value
    added = {name: argument for name, argument in arguments.items() if name in lacking}
    if str(value["_target_"]).startswith(PACKAGE):
        value = {name: _complete(f"{key}::{name}", part, arguments) for name, part in value.items()}
    return {**value, **added}


def ignoring(config: Mapping[str, Any]) -> dict[str, Any]:
    """The changes of a configuration whose dataset has unlabeled voxels.

    Every component of this package, and every loss, is given ``ignore_index`` if it takes it and does
    not set it. To all other metrics, such as Dice and HD95, such voxels are of no structure.

    Args:
        config: With nothing in it evaluated.

    Raises:
        SettingError: If a class cannot be imported.

    Example:
        >>> loss = {"_target_": "nacl_monai.losses.NACLLoss"}
        >>> ignoring({"ignore_index": 4, "losses": {"nacl": loss}})
        {'losses::nacl::ignore_index': '@ignore_index'}
        >>> ignoring({"losses": {"nacl": loss}})
        {}
    """
    if config.get(IGNORE_INDEX) is None:
        return {}
    components = dict(components_of(config))
    changes: dict[str, Any] = {
        f"{key}::{IGNORE_INDEX}": f"@{IGNORE_INDEX}"
        for key, part in components.items()
        if _lacks(key, part)
    }
    for key, part in components.items():
        compared = _FROM_ENGINE.fullmatch(str(part.get("output_transform")))
        if compared and not _takes(f"{key}::metric_fn", part.get("metric_fn")):
            changes[f"{key}::output_transform"] = {
                "_target_": WITHOUT,
                "_mode_": "callable",
                "keys": ast.literal_eval(compared[1]),
                IGNORE_INDEX: f"@{IGNORE_INDEX}",
            }
    return changes


def components_of(value: Any, key: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every component, by its key: ``a::b::0``."""
    if ConfigComponent.is_instantiable(value):
        yield key, value
    parts = value.items() if isinstance(value, Mapping) else enumerate(value)
    for name, part in parts:
        if isinstance(part, Mapping | list):
            yield from components_of(part, f"{key}::{name}" if key else str(name))


def _lacks(key: str, component: Mapping[str, Any]) -> bool:
    """Whether a component takes the label of ignored voxels, and is not given any."""
    is_ours = str(component["_target_"]).startswith(PACKAGE)
    if IGNORE_INDEX in component or not (is_ours or key.partition("::")[0] in _LOSSES):
        return False
    return _takes(key, component)


def _takes(key: str, component: Any) -> bool:
    """Whether a component has an argument for the label of ignored voxels."""
    is_known = ConfigComponent.is_instantiable(component)
    return is_known and IGNORE_INDEX in (taken(f"{key}::_target_", component) or ())
