"""How runs were trained: as their names say, alike, in whole folds, and what a table says of them.

The configuration of a run is read as its record has it; nothing of it is evaluated, for a record that
somebody sent may hold any code. What a configuration lacks, as one of an earlier version does, is not
compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

from nacl_monai.errors import InputError
from nacl_monai.evaluations import Evaluated
from nacl_monai.files import read_object
from nacl_monai.menus import choose_loss, read_menu
from nacl_monai.paper.grid import Experiment, Setup, dataset_label, network_label, read_name
from nacl_monai.runs import RECORD_REMEDY, RunFolder, short_name
from nacl_monai.words import differences, first_of, leaves, of_today

#: What a configuration of another version raises, which lacks a key or has something else there.
LACKING = (LookupError, TypeError)
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
#: The remark on trainings that try the path.
TRIAL = "Trained for one epoch, to try the path: these numbers mean nothing."
_PRETRAINED = "pretrained"
_BY_DIMS = re.compile(r"\$\[([\w@, ]+)\]\[@dims\]")
# What every loss is given of a dataset with unlabeled voxels.
_OF_THE_DATASET = ("ignore_index", "@ignore_index")


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
    """A value with what it refers to in place of the reference, and without descriptions."""
    if isinstance(value, dict):
        return {key: resolved(part, config) for key, part in value.items() if key != "_desc_"}
    if isinstance(value, list):
        return [resolved(part, config) for part in value]
    return _resolved_text(value, config) if isinstance(value, str) else value


def _resolved_text(text: str, config: Mapping[str, Any]) -> Any:
    if choices := _BY_DIMS.fullmatch(text):
        text = choices[1].split(", ")[config["dims"]]
    if text.startswith("@"):
        with suppress(*LACKING):
            return resolved(value_at(config, text[1:]), config)
    return int(text) if choices and text.isdecimal() else text


def check_training(folder: Path, experiment: Experiment) -> None:
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
    """The settings of a training that contradict its name.

    Args:
        experiment: The experiment that the name says.
        config: The configuration that the run was trained with.

    Example:
        >>> from nacl_monai.paper.grid import read_name
        >>> named = read_name("acdc", "unet_nacl_seed0")
        >>> unlike_name(named, {"seed": 1, "loss": "@losses::nacl"})
        ['seed (0, now 1)']
    """
    loss, setup = experiment.method.loss, experiment.setup
    named: dict[str, Any] = {"loss": loss, "network": setup.network}
    named |= {"train_fraction": setup.fraction, "fold": experiment.fold or 0}
    named |= {"seed": experiment.seed, **choose_loss(loss).settings}
    named |= dict(experiment.method.settings)
    trained = {key: config[key] for key in ("train_fraction", "fold", "seed") if key in config}
    trained |= dict(
        of_today(key, value)
        for key, value in config.get("losses", {}).get(loss, {}).items()
        if not key.startswith("_") and (key, value) != _OF_THE_DATASET
    )
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
    """Seeds that each of some experiments was repeated with; ensembles, which have none, are skipped."""
    seeds: dict[Setup, set[int]] = {}
    for experiment in experiments:
        if not experiment.method.joins_seeds:
            seeds.setdefault(experiment.setup, set()).add(experiment.seed)
    return set.intersection(*seeds.values()) if seeds else set()


def check_trained_alike(folders: Mapping[Experiment, Path]) -> None:
    """Refuses trainings of a dataset that differ in what no name says.

    Trainings on slices and trainings on patches are not compared, nor are the settings of two networks.

    Args:
        folders: The folders of runs, or of what follows them.

    Raises:
        InputError: If two differ; it names both, and the first difference.
    """
    seen: dict[tuple[str, str, str], tuple[Path, dict[str, Any]]] = {}
    trainings = {RunFolder(path).trained.path: experiment for experiment, path in folders.items()}
    for path, experiment in trainings.items():
        for place, decided in _deciding(config_of(path), experiment.setup):
            first, expected = seen.setdefault((experiment.dataset, *place), (path, decided))
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


def check_folds(runs: Mapping[Experiment, Evaluated]) -> None:
    """Refuses trainings of unlike folds, and folds that share a patient.

    The folds of a cross-validation are parts of one training: together they test every patient once.

    Args:
        runs: The runs of a dataset; those without a fold are of the first.

    Raises:
        InputError: If one is refused.
    """
    folds: dict[tuple[Setup, int], list[int]] = {}
    for experiment in runs:
        folds.setdefault((experiment.setup, experiment.seed), []).append(experiment.fold or 0)
    every = list(range(1 + max(experiment.fold or 0 for experiment in runs)))
    tested: dict[str, int] = {}
    for experiment, evaluated in runs.items():
        own = sorted(folds[experiment.setup, experiment.seed])
        if own != every:
            raise InputError(
                f"{evaluated.folder}: its training has the folds {', '.join(map(str, own))}, but there "
                f"are {', '.join(map(str, every))}; evaluate each once, or move the training away"
            )
        fold = experiment.fold or 0
        for patient in evaluated.patients:
            if tested.setdefault(patient, fold) != fold:
                raise InputError(
                    f"{evaluated.folder}: patient {patient!r} is tested in another fold, too; train all "
                    "folds on the same data"
                )


def remarks(folders: Mapping[Experiment, Path]) -> list[str]:
    """Sentences on lengths and seeds that differ, on trials, and on networks unlike those of the menu.

    Args:
        folders: The folders of runs, or of what follows them.

    Raises:
        InputError: If the configuration of a run is damaged.
    """
    configs = {experiment: config_of(path) for experiment, path in folders.items()}
    datasets = list(dict.fromkeys(experiment.dataset for experiment in configs))
    several = len(datasets) > 1
    networks = (_network(experiment, config, several) for experiment, config in configs.items())
    seeds = (_seeds(dataset, configs, several) for dataset in datasets)
    return list(filter(None, [_lengths(configs.values()), *seeds, *dict.fromkeys(networks)]))


def first_heading(heading: str, remarks: Sequence[str]) -> str:
    """The first heading of a table, which says of a trial that it is one, wherever it is copied to."""
    return f"{heading} (trial: numbers mean nothing)" if TRIAL in remarks else heading


def _lengths(configs: Iterable[Mapping[str, Any]]) -> str:
    """The lengths in epochs, if they differ or are a trial's; else empty."""
    epochs = {config["max_epochs"] for config in configs if "max_epochs" in config}
    if epochs == {1}:
        return TRIAL
    *shorter, longest = map(str, sorted(epochs) or [0])
    return f"Trained for {', '.join(shorter)} or {longest} epochs." if shorter else ""


def _seeds(dataset: str, experiments: Iterable[Experiment], several: bool) -> str:
    """The remark that trainings on a dataset share no seed; empty if they share one."""
    alone = [
        experiment
        for experiment in experiments
        if experiment.dataset == dataset and not experiment.method.joins_seeds
    ]
    if not alone or common_seeds(alone):
        return ""
    where = f" on {dataset_label(dataset)}" if several else ""
    return f"The trainings{where} have no seed in common."


def _network(experiment: Experiment, config: Mapping[str, Any], several: bool) -> str:
    """How a network differs from the menu's entry of that name; empty where it does not."""
    setup, menu = experiment.setup, read_menu("networks")
    if setup.entry not in menu:
        return ""
    entry = menu[setup.entry]
    referred = {"dims": setup.dims, **config}
    with suppress(*LACKING):
        trained = resolved(value_at(config, f"networks::{setup.entry}"), referred)
        declared = resolved({"_target_": entry.target, **entry.settings}, referred)
        changes = ", ".join(_changes(declared, trained))
        where = f" ({dataset_label(experiment.dataset)})" if several else ""
        return f"{network_label(setup.network)}{where} with {changes}." if changes else ""
    return ""


def _changes(declared: Mapping[str, Any], trained: Any) -> Iterator[str]:
    """Each argument that is not as declared, with its value."""
    for key, value in trained.items() if isinstance(trained, Mapping) else ():
        expected = declared.get(key)
        if isinstance(value, Mapping) and isinstance(expected, Mapping):
            yield from _changes(expected, value)
        elif value != expected:
            yield f"{key} {value}"
