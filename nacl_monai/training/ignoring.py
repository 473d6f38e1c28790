"""Voxels that nobody labeled: where a dataset has any, nothing that counts voxels counts them.

A dataset with an ``ignore_index`` says so once, in its ``dataset.yaml``; configurations of all others
stay as they are.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from typing import Any

from monai.bundle import ConfigComponent

from nacl_monai.training.classes import PACKAGE, taken

KEY = "ignore_index"
#: What makes such voxels background to metrics that know none.
WITHOUT = "nacl_monai.training.outputs.without_ignored"
_LOSSES = ("loss", "losses")
#: How a metric of MONAI's, which knows no such voxels, is told what to compare.
_FROM_ENGINE = re.compile(r"\$[\w.]*\bfrom_engine\((\[.*\])\)")


def ignoring(config: Mapping[str, Any]) -> dict[str, Any]:
    """What changes in a configuration whose dataset has voxels that nobody labeled.

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
    if config.get(KEY) is None:
        return {}
    components = dict(_components(config))
    changes: dict[str, Any] = {
        f"{key}::{KEY}": f"@{KEY}" for key, part in components.items() if _lacks(key, part)
    }
    for key, part in components.items():
        compared = _FROM_ENGINE.fullmatch(str(part.get("output_transform")))
        if compared and not _takes(f"{key}::metric_fn", part.get("metric_fn")):
            changes[f"{key}::output_transform"] = {
                "_target_": WITHOUT,
                "_mode_": "callable",
                "keys": ast.literal_eval(compared[1]),
                KEY: f"@{KEY}",
            }
    return changes


def _components(value: Any, key: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every component, by its key: ``a::b::0``."""
    if ConfigComponent.is_instantiable(value):
        yield key, value
    parts = value.items() if isinstance(value, Mapping) else enumerate(value)
    for name, part in parts:
        if isinstance(part, Mapping | list):
            yield from _components(part, f"{key}::{name}" if key else str(name))


def _lacks(key: str, component: Mapping[str, Any]) -> bool:
    """Whether a component takes the label of ignored voxels, and is not given any."""
    is_ours = str(component["_target_"]).startswith(PACKAGE)
    if KEY in component or not (is_ours or key.partition("::")[0] in _LOSSES):
        return False
    return _takes(key, component)


def _takes(key: str, component: Any) -> bool:
    """Whether a component has an argument for the label of ignored voxels."""
    is_known = ConfigComponent.is_instantiable(component)
    return is_known and KEY in (taken(f"{key}::_target_", component) or ())
