"""What a table or figure says of its trainings because no name does, such as their lengths."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from nacl_monai.menus import read_menu
from nacl_monai.paper.grid import Experiment
from nacl_monai.paper.names import dataset_label, network_label
from nacl_monai.paper.records import LACKING, config_of, resolved, value_at
from nacl_monai.paper.trained import common_seeds


def remarks(folders: Mapping[Experiment, Path]) -> list[str]:
    """Sentences on lengths that differ, seeds that differ and networks that are not as in the menu.

    Keys that a configuration lacks, as one of an earlier version does, are not compared.

    Args:
        folders: The folders of runs, or of what follows them.

    Raises:
        InputError: If the configuration of a run is damaged.
    """
    configs = {one: config_of(path) for one, path in folders.items()}
    epochs = {config["max_epochs"] for config in configs.values() if "max_epochs" in config}
    *others, longest = map(str, sorted(epochs) or [0])
    lengths = [f"Trained for {', '.join(others)} or {longest} epochs."] if others else []
    several = len({one.dataset for one in configs}) > 1
    networks = (_network(one, config, several) for one, config in configs.items())
    return [*lengths, *_unlike_seeds(folders, several), *filter(None, dict.fromkeys(networks))]


def _unlike_seeds(experiments: Iterable[Experiment], several: bool) -> Iterator[str]:
    """A remark on each dataset whose means are over different seeds."""
    by_dataset: dict[str, list[Experiment]] = {}
    for experiment in experiments:
        if not experiment.method.joins_seeds:
            by_dataset.setdefault(experiment.dataset, []).append(experiment)
    for dataset, found in by_dataset.items():
        if not common_seeds(found):
            where = f" on {dataset_label(dataset)}" if several else ""
            yield f"The trainings{where} have no seed in common."


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
