"""The runs of a grid, found by their names, and their cases in one table.

A structure that label or prediction lacks is scored by our conventions or by the authors':

================================ ====================== ==========================
                                 project                authors' code
================================ ====================== ==========================
the label lacks the structure    undefined, left out    DSC 1 and HD95 0
the prediction alone lacks it    DSC 0, HD95 diagonal   DSC 0 and HD95 0
================================ ====================== ==========================

CECE differs as well, in a way that no table of cases can undo (see docs/differences.md).
"""

from __future__ import annotations

import atexit
import lzma
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from nacl_monai.errors import InputError
from nacl_monai.evaluations import Evaluated, Run, check_alike, read_runs, read_tested
from nacl_monai.evaluations.evaluation_files import SUMMARY
from nacl_monai.files import read_checked
from nacl_monai.inference.records import fault_in
from nacl_monai.paper.grid import (
    PAPER_DATASETS,
    PAPER_NETWORKS,
    Experiment,
    Grid,
    Method,
    admits,
    method_label,
    read_name,
)
from nacl_monai.paper.trainings import (
    check_folds,
    check_trained_alike,
    check_training,
    common_seeds,
    seeds_of,
)
from nacl_monai.runs import RunFolder

Score = Callable[[pd.DataFrame, Path], pd.DataFrame]


@dataclass(frozen=True)
class Conventions:
    """How absent structures are scored.

    Attributes:
        score: From the metrics in ``cases.csv``, and that file's path, to those by these conventions.
        alike: The metrics that are comparable with the paper's numbers.
    """

    score: Score
    alike: frozenset[str]


def as_authors(metrics: pd.DataFrame, path: Path) -> pd.DataFrame:
    """DSC and HD95 as the authors' code scores them, all else as it is.

    A prediction is empty where its DSC is 0 and its expected DSC is not above 0: wherever a voxel is
    predicted, its probability counts.

    Args:
        metrics: One row per case, the columns of ``cases.csv``.
        path: The file that they are from.

    Raises:
        InputError: If a DSC is 0 in an evaluation that expects none, so that nobody knows whether the
            prediction is empty or elsewhere.

    Example:
        >>> cases = pd.DataFrame({"dice_LV": [0.8, None], "hd95_LV": [2.0, None]})
        >>> as_authors(cases, Path("cases.csv"))[["dice", "hd95"]].values.tolist()
        [[0.8, 2.0], [1.0, 0.0]]
    """
    scored = metrics.copy()
    names = [str(name).removeprefix("dice_") for name in metrics if str(name).startswith("dice_")]
    if not names:
        return scored
    for name in names:
        dice, expected = metrics[f"dice_{name}"], metrics.get(f"expected_dice_{name}")
        wrong = dice == 0
        if wrong.any() and expected is None:
            raise InputError(
                f"{path}: dice_{name} of case {wrong.idxmax()!r} is 0, and no expected_dice_{name} "
                "says whether anything was predicted; evaluate the run again"
            )
        missed = wrong if expected is None else wrong & ~(expected > 0)
        scored[f"dice_{name}"] = dice.mask(dice.isna(), 1.0)
        scored[f"hd95_{name}"] = metrics[f"hd95_{name}"].mask(dice.isna() | missed, 0.0)
    for metric in ("dice", "hd95"):
        scored[metric] = scored[[f"{metric}_{name}" for name in names]].mean(axis=1)
    return scored


#: Those of an evaluation.
PROJECT = "project"
#: By the word of ``--conventions``.
CONVENTIONS = {
    PROJECT: Conventions(lambda metrics, _: metrics, frozenset({"ece_foreground"})),
    "authors": Conventions(as_authors, frozenset({"dice", "hd95", "ece_foreground"})),
}


#: The end of the name of an archive of runs.
ARCHIVE = ".tar.xz"


class NothingToShow(InputError):
    """There is no run that a table or figure is made of, or none with the scores that it shows."""


@dataclass(frozen=True)
class Results:
    """Evaluated experiments of the grid.

    Attributes:
        folders: The run's folder of each experiment, in the order of tables and figures.
        conventions: How absent structures are scored, a key of `CONVENTIONS`.
        evaluated: What was read so far; selections share it, so that each run is read once.
    """

    folders: Mapping[Experiment, Path]
    conventions: str = PROJECT
    evaluated: dict[Path, Evaluated] = field(default_factory=dict, compare=False, repr=False)

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
        return list(dict.fromkeys(experiment.setup.network for experiment in self.folders))

    @property
    def seeds(self) -> list[int]:
        """Seeds that have a run."""
        return sorted({experiment.seed for experiment in self.folders})

    def cases(self, dataset: str) -> pd.DataFrame:
        """The test cases of every run of a dataset.

        Returns:
            One row per run and case. Columns: ``method``, ``network``, ``fraction`` of the training
            patients, ``fold``, ``seed``, ``case``, ``patient``, and each metric.

        Raises:
            InputError: If a run cannot be read, or if they cannot be compared.
        """
        runs = {
            experiment: self._read(folder)
            for experiment, folder in self.folders.items()
            if experiment.dataset == dataset
        }
        _check_comparable(runs)
        score = CONVENTIONS[self.conventions].score
        return pd.concat([_labeled(*item, score) for item in runs.items()], ignore_index=True)

    def _read(self, folder: Path) -> Evaluated:
        if folder not in self.evaluated:
            self.evaluated[folder] = read_tested(folder)
        return self.evaluated[folder]

    def select(
        self,
        grid: Grid,
        *,
        datasets: Collection[str] = (),
        losses: Collection[str] = (),
        seeds: Collection[int] = (),
    ) -> Results:
        """The experiments of a grid; there may be none.

        An ablation, which is not of all main experiments, shows the datasets on which something was
        varied, not those that have nothing but the runs of the main tables. Where some runs of a
        dataset have more seeds than others, those that they have in common count, so that no mean is
        steadier than its neighbor's; an ensemble counts where it is of these trainings.

        Args:
            grid: The grid of a table or figure.
            datasets: Only these; by default all.
            losses: Only these; by default all.
            seeds: Only these; by default all.

        Raises:
            InputError: If two of a dataset were trained otherwise than their names say.
        """
        setups = set(grid.setups)
        chosen = self._kept(
            lambda experiment: (
                experiment.setup in setups
                and admits(datasets, experiment.dataset)
                and admits(losses, experiment.method.loss)
                and admits(seeds, experiment.seed)
            )
        )
        fair = chosen._where_shown(grid)._with_common_seeds()
        check_trained_alike(fair.folders)
        order = {method: k for k, method in enumerate(grid.methods)}
        ordered = sorted(fair.folders.items(), key=lambda item: order[item[0].method])
        return replace(self, folders=dict(ordered))

    def _kept(self, keep: Callable[[Experiment], bool]) -> Results:
        kept = {key: folder for key, folder in self.folders.items() if keep(key)}
        return replace(self, folders=kept)

    def _where_shown(self, grid: Grid) -> Results:
        """The datasets on which an ablation varied something."""
        shown = {
            dataset
            for dataset in self.datasets
            if grid.is_shown_by(
                [experiment.setup for experiment in self.folders if experiment.dataset == dataset]
            )
        }
        return self._kept(lambda experiment: experiment.dataset in shown)

    def _with_common_seeds(self) -> Results:
        """The seeds that the experiments of a dataset have in common, and the ensembles of all these."""
        common = {}
        for dataset in self.datasets:
            trained = [experiment for experiment in self.folders if experiment.dataset == dataset]
            seeds = {experiment.seed for experiment in trained if not experiment.method.joins_seeds}
            common[dataset] = common_seeds(trained) or seeds  # all, where they share none

        def counts(experiment: Experiment) -> bool:
            seeds = seeds_of(self.folders[experiment], experiment)
            shown = common[experiment.dataset]
            return seeds == shown if experiment.method.joins_seeds else seeds <= shown

        return self._kept(counts)


def _check_comparable(runs: Mapping[Experiment, Evaluated]) -> None:
    """All runs of a dataset are measured alike, and those of a fold on the same cases."""
    first: dict[int, Evaluated] = {}
    for experiment, evaluated in runs.items():
        check_alike(next(iter(runs.values())), evaluated, same_cases=False)
        check_alike(first.setdefault(experiment.fold or 0, evaluated), evaluated)
    check_folds(runs)


def read_results(roots: Sequence[str | Path], conventions: str = PROJECT) -> Results:
    """Finds the evaluated runs below some folders; other folders are left out.

    Args:
        roots: Folders of runs, at any depth, and archives that ``nacl-monai paper collect`` wrote.
        conventions: How absent structures are scored, a key of `CONVENTIONS`.

    Raises:
        InputError: If there is no run, if one is there twice, if one was trained otherwise than its
            name says, or if an archive is damaged.
    """
    folders: dict[Experiment, Path] = {}
    for folder in (folder for root in roots for folder in _run_folders(unpacked(Path(root)))):
        try:
            experiment = _experiment(folder)
        except InputError:
            continue
        check_training(folder, experiment)
        experiment = replace(experiment, dataset=_dataset(folder))
        if experiment in folders:
            raise InputError(
                f"{folder}: the same run as {folders[experiment]}; name one of the folders"
            )
        folders[experiment] = folder
    if not folders:
        pattern = RunFolder(Path("<network>_<loss>_seed<n>")).evaluation.cases
        raise InputError(
            f"{', '.join(map(str, roots))}: no evaluated run below; expected {pattern}, "
            "which `make evaluate` writes"
        )
    return Results(dict(sorted(folders.items(), key=lambda item: _order(item[0]))), conventions)


def unpacked(root: Path) -> Path:
    """A folder of runs as it is; an archive of them in a temporary folder, which ends with the process.

    Raises:
        InputError: If the archive is damaged.
    """
    if not root.name.endswith(ARCHIVE):
        return root
    folder = Path(tempfile.mkdtemp(prefix="nacl_runs_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    try:
        with tarfile.open(root) as archive:
            archive.extractall(folder, filter="data")
    except FileNotFoundError as error:
        raise InputError(f"{root}: no such file; name a folder of runs, or an archive") from error
    except (tarfile.TarError, lzma.LZMAError, EOFError, OSError) as error:
        raise InputError(f"{root}: cannot be unpacked ({error}); fetch it again") from error
    return folder


def first_runs(results: Results, dataset: str) -> list[Run]:
    """One run per method, of the first seed, fold, network and fraction, under the method's label.

    Raises:
        InputError: If a run cannot be read, or if they cannot be compared.
    """

    def place(experiment: Experiment) -> tuple[object, ...]:
        other = experiment.setup.network != PAPER_NETWORKS[0]
        return other, experiment.seed, [str(value) for value in experiment.settings.values()]

    labeled: dict[str, list[Experiment]] = {}
    for experiment in results.folders:
        if experiment.dataset == dataset:
            labeled.setdefault(method_label(experiment.method), []).append(experiment)
    chosen = [results.folders[min(experiments, key=place)] for experiments in labeled.values()]
    return read_runs(chosen, list(labeled))


def _order(experiment: Experiment) -> tuple[int, str, str]:
    """The paper's datasets in its order, then others by their name."""
    known = experiment.dataset in PAPER_DATASETS
    place = PAPER_DATASETS.index(experiment.dataset) if known else len(PAPER_DATASETS)
    return place, experiment.dataset, "+".join([experiment.name, *experiment.method.after])


def _run_folders(root: Path) -> Iterator[Path]:
    """Folders at or below ``root`` that hold an evaluation, those behind links, too.

    A link to a folder of its own path is not followed: such a search would never end.
    """

    def leads_up(folder: Path) -> bool:
        return folder.is_symlink() and any(map(folder.samefile, folder.parents))

    for name, below, _ in os.walk(root, followlinks=True):
        folder = Path(name)
        below[:] = sorted(part for part in below if not leads_up(folder / part))
        if RunFolder(folder).evaluation.cases.is_file():
            yield folder


def _experiment(folder: Path) -> Experiment:
    """The experiment that a folder's name says, of a dataset that only its files say.

    Raises:
        InputError: If it is not one.
    """
    run = RunFolder(folder)
    trained = run.trained
    experiment = read_name("", trained.path.name)
    after = () if trained is run else (folder.name,)
    method = replace(experiment.method, after=(*experiment.method.after, *after))
    return replace(experiment, setup=replace(experiment.setup, method=method))


def _dataset(folder: Path) -> str:
    path, fault = RunFolder(folder).evaluation.summary, partial(fault_in, table=SUMMARY)
    return str(read_checked(path, fault, "evaluate the run again")["dataset"])


def _labeled(experiment: Experiment, evaluated: Evaluated, score: Score) -> pd.DataFrame:
    """The cases of a run behind what the run is."""
    cases = RunFolder(evaluated.folder).evaluation.cases
    table = score(evaluated.metrics, cases).reset_index(names="case")
    setup = experiment.setup
    labels: dict[str, Any] = {"method": experiment.method.name, "network": setup.network}
    labels |= {"fraction": setup.fraction, "fold": experiment.fold or 0, "seed": experiment.seed}
    table.insert(1, "patient", evaluated.patients.to_numpy())
    return pd.concat([pd.DataFrame(labels, index=table.index), table], axis=1)
