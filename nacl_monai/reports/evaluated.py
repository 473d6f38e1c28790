"""Evaluated runs: all that an evaluation wrote about one run, under the name that tables show.

A cross-validation is the runs ``NAME_fold=0_seedN``, ``NAME_fold=1_seedN``, …; named without the fold,
``NAME_seedN``, it is read as one run over the test cases of all folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from nacl_monai.errors import InputError
from nacl_monai.reports.checked import Evaluated, check_alike, read_evaluated
from nacl_monai.reports.consistency import recomputed
from nacl_monai.reports.evaluation_files import (
    REMEDY,
    CaseMap,
    evaluation_in,
    first_repeated,
    read_map,
)
from nacl_monai.reports.evaluation_record import AUDITED, EvaluationOf
from nacl_monai.reports.run_bins import RunBins
from nacl_monai.runs import fold_folder, fold_folders


@dataclass(frozen=True)
class Run(Evaluated):
    """One evaluated run under the name that tables and figures show.

    Its folder, that of a cross-validation, need not exist: it lacks the fold.

    Attributes:
        name: The method, as shown.
        bins: The bin sums, cases in the order of ``metrics``.
    """

    name: str
    bins: RunBins

    @property
    def audited(self) -> bool:
        """Whether it is an audit of saved predictions, which knows no images."""
        return self.of.set == AUDITED

    def read_map(self, case: str) -> CaseMap:
        """The stored slice of one case.

        Raises:
            InputError: If the file is missing or is not what it should be.
        """
        folders = folds_of(self.folder) or [self.folder]
        paths = [evaluation_in(folder).map_of(case) for folder in folders]
        return read_map(next((path for path in paths if path.is_file()), paths[0]))


def run_of_bins(bins: RunBins, name: str, cases: str = AUDITED) -> Run:
    """What bins alone say of a run: the errors that follow from them.

    Args:
        bins: In memory, or from a file.
        name: What tables and figures call it.
        cases: The set of the split that was measured, or a word for it.
    """
    index = pd.Index(bins.cases, name="case")
    known = bins.patients is not None
    patients = pd.Series(bins.patients or bins.cases, index, name="patient" if known else "case")
    return Run(bins.path.parent, recomputed(bins), patients, bins, EvaluationOf(cases, {}), name)


def folds_of(folder: str | Path) -> list[Path]:
    """The runs of the cross-validation that ``folder`` names; none where it is an evaluated run."""
    folder = Path(folder)
    return [] if evaluation_in(folder).path.is_dir() else fold_folders(folder)


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
    evaluation = evaluation_in(folder)
    if not evaluation.path.is_dir():
        raise InputError(f"{folder}: no folder {evaluation.path.name!r} in this run; {REMEDY}")
    found = read_evaluated(folder)
    if found.bins is None:
        raise InputError(f"{evaluation.bins}: no such file; {REMEDY}")
    return Run(found.folder, found.metrics, found.patients, found.bins, found.of, name)


def _pooled(folder: Path, name: str, folds: Sequence[Run]) -> Run:
    """One run over the cases of all folds."""
    _check_complete(folder, folds)
    _check_folds(folds)
    return Run(
        name=name,
        folder=folder,
        metrics=pd.concat([fold.metrics for fold in folds]),
        patients=pd.concat([fold.patients for fold in folds]),
        bins=folds[0].bins.joined([fold.bins for fold in folds[1:]]),
        of=folds[0].of,
    )


def _check_complete(folder: Path, folds: Sequence[Run]) -> None:
    """Refuses folds among which one is missing; how many come after the last one nobody says."""
    there = [fold.folder for fold in folds]
    numbered = (fold_folder(folder, number) for number in range(len(folds)))
    missing = next((fold for fold in numbered if fold not in there), None)
    if missing is not None:
        raise InputError(
            f"{missing}: no such fold, and {there[-1].name} is there; train and evaluate all folds"
        )


def _check_folds(folds: Sequence[Run]) -> None:
    tested: set[str] = set()
    for fold in folds:
        check_alike(folds[0], fold, same_cases=False)
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
    given: Sequence[str | None] = names or [None] * len(folders)
    runs = [read_run(folder, name) for folder, name in zip(folders, given, strict=True)]
    repeated = first_repeated([run.name for run in runs])
    if repeated is not None:
        raise InputError(f"two runs are called {repeated!r}; tell them apart with --names")
    first = runs[0]
    for run in runs[1:]:
        check_alike(first, run)
    return [_ordered(run, first.cases) for run in runs]


def _ordered(run: Run, cases: list[str]) -> Run:
    return replace(
        run,
        metrics=run.metrics.loc[cases],
        patients=run.patients.loc[cases],
        bins=run.bins.ordered(cases),
    )
