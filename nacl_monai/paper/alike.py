"""Trainings shown side by side differ in nothing but what their names say and in their length."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

from nacl_monai.differences import differences, first_of, leaves
from nacl_monai.errors import InputError
from nacl_monai.paper.grid import Experiment, Setup
from nacl_monai.paper.trained import config_of
from nacl_monai.runs import RunFolder

#: What decides a training, in the order in which a difference is told. Images, labels and their
#: preprocessing decide its evaluation as well, and are compared there. Machines may differ, and with
#: them the last digits; so may the number of epochs, and with it when the learning rate falls.
SHARED = (
    *("learning_rate", "batch_size", "precision", "augmentation", "slice_transforms"),
    *("modalities", "window", "discard_empty_slices", "patches_per_volume", "class_centered"),
    *("split_seed", "split_proportions", "val_interval", "train::optimizer"),
    *("train::lr_scheduler::_target_", "train::lr_scheduler::gamma", "loss_function::weights"),
    *(f"train::multipliers::{name}" for name in ("growth", "decrease", "interval", "largest")),
)
_PRETRAINED = "pretrained"
_LACKING = (LookupError, TypeError)
_BY_DIMS = re.compile(r"\$\[([\w@, ]+)\]\[@dims\]")


def check_trained_alike(folders: Mapping[Experiment, Path]) -> None:
    """Refuses trainings of a dataset that differ in what no name says.

    Those on slices and those on patches are not compared, nor are the settings of two networks. What a
    configuration lacks, as one of an earlier version does, is not compared either.

    Args:
        folders: Of runs, or of what follows them.

    Raises:
        InputError: If two differ; it names both, and the first difference.
    """
    seen: dict[tuple[str, str, str], tuple[Path, dict[str, Any]]] = {}
    trainings = {RunFolder(folder).trained.path: one for one, folder in folders.items()}
    for path, one in trainings.items():
        for place, decided in _deciding(config_of(path), one.setup):
            first, expected = seen.setdefault((one.dataset, *place), (path, decided))
            unlike = differences(expected, decided)
            if unlike:
                raise InputError(
                    f"{path}: was trained otherwise than {first}, {first_of(unlike, most=1)}; train "
                    "both alike, or show them apart"
                )


def epochs_of(folders: Mapping[Experiment, Path]) -> list[int]:
    """For how many epochs these were trained, each number once."""
    configs = map(config_of, folders.values())
    return sorted({config["max_epochs"] for config in configs if "max_epochs" in config})


def _deciding(
    config: dict[str, Any], setup: Setup
) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
    """Each key that decides a training, behind those among whom it must be alike, and its values."""
    if isinstance(config.get(_PRETRAINED), str):  # a file of weights may be in another place
        config[_PRETRAINED] = Path(config[_PRETRAINED]).name
    chosen = config.get("network_def")
    own = chosen[1:] if isinstance(chosen, str) and chosen.startswith("@") else "network_def"
    scopes = {f"{setup.dims}": SHARED, setup.network: (own, _PRETRAINED)}
    for scope, keys in scopes.items():
        for key in keys:
            with suppress(*_LACKING):
                yield (scope, key), dict(leaves(_resolved(_at(config, key), config), key))


def _at(config: Mapping[str, Any], key: str) -> Any:
    return reduce(getitem, key.split("::"), config)


def _resolved(value: Any, config: Mapping[str, Any]) -> Any:
    """A value with what it refers to in place of the reference, and without descriptions.

    Nothing is evaluated: a record that somebody sent may hold any code.
    """
    if isinstance(value, dict):
        return {key: _resolved(part, config) for key, part in value.items() if key != "_desc_"}
    if isinstance(value, list):
        return [_resolved(part, config) for part in value]
    if isinstance(value, str) and (choices := _BY_DIMS.fullmatch(value)):
        value = choices[1].split(", ")[config["dims"]]
        value = int(value) if value.isdecimal() else value
    if isinstance(value, str) and value.startswith("@"):
        with suppress(*_LACKING):
            return _resolved(_at(config, value[1:]), config)
    return value
