"""The runs of a grid, found by their names, and their cases in one table."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from nacl_monai.errors import InputError
from nacl_monai.paper.grid import DATASETS, TARGETS, Experiment, Method, read_name
from nacl_monai.reports import read_cases


@dataclass(frozen=True)
class Results:
    """Evaluated experiments of the grid.

    Attributes:
        folders: the run's folder of each experiment, in the order of tables and figures.
    """

    folders: Mapping[Experiment, Path]

    @property
    def datasets(self) -> list[str]:
        """Datasets that have a run."""
        return list(dict.fromkeys(experiment.dataset for experiment in self.folders))

    @property
    def methods(self) -> list[Method]:
        """Methods that have a run."""
        return list(dict.fromkeys(experiment.method for experiment in self.folders))

    @property
    def networks(self) -> list[str]:
        """Networks that have a run."""
        return list(dict.fromkeys(experiment.network for experiment in self.folders))

    @property
    def seeds(self) -> list[int]:
        """Seeds that have a run."""
        return sorted({experiment.seed for experiment in self.folders})

    def cases(self, dataset: str) -> pd.DataFrame:
        """The test cases of every run of a dataset.

        Returns:
            One row per run and case. Columns: ``method``, ``network``, ``fraction`` of the training
            patients, ``fold``, ``seed``, ``case``, ``patient``, and each metric.
        """
        return pd.concat(
            [
                _labeled(experiment, folder)
                for experiment, folder in self.folders.items()
                if experiment.dataset == dataset
            ],
            ignore_index=True,
        )

    def select(
        self,
        target: str,
        *,
        datasets: Collection[str] = (),
        losses: Collection[str] = (),
        seeds: Collection[int] = (),
    ) -> Results:
        """The experiments that a table or figure shows.

        An ablation shows the datasets on which something was varied, not those that have nothing
        but the main experiment's runs. Where some runs of a dataset have more seeds than others, those
        that they have in common count, so that no mean is steadier than its neighbor's.

        Args:
            target: a key of `nacl_monai.paper.grid.TARGETS`.
            datasets: only these; by default all.
            losses: only these; by default all.
            seeds: only these; by default all.

        Raises:
            InputError: no run is left.
        """
        of = TARGETS[target]
        kept = {
            experiment: folder
            for experiment, folder in self.folders.items()
            if experiment.method in of.methods
            and experiment.network in of.networks
            and _fraction(experiment) in of.fractions
            and (not datasets or experiment.dataset in datasets)
            and (not losses or experiment.method.loss in losses)
            and (not seeds or experiment.seed in seeds)
        }
        main = {(method, "unet", 1.0) for method in TARGETS["table1"].methods}
        if {(m, n, f) for m in of.methods for n in of.networks for f in of.fractions} - main:
            varied = {experiment.dataset for experiment in kept if _setup(experiment) not in main}
            kept = {
                experiment: folder
                for experiment, folder in kept.items()
                if experiment.dataset in varied
            }
        if not kept:
            raise InputError(f"{target}: none of its runs was found; run `make {target}`")
        common = {
            name: _common_seeds(kept, name) for name in {experiment.dataset for experiment in kept}
        }
        kept = {
            experiment: folder
            for experiment, folder in kept.items()
            if experiment.seed in common[experiment.dataset]
        }
        order = {method: k for k, method in enumerate(of.methods)}
        return Results(dict(sorted(kept.items(), key=lambda item: order[item[0].method])))


def read_results(roots: Sequence[str | Path]) -> Results:
    """Finds the evaluated runs below some folders; folders whose names are no experiment's are left out.

    Raises:
        InputError: there is no run, or one stands in two places.
    """
    folders: dict[Experiment, Path] = {}
    for folder in (folder for root in roots for folder in _run_folders(Path(root))):
        try:
            experiment = read_name(_dataset(folder), folder.name)
        except InputError:
            continue
        if experiment in folders:
            raise InputError(
                f"{folder}: the same run as {folders[experiment]}; name one of the folders"
            )
        folders[experiment] = folder
    if not folders:
        raise InputError(
            f"{', '.join(map(str, roots))}: no evaluated run below; expected "
            "<network>_<loss>_seed<n>/evaluation/cases.csv, which `make evaluate` writes"
        )
    order = {name: k for k, name in enumerate(DATASETS)}
    return Results(
        dict(
            sorted(
                folders.items(),
                key=lambda item: (order.get(item[0].dataset, len(order)), item[0].name),
            )
        )
    )


def _run_folders(root: Path) -> Iterator[Path]:
    return (path.parent.parent for path in sorted(root.rglob("evaluation/cases.csv")))


def _dataset(folder: Path) -> str:
    path = folder / "evaluation" / "summary.json"
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["dataset"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: does not name its dataset; evaluate the run again") from error


def _common_seeds(experiments: Collection[Experiment], dataset: str) -> set[int]:
    """Seeds that every experiment of a dataset has; all that there are, if they share none."""
    seeds: dict[tuple[Method, str, float], set[int]] = {}
    for experiment in experiments:
        if experiment.dataset == dataset:
            seeds.setdefault(_setup(experiment), set()).add(experiment.seed)
    return set.intersection(*seeds.values()) or set.union(*seeds.values())


def _setup(experiment: Experiment) -> tuple[Method, str, float]:
    """What an experiment is on any dataset; seeds and folds repeat it."""
    return experiment.method, experiment.network, _fraction(experiment)


def _fraction(experiment: Experiment) -> float:
    return float(dict(experiment.settings).get("train_fraction", 1.0))


def _labeled(experiment: Experiment, folder: Path) -> pd.DataFrame:
    metrics, patients = read_cases(folder / "evaluation" / "cases.csv")
    table = metrics.reset_index(names="case")
    labels: dict[str, str | float] = {
        "method": experiment.method.name,
        "network": experiment.network,
        "fraction": _fraction(experiment),
        "fold": dict(experiment.settings).get("fold", 0),
        "seed": experiment.seed,
    }
    table.insert(1, "patient", patients.to_numpy())
    return pd.concat([pd.DataFrame(labels, index=table.index), table], axis=1)
