"""What a bundle makes of its data, in a few lines: they follow the numbers of a check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nacl_monai.menus import read_dataset

_SPLIT = ("split_proportions", "draw_split")
_SHOWN = ("modalities", "spatial_size", "preprocessing", "cropping", *_SPLIT)
_HIDDEN = ("keys", "_target_", "_mode_", "allow_missing_keys")


def settings_lines(dataset: str, bundles: str | Path | None = None) -> str:
    """The keys of a ``dataset.yaml`` that decide what a network sees and who is tested, one a line.

    Args:
        dataset: Its name.
        bundles: Folder of the bundles.

    Raises:
        InputError: If there is no such dataset.
    """
    keys = read_dataset(dataset, bundles)
    shown = {
        "structures": _named_structures(keys),
        **{key: keys[key] for key in _SHOWN if key in keys},
    }
    width = max(map(len, shown))
    return "\n".join(f"{key:<{width}}  {_in_words(value)}" for key, value in shown.items())


def _named_structures(keys: Mapping[str, Any]) -> dict[str, str]:
    """The classes of each structure: "myocardium ∪ left ventricle"."""
    return {
        name: " ∪ ".join(str(keys["classes"][index]) for index in of)
        for name, of in keys.get("structures", {}).items()
    }


def _in_words(value: Any) -> str:
    """A value on one line; a step by its name and what differs from step to step.

    Example:
        >>> _in_words(["@to_ras", {"_target_": "Spacingd", "keys": ["image"], "pixdim": [1, 1, 3]}])
        'to_ras; Spacingd(pixdim=1, 1, 3)'
    """
    if isinstance(value, list):
        return _list_in_words(value)
    if isinstance(value, Mapping):
        return _component_in_words(value) if "_target_" in value else _pairs(value, ": ")
    return str(value).removeprefix("@") or '""'


def _list_in_words(values: Sequence[Any]) -> str:
    """The values of a list; a semicolon parts steps, in whose words there are commas."""
    separator = "; " if "_target_" in str(values) or "@" in str(values) else ", "
    return separator.join(map(_in_words, values)) or "none"


def _component_in_words(component: Mapping[str, Any]) -> str:
    rest = {key: of for key, of in component.items() if key not in _HIDDEN}
    return f"{str(component['_target_']).rpartition('.')[2]}({_pairs(rest, '=')})"


def _pairs(values: Mapping[str, Any], between: str) -> str:
    return ", ".join(f"{key}{between}{_in_words(of)}" for key, of in values.items())
