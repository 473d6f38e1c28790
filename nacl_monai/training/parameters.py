"""What a run was trained with, in single values, as trackers of experiments show it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from monai.bundle import ConfigParser

from nacl_monai.files import checksum
from nacl_monai.runs import RunFolder
from nacl_monai.training.hints import is_made_later, referred
from nacl_monai.training.run_record import git_commit
from nacl_monai.training.run_settings import read_record

#: Definitions of a configuration, and what their parameters are called.
_DEFINITIONS = {"network_def": "network", "loss": "loss"}


def run_parameters(run: RunFolder) -> dict[str, Any]:
    """What a run was trained with, in single values.

    Args:
        run: With or without a ``config.json``.

    Returns:
        Every key of the configuration that is a number, a switch or a word; ``network`` and ``loss``,
        the names of their classes, with their settings, such as ``loss.penalty_weight``; ``git_commit``
        of this package's source; and ``split_sha256``.

    Raises:
        InputError: If ``config.json`` is damaged.
    """
    record = read_record(run.config) if run.config.is_file() else {}
    parser = ConfigParser(record)
    found = {
        key: value
        for key, value in record.items()
        if isinstance(value, bool | int | float | str) and not is_made_later(value)
    }
    for key, name in _DEFINITIONS.items():
        found |= dict(_settings(name, referred(record.get(key), parser)))
    sums = {"split_sha256": checksum(run.split)} if run.split.is_file() else {}
    return {**found, "git_commit": git_commit(), **sums}


def _settings(name: str, definition: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(definition, Mapping):
        yield name, str(definition["_target_"]).rpartition(".")[2]
        for key, value in definition.items():
            if not key.startswith("_"):
                yield f"{name}.{key}", value
