"""Trainings shown side by side differ in nothing but what their names say and in their length."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from nacl_monai.differences import differences, first_of, leaves
from nacl_monai.errors import InputError
from nacl_monai.paper.grid import Experiment, Setup
from nacl_monai.paper.records import LACKING, config_of, resolved, value_at
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


def check_trained_alike(folders: Mapping[Experiment, Path]) -> None:
    """Refuses trainings of a dataset that differ in what no name says.

    Those on slices and those on patches are not compared, nor are the settings of two networks. What a
    configuration lacks, as one of an earlier version does, is not compared either.

    Args:
        folders: The folders of runs, or of what follows them.

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
            with suppress(*LACKING):
                yield (scope, key), dict(leaves(resolved(value_at(config, key), config), key))
