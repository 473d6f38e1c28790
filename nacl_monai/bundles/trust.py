"""The record of a run that somebody sent: it may name what the bundles name, and nothing else.

A MONAI configuration is code, and so is the ``config.json`` in a run's folder once it is read back: its
expressions are evaluated, its ``_target_``s called, and the files of its macros read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from pydoc import locate
from typing import Any

from monai.bundle import ConfigComponent, ConfigParser
from torch import nn

from nacl_monai.differences import leaves
from nacl_monai.errors import InputError
from nacl_monai.menus import search_path
from nacl_monai.training.definitions import WITHOUT
from nacl_monai.training.hints import locator

# Where networks and losses are that do nothing but compute.
_HARMLESS = ("monai.networks.", "monai.losses.", "nacl_monai.networks.", "nacl_monai.losses.")
_EXECUTED = ("$", "%")  # expressions, and macros, which read other files
# What runs of earlier versions were trained with, where today's bundles name something else.
_EARLIER = {"SliceInferer", "nacl_monai.data.SliceDataset"}


def check_known_code(
    record: Mapping[str, Any],
    file: str | Path,
    bundles: str | Path | None = None,
    asked: Collection[object] = (),
) -> None:
    """Refuses a record that would execute anything which the configurations in ``bundles`` do not.

    Networks and losses of MONAI and of this package are harmless, named there or not.

    Args:
        record: What ``file`` holds, with nothing in it evaluated.
        file: The record of a run, named in the message.
        bundles: Folder of the sources; that of the working directory or of the package by default.
        asked: What whoever exports has named, as a class of one's own.

    Raises:
        InputError: If an expression, a macro or a ``_target_`` of the record is in no source.
    """
    known = _EARLIER | {WITHOUT} | _code_of_sources(bundles)
    for key, value in _code(record):
        if value not in known and value not in asked and not _is_harmless(value):
            raise InputError(
                f"{file}: {key} is {str(value)[:80]!r}, code that no bundle has; export it with "
                "--trust, if you trust whoever wrote it"
            )


def _code_of_sources(bundles: str | Path | None) -> set[str]:
    """All that the configurations in ``bundles`` execute."""
    sources = sorted(file for folder in search_path(bundles) for file in folder.rglob("*.yaml"))
    return {
        value
        for source in sources
        for _, value in _code(ConfigParser.load_config_files([str(source)]))
    }


def _is_harmless(value: object) -> bool:
    """Whether a ``_target_`` is a network or a loss of MONAI or of this package."""
    if not isinstance(value, str):
        return False
    name = ConfigComponent({"_target_": value}, locator=locator).resolve_module_name()  # type: ignore[no-untyped-call]
    if not name.startswith(_HARMLESS):
        return False
    found = locate(name)  # a name may lead on to what its module imports
    return (
        isinstance(found, type)
        and issubclass(found, nn.Module)
        and found.__module__.startswith(_HARMLESS)
    )


def _code(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every key below ``config`` whose value is executed, and the value."""
    for key, value in leaves(config):
        is_target = "_target_" in key.split("::")
        if is_target or (isinstance(value, str) and value.startswith(_EXECUTED)):
            yield key, value
