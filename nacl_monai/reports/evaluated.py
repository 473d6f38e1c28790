"""Evaluated runs: all that an evaluation wrote about one run, under the name that tables show.

A cross-validation is the runs ``NAME_fold=0_seedN``, ``NAME_fold=1_seedN``, …; named without the fold,
``NAME_seedN``, it is read as one run over the test cases of all folds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from nacl_monai.errors import InputError
from nacl_monai.metrics import CalibrationBins
from nacl_monai.reports.evaluation_files import (
    REMEDY,
    CaseMap,
    RunBins,
    listed,
    read_bins,
    read_cases,
    read_map,
)
from nacl_monai.runs import RunFolder, fold_folders


@dataclass(frozen=True)
class Run:
    """One evaluated run under the name that tables and figures show.

    Attributes:
        name: The method, as shown.
        folder: The run's folder; that of a cross-validation, which need not exist, lacks the fold.
        metrics: One row per case (the index), one float column per metric; NaN is undefined.
        patients: The patient of each case; the case itself where the run does not say.
        bins: The bin sums, cases in the order of ``metrics``.
    """

    name: str
    folder: Path
    metrics: pd.DataFrame
    patients: pd.Series[str]
    bins: RunBins

    @property
    def unit(self) -> str:
        """What is resampled: "patients", or "cases" where nobody knows whose they are."""
        return "patients" if self.patients.name == "patient" else "cases"

    @property
    def cases(self) -> list[str]:
        """Names of the test cases."""
        return [str(case) for case in self.metrics.index]

    def read_map(self, case: str) -> CaseMap:
        """The stored slice of one case.

        Raises:
            InputError: If the file is missing or is not what it should be.
        """
        folders = folds_of(self.folder) or [self.folder]
        paths = [RunFolder(folder).evaluation.map_of(case) for folder in folders]
        return read_map(next((path for path in paths if path.is_file()), paths[0]))


def folds_of(folder: str | Path) -> list[Path]:
    """The runs of the cross-validation that ``folder`` names; none where it is an evaluated run."""
    folder = Path(folder)
    return [] if RunFolder(folder).evaluation.path.is_dir() else fold_folders(folder)


def read_run(folder: str | Path, name: str | None = None) -> Run:
    """Reads an evaluated run, or all folds of a cross-validation as one.

    Args:
        folder: The run's folder, or that of a cross-validation without the fold.
        name: What tables and figures call it; by default the folder's name.

    Raises:
        InputError: If a file or column is missing or cannot be read, or if folds do not fit together.
    """
    folder = Path(folder)
    name = folder.resolve().name if name is None else name
    folds = [_read_single(fold, name) for fold in folds_of(folder)]
    return _pooled(folder, name, folds) if folds else _read_single(folder, name)


def _read_single(folder: Path, name: str) -> Run:
    evaluation = RunFolder(folder).evaluation
    if not evaluation.path.is_dir():
        raise InputError(f"{folder}: no folder {evaluation.path.name!r} in this run; {REMEDY}")
    metrics, patients = read_cases(evaluation.cases)
    bins = read_bins(evaluation.bins)
    cases = [str(case) for case in metrics.index]
    if sorted(cases) != sorted(bins.cases):
        raise InputError(
            f"{bins.path}: its cases are not those of {evaluation.cases.name} "
            f"({_difference(bins.cases, cases)}); evaluate the run again"
        )
    return Run(name, folder, metrics, patients, bins.ordered(cases))


def _pooled(folder: Path, name: str, folds: Sequence[Run]) -> Run:
    """One run over the cases of all folds."""
    _check_folds(folds)
    arrays = [fold.bins.sums.arrays() for fold in folds]
    sums = {key: np.concatenate([parts[key] for parts in arrays]) for key in arrays[0]}
    return Run(
        name=name,
        folder=folder,
        metrics=pd.concat([fold.metrics for fold in folds]),
        patients=pd.concat([fold.patients for fold in folds]),
        bins=replace(
            folds[0].bins,
            cases=[case for fold in folds for case in fold.cases],
            sums=CalibrationBins.from_arrays(sums),
        ),
    )


def _check_folds(folds: Sequence[Run]) -> None:
    bins = folds[0].bins
    tested: set[str] = set()
    for fold in folds:
        if (fold.bins.regions, fold.bins.classes) != (bins.regions, bins.classes):
            raise InputError(
                f"{fold.bins.path}: its regions or classes are not those of {bins.path}; "
                "evaluate all folds alike"
            )
        for case in fold.cases:
            if case in tested:
                raise InputError(
                    f"{fold.folder}: case {case!r} is tested in another fold, too; "
                    "evaluate each fold on its own test cases"
                )
        tested.update(fold.cases)


def read_runs(folders: Sequence[str | Path], names: Sequence[str] | None = None) -> list[Run]:
    """Reads runs to compare: the same test cases, in the same order, under different names.

    Args:
        folders: As for `read_run`.
        names: One name per run; by default those of the folders.

    Raises:
        InputError: If a run cannot be read, or if the runs cannot be compared.
    """
    if names is not None and len(names) != len(folders):
        raise InputError(f"--names: {len(names)} names for {len(folders)} runs; give one per run")
    given: Sequence[str | None] = [None] * len(folders) if names is None else names
    runs = [read_run(folder, name) for folder, name in zip(folders, given, strict=True)]
    repeated = [name for name, times in Counter(run.name for run in runs).items() if times > 1]
    if repeated:
        raise InputError(f"two runs are called {repeated[0]!r}; tell them apart with --names")
    first = runs[0]
    for run in runs[1:]:
        if sorted(run.cases) != sorted(first.cases):
            raise InputError(
                f"{run.folder}: its test cases are not those of {first.folder} "
                f"({_difference(run.cases, first.cases)}); evaluate both on the same split"
            )
    return [_ordered(run, first.cases) for run in runs]


def _ordered(run: Run, cases: list[str]) -> Run:
    return replace(
        run,
        metrics=run.metrics.loc[cases],
        patients=run.patients.loc[cases],
        bins=run.bins.ordered(cases),
    )


def _difference(names: Sequence[str], others: Sequence[str]) -> str:
    extra, missing = sorted(set(names) - set(others)), sorted(set(others) - set(names))
    parts = [("only here: ", extra), ("missing here: ", missing)]
    return "; ".join(word + listed(names, most=3) for word, names in parts if names)
