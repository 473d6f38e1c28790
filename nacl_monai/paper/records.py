"""The configuration that a run was trained with, as its record has it; nothing of it is evaluated."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

from nacl_monai.files import read_object
from nacl_monai.runs import RECORD_REMEDY, RunFolder

#: What a configuration of another version raises, which lacks a key or has something else there.
LACKING = (LookupError, TypeError)
_BY_DIMS = re.compile(r"\$\[([\w@, ]+)\]\[@dims\]")


def config_of(folder: Path) -> dict[str, Any]:
    """The configuration that a run was trained with; empty where it was not kept.

    Args:
        folder: The folder of the run, or of what follows it.

    Raises:
        InputError: If it is damaged.
    """
    file = RunFolder(folder).trained.config
    return read_object(file, RECORD_REMEDY) if file.is_file() else {}


def value_at(config: Mapping[str, Any], key: str) -> Any:
    """The value of a key such as ``networks::unet``.

    Raises:
        LookupError, TypeError: `LACKING`, if the configuration lacks it.
    """
    return reduce(getitem, key.split("::"), config)


def resolved(value: Any, config: Mapping[str, Any]) -> Any:
    """A value with what it refers to in place of the reference, and without descriptions.

    Nothing is evaluated: a record that somebody sent may hold any code.
    """
    if isinstance(value, dict):
        return {key: resolved(part, config) for key, part in value.items() if key != "_desc_"}
    if isinstance(value, list):
        return [resolved(part, config) for part in value]
    if isinstance(value, str) and (choices := _BY_DIMS.fullmatch(value)):
        value = choices[1].split(", ")[config["dims"]]
        value = int(value) if value.isdecimal() else value
    if isinstance(value, str) and value.startswith("@"):
        with suppress(*LACKING):
            return resolved(value_at(config, value[1:]), config)
    return value
