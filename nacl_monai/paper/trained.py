"""How a run was trained: whether as its name says, by which tables know it, and with which seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nacl_monai.differences import differences, first_of
from nacl_monai.errors import InputError
from nacl_monai.files import read_object
from nacl_monai.menus import choose_loss
from nacl_monai.paper.grid import Experiment, Setup, read_name
from nacl_monai.paper.records import config_of
from nacl_monai.runs import RunFolder, short_name

# What every loss is given of a dataset with voxels that nobody labeled.
_OF_THE_DATASET = ("ignore_index", "@ignore_index")


def check_name(folder: Path, experiment: Experiment) -> None:
    """Refuses a run that was trained otherwise than its name says, where its configuration was kept.

    Args:
        folder: The folder of the run, or of what follows it.
        experiment: The experiment that the name says.

    Raises:
        InputError: If it is refused, or its configuration is damaged.
    """
    unlike = unlike_name(experiment, config_of(folder))
    if unlike:
        raise InputError(
            f"{RunFolder(folder).trained.path}: was trained otherwise than its name says, "
            f"{first_of(unlike)}; rename it <network>_<loss>[_<key>=<value>]_seed<n>, "
            "or move it away"
        )


def unlike_name(experiment: Experiment, config: Mapping[str, Any]) -> list[str]:
    """What a training did otherwise than its name says.

    Args:
        experiment: The experiment that the name says.
        config: The configuration that the run was trained with; what it lacks is not compared.

    Example:
        >>> from nacl_monai.paper.grid import read_name
        >>> named = read_name("acdc", "unet_nacl_seed0")
        >>> unlike_name(named, {"seed": 1, "loss": "@losses::nacl"})
        ['seed (0, now 1)']
    """
    loss, setup = experiment.method.loss, experiment.setup
    named = {
        "loss": loss,
        "network": setup.network,
        "train_fraction": setup.fraction,
        "fold": experiment.fold or 0,
        "seed": experiment.seed,
        **choose_loss(loss).settings,
        **dict(experiment.method.settings),
    }
    trained = {key: config[key] for key in ("train_fraction", "fold", "seed") if key in config}
    trained |= {
        key: value
        for key, value in config.get("losses", {}).get(loss, {}).items()
        if not key.startswith("_") and (key, value) != _OF_THE_DATASET
    }
    if "loss" in config:
        trained["loss"] = short_name(config["loss"])
    if "network_def" in config:
        trained["network"] = short_name(config["network_def"], config.get("dims", 2))
    return differences(named, named | trained)


def seeds_of(folder: Path, experiment: Experiment) -> set[int]:
    """The seed of a training, or those of all members of an ensemble.

    Raises:
        InputError: If an ensemble does not say which trainings these are.
    """
    if not experiment.method.joins_seeds:
        return {experiment.seed}
    file, remedy = RunFolder(folder).calibrator, "make it again"
    members = read_object(file, remedy).get("members") if file.is_file() else None
    if not members:
        raise InputError(f"{file}: does not name the trainings of the ensemble; {remedy}")
    return {read_name("", name).seed for name in members}


def common_seeds(experiments: Iterable[Experiment]) -> set[int]:
    """Seeds that each of some experiments, none of them an ensemble, was repeated with."""
    seeds: dict[Setup, set[int]] = {}
    for experiment in experiments:
        seeds.setdefault(experiment.setup, set()).add(experiment.seed)
    return set.intersection(*seeds.values()) if seeds else set()
