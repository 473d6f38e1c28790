"""The runs of a grid, found by their names, and their cases in one table."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from nacl_monai.errors import InputError
from nacl_monai.grid import DATA_SETS, TARGETS, Cell, Method, read_name
from nacl_monai.reports.runs import read_cases


@dataclass(frozen=True)
class Results:
    """Evaluated cells of the grid.

    Attributes:
        folders: the run's folder of each cell, in the order of tables and figures.
    """

    folders: Mapping[Cell, Path]

    @property
    def data_sets(self) -> list[str]:
        """Data sets that have a run."""
        return list(dict.fromkeys(cell.data_set for cell in self.folders))

    @property
    def methods(self) -> list[Method]:
        """Methods that have a run."""
        return list(dict.fromkeys(cell.method for cell in self.folders))

    @property
    def networks(self) -> list[str]:
        """Networks that have a run."""
        return list(dict.fromkeys(cell.network for cell in self.folders))

    @property
    def seeds(self) -> list[int]:
        """Seeds that have a run."""
        return sorted({cell.seed for cell in self.folders})

    def cases(self, data_set: str) -> pd.DataFrame:
        """The test cases of every run of a data set.

        Returns:
            One row per run and case. Columns: ``method``, ``network``, ``fraction`` of the training
            patients, ``fold``, ``seed``, ``case``, ``patient``, and each metric.
        """
        return pd.concat(
            [
                _labelled(cell, folder)
                for cell, folder in self.folders.items()
                if cell.data_set == data_set
            ],
            ignore_index=True,
        )

    def select(
        self,
        target: str,
        *,
        data_sets: Collection[str] = (),
        losses: Collection[str] = (),
        seeds: Collection[int] = (),
    ) -> Results:
        """The cells that a table or figure shows.

        An ablation shows the data sets on which something was varied, not those that have nothing
        but the main experiment's runs. Where some runs of a data set have more seeds than others, those
        that they have in common count, so that no mean is steadier than its neighbour's.

        Args:
            target: a key of `nacl_monai.grid.TARGETS`.
            data_sets: only these; by default all.
            losses: only these; by default all.
            seeds: only these; by default all.

        Raises:
            InputError: no run is left.
        """
        of = TARGETS[target]
        kept = {
            cell: folder
            for cell, folder in self.folders.items()
            if cell.method in of.methods
            and cell.network in of.networks
            and _fraction(cell) in of.fractions
            and (not data_sets or cell.data_set in data_sets)
            and (not losses or cell.method.loss in losses)
            and (not seeds or cell.seed in seeds)
        }
        main = {(method, "unet", 1.0) for method in TARGETS["table1"].methods}
        if {(m, n, f) for m in of.methods for n in of.networks for f in of.fractions} - main:
            varied = {cell.data_set for cell in kept if _experiment(cell) not in main}
            kept = {cell: folder for cell, folder in kept.items() if cell.data_set in varied}
        if not kept:
            raise InputError(f"{target}: none of its runs was found; run `make {target}`")
        common = {name: _common_seeds(kept, name) for name in {cell.data_set for cell in kept}}
        kept = {cell: folder for cell, folder in kept.items() if cell.seed in common[cell.data_set]}
        order = {method: k for k, method in enumerate(of.methods)}
        return Results(dict(sorted(kept.items(), key=lambda item: order[item[0].method])))


def read_results(roots: Sequence[str | Path]) -> Results:
    """Finds the evaluated runs below some folders; folders whose names are no cell's are left out.

    Raises:
        InputError: there is no run, or one stands in two places.
    """
    folders: dict[Cell, Path] = {}
    for folder in (folder for root in roots for folder in _run_folders(Path(root))):
        try:
            cell = read_name(_data_set(folder), folder.name)
        except InputError:
            continue
        if cell in folders:
            raise InputError(f"{folder}: the same run as {folders[cell]}; name one of the folders")
        folders[cell] = folder
    if not folders:
        raise InputError(
            f"{', '.join(map(str, roots))}: no evaluated run below; expected "
            "<network>_<loss>_seed<n>/evaluation/cases.csv, which `make evaluate` writes"
        )
    order = {name: k for k, name in enumerate(DATA_SETS)}
    return Results(
        dict(
            sorted(
                folders.items(),
                key=lambda item: (order.get(item[0].data_set, len(order)), item[0].name),
            )
        )
    )


def _run_folders(root: Path) -> Iterator[Path]:
    return (path.parent.parent for path in sorted(root.rglob("evaluation/cases.csv")))


def _data_set(folder: Path) -> str:
    path = folder / "evaluation" / "summary.json"
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["data_set"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: does not name its data_set; evaluate the run again") from error


def _common_seeds(cells: Collection[Cell], data_set: str) -> set[int]:
    """Seeds that every experiment of a data set has; all that there are, if they share none."""
    seeds: dict[tuple[Method, str, float], set[int]] = {}
    for cell in cells:
        if cell.data_set == data_set:
            seeds.setdefault(_experiment(cell), set()).add(cell.seed)
    return set.intersection(*seeds.values()) or set.union(*seeds.values())


def _experiment(cell: Cell) -> tuple[Method, str, float]:
    """What a cell is on any data set; seeds and folds repeat it."""
    return cell.method, cell.network, _fraction(cell)


def _fraction(cell: Cell) -> float:
    return float(dict(cell.settings).get("train_fraction", 1.0))


def _labelled(cell: Cell, folder: Path) -> pd.DataFrame:
    metrics, patients = read_cases(folder / "evaluation" / "cases.csv")
    table = metrics.reset_index(names="case")
    labels: dict[str, str | float] = {
        "method": cell.method.name,
        "network": cell.network,
        "fraction": _fraction(cell),
        "fold": dict(cell.settings).get("fold", 0),
        "seed": cell.seed,
    }
    table.insert(1, "patient", patients.to_numpy())
    return pd.concat([pd.DataFrame(labels, index=table.index), table], axis=1)
