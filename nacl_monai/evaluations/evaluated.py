"""Evaluated runs and audits: all that was written about one, read with every check that its files allow.

A cross-validation is the runs ``NAME_fold=0_seedN``, ``NAME_fold=1_seedN``, …; named without the fold,
``NAME_seedN``, it is read as one run over the test cases of all folds. An audit of several raters has a
folder with an audit against each.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from nacl_monai.errors import InputError
from nacl_monai.evaluations.evaluation_files import (
    AUDITED,
    EvaluationOf,
    evaluation_in,
    read_cases,
    read_evaluation_of,
)
from nacl_monai.evaluations.slices import CaseMap, read_map
from nacl_monai.evaluations.statistics import Estimate, estimate
from nacl_monai.metrics.columns import limits_of
from nacl_monai.metrics.pooled import Pooled
from nacl_monai.metrics.record import REMEDY, Record, read_record
from nacl_monai.runs import EvaluationFolder, fold_folder, fold_folders
from nacl_monai.words import counted, differences, first_of, first_repeated, listed

#: The folder of an audit in which those against each rater are.
RATERS = "raters"
#: An interval over fewer patients says little.
FEW = 10
#: So many of the worst cases are drawn, where there are maps.
DRAWN = 3
#: The regions whose errors are listed per class, and that of the worst cases: the first that is there.
PREFERRED = ("near", "union", "foreground", "all")
# Files hold six decimals.
_TOLERANCE = 2e-6


def few_text(number: int, unit: str) -> str:
    """The caution beside an interval over few patients, with a blank before it; else empty.

    Example:
        >>> few_text(9, "patient"), few_text(10, "patient")
        (' Only 9 patients: too few to say much.', '')
    """
    return f" Only {counted(number, unit)}: too few to say much." * (number < FEW)


@dataclass(frozen=True)
class Evaluated:
    """The evaluation of a run.

    Attributes:
        folder: The run's folder.
        metrics: One row per case (the index), one float column per metric; NaN is undefined.
        patients: The patient of each case; the case itself where the run does not say.
        bins: The bin sums, cases in the order of ``metrics``; None where only the cases were kept.
        scope: The set that was evaluated, and how.
    """

    folder: Path
    metrics: pd.DataFrame
    patients: pd.Series[str]
    bins: Record | None
    scope: EvaluationOf

    @property
    def cases(self) -> list[str]:
        """Names of the cases."""
        return [str(case) for case in self.metrics.index]

    @property
    def unit(self) -> str:
        """The unit of resampling, "patients", or "cases" if patients are unknown."""
        return "patients" if self.patients.name == "patient" else "cases"

    @property
    def caution(self) -> str:
        """The caution beside intervals over very few patients; else empty."""
        return few_text(self.patients.nunique(), self.unit.removesuffix("s")).strip()

    @cached_property
    def _of_patients(self) -> pd.DataFrame:
        """The mean of each patient in every column of ``metrics``."""
        return self.metrics.groupby(self.patients.to_numpy()).mean()

    def mean(
        self, values: str | pd.Series[float], limits: tuple[float, float] = (-np.inf, np.inf)
    ) -> Estimate:
        """The mean over patients, each patient the mean over their cases.

        Args:
            values: The name of a column of ``metrics``, or a number per case, such as a difference.
            limits: What such a number can be; of a column, those of its metric are known.
        """
        if isinstance(values, str):
            limits, by_patient = limits_of(values), self._of_patients[values]
        else:
            by_patient = values.groupby(self.patients.to_numpy()).mean()
        mean = estimate([np.asarray(by_patient, dtype=np.float64)[:, None]])
        return replace(mean, low=limits[0], high=limits[1])


def read_evaluated(folder: str | Path) -> Evaluated:
    """Reads the evaluation of a run, or an audit, and checks that its files are as they were written.

    Raises:
        InputError: If a file or column is missing, cannot be read or is of another evaluation, or if
            weights, split or training are not those that were evaluated.
    """
    folder = Path(folder)
    evaluation = evaluation_in(folder)
    metrics, patients = read_cases(evaluation.cases)
    scope = read_evaluation_of(folder, patients)
    bins = _checked_bins(evaluation, metrics, patients) if evaluation.bins.is_file() else None
    return Evaluated(folder, metrics, patients, bins, scope)


def read_tested(folder: str | Path) -> Evaluated:
    """`read_evaluated` of the test cases.

    Raises:
        InputError: If it refuses, or if another set was evaluated.
    """
    found = read_evaluated(folder)
    if found.scope.set != "test":
        raise InputError(
            f"{found.folder}: its {found.scope.cases} were evaluated, not its test cases; "
            "evaluate it again"
        )
    return found


def check_alike(first: Evaluated, other: Evaluated, same_cases: bool = True) -> None:
    """Refuses evaluations that cannot be shown side by side.

    Args:
        first: An evaluation.
        other: Another.
        same_cases: Whether they must be of the same cases; those of two folds are not.

    Raises:
        InputError: If set, settings, structures, cases, patients, bins, regions or voxels differ; it
            names them.
    """
    if same_cases and sorted(other.cases) != sorted(first.cases):
        raise InputError(
            f"{other.folder}: its {other.scope.cases} are not those of {first.folder} "
            f"({name_difference(other.cases, first.cases)}); evaluate both on the same split"
        )
    difference = (
        first.scope.difference(other.scope)
        or (_unlike_patients(first, other) if same_cases else "")
        or _unlike_numbers(first, other, same_cases)
    )
    if difference:
        raise InputError(
            f"{other.folder}: was evaluated otherwise than {first.folder}, {difference}; evaluate "
            "both alike"
        )


def name_difference(names: Sequence[str], other_names: Sequence[str]) -> str:
    """The names that only one of two lists has."""
    extra, missing = sorted(set(names) - set(other_names)), sorted(set(other_names) - set(names))
    parts = [("only here: ", extra), ("missing here: ", missing)]
    return "; ".join(word + listed(names, most=3) for word, names in parts if names)


def _checked_bins(
    evaluation: EvaluationFolder, metrics: pd.DataFrame, patients: pd.Series[str]
) -> Record:
    bins = read_record(evaluation.bins)
    cases = [str(case) for case in metrics.index]
    if sorted(cases) != sorted(bins.cases):
        raise InputError(
            f"{bins.path}: its cases are not those of {evaluation.cases.name} "
            f"({name_difference(bins.cases, cases)}); evaluate the run again"
        )
    bins = bins.ordered(cases).check()
    if bins.patients is None and patients.name == "patient":  # an earlier version's
        bins = replace(bins, patients=list(patients))
    for name, values in bins.columns(map(str, metrics)).items():
        written, computed = metrics[name], values.numpy()
        wrong = ~np.isclose(written, computed, rtol=0, atol=_TOLERANCE, equal_nan=True)
        if wrong.any():
            k = int(wrong.argmax())
            raise InputError(
                f"{evaluation.cases}: {name} of case {cases[k]!r} is {written.iloc[k]:g}, but the bins "
                f"give {computed[k]:g}; evaluate the run again"
            )
    return bins


def _unlike_patients(first: Evaluated, other: Evaluated) -> str:
    """How the patients of the same cases differ, which decide intervals; empty if they do not."""
    if first.unit != other.unit:
        return first_of(differences({"resampled": first.unit}, {"resampled": other.unit}))
    patients = (
        {f"patient of case {case!r}": patient for case, patient in found.patients.items()}
        for found in (first, other)
    )
    return first_of(differences(*patients), most=1)


def _unlike_numbers(first: Evaluated, other: Evaluated, same_cases: bool) -> str:
    """How structures or bins differ; empty if they do not."""
    scored = [
        {
            "structures": _structures(found.metrics),
            "HD95": [name for name in ("hd95", "hd95_mm") if name in found.metrics],
        }
        for found in (first, other)
    ]
    unlike = first_of(differences(*scored))
    if unlike or first.bins is None or other.bins is None:
        return unlike
    unlike = first.bins.difference(other.bins)
    return unlike or (first.bins.unlike_voxels(other.bins) if same_cases else "")


def _structures(metrics: pd.DataFrame) -> list[str]:
    names = [name for name in map(str, metrics.columns) if name.startswith("dice_")]
    return sorted(name.removeprefix("dice_") for name in names)


@dataclass(frozen=True)
class Run(Evaluated):
    """One evaluated run under the name that tables and figures show.

    Its folder, that of a cross-validation, need not exist: it lacks the fold.

    Attributes:
        name: The method, as shown.
        bins: The bin sums, cases in the order of ``metrics``.
        against: The audits against each of several raters, where they were kept.
    """

    name: str
    bins: Record
    against: Sequence[Run] = ()

    def number(self, column: str) -> Estimate | Pooled | None:
        """The number of all cases together where it was counted, or else the mean over patients.

        Args:
            column: One of `nacl_monai.metrics.record.Record.pooled_numbers`, or of ``metrics``.

        Returns:
            None where there is no such number, or it is defined in no case.
        """
        pooled = self.bins.pooled_numbers.get(column)
        if pooled is not None:
            return None if np.isnan(pooled.value) else pooled
        known = column in self.metrics and self.metrics[column].notna().any()
        return self.mean(column) if known else None

    def ordered(self, cases: list[str]) -> Run:
        """These cases, in this order."""
        metrics, patients = self.metrics.loc[cases], self.patients.loc[cases]
        return replace(self, metrics=metrics, patients=patients, bins=self.bins.ordered(cases))

    @property
    def audited(self) -> bool:
        """Whether it is an audit of saved predictions, which knows no images."""
        return self.scope.set == AUDITED

    def read_map(self, case: str) -> CaseMap:
        """The stored slice of one case.

        Raises:
            InputError: If the file is missing or is not what it should be.
        """
        folders = folds_of(self.folder) or [self.folder]
        paths = [evaluation_in(folder).map_of(case) for folder in folders]
        return read_map(next((path for path in paths if path.is_file()), paths[0]))


def run_of_bins(bins: Record, name: str, cases: str = AUDITED) -> Run:
    """A run of bins alone, with the errors that follow from them.

    Args:
        bins: In memory, or from a file.
        name: What tables and figures call it.
        cases: The set of the split that was measured, or a word for it.
    """
    index = pd.Index(bins.cases, name="case")
    known = bins.patients is not None
    patients = pd.Series(bins.patients or bins.cases, index, name="patient" if known else "case")
    columns = {name: values.numpy() for name, values in bins.columns().items()}
    metrics = pd.DataFrame(columns, index)
    return Run(bins.path.parent, metrics, patients, bins, EvaluationOf(cases, {}), name)


def folds_of(folder: str | Path) -> list[Path]:
    """The runs of the cross-validation in ``folder``; empty if it is an evaluated run."""
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
    folders = [evaluation.path / RATERS / rater for rater in found.bins.raters]
    against = [read_run(rater) for rater in folders if rater.is_dir()]
    return Run(found.folder, found.metrics, found.patients, found.bins, found.scope, name, against)


def _pooled(folder: Path, name: str, folds: Sequence[Run]) -> Run:
    """One run over the cases of all folds."""
    _check_complete(folder, folds)
    return Run(
        name=name,
        folder=folder,
        metrics=pd.concat([fold.metrics for fold in folds]),
        patients=pd.concat([fold.patients for fold in folds]),
        bins=folds[0].bins.joined([fold.bins for fold in folds[1:]]),
        scope=folds[0].scope,
    )


def _check_complete(folder: Path, folds: Sequence[Run]) -> None:
    """Refuses folds among which one is missing, that are not alike, or that share a case.

    Nothing says how many come after the last one.
    """
    there = [fold.folder for fold in folds]
    numbered = (fold_folder(folder, number) for number in range(len(folds)))
    missing = next((fold for fold in numbered if fold not in there), None)
    if missing is not None:
        raise InputError(
            f"{missing}: no such fold, and {there[-1].name} is there; train and evaluate all folds"
        )
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
    called: Sequence[str | None] = names or [None] * len(folders)
    runs = [read_run(folder, name) for folder, name in zip(folders, called, strict=True)]
    repeated = first_repeated([run.name for run in runs])
    if repeated is not None:
        raise InputError(f"two runs are called {repeated!r}; tell them apart with --names")
    first = runs[0]
    for run in runs[1:]:
        check_alike(first, run)
    return [run.ordered(first.cases) for run in runs]


def by_rater(run: Run) -> list[Run]:
    """An audit against the share of raters, and behind it those against each, where they were kept."""
    names = run.bins.raters
    share = replace(run, name=f"share of {len(names)} raters") if names else run
    return [share, *run.against]


def human_run(run: Run) -> Run | None:
    """The raters, each predicted by the share of the others, as if they were a model; None of one."""
    bins = run.bins.of_raters
    if bins is None:
        return None
    return replace(run_of_bins(bins, "each by the others"), patients=run.patients)


def error_region(regions: Iterable[str], columns: Container[str]) -> str:
    """The region by whose ECE the worst cases are found: the first that has a column."""
    return next(name for name in (*PREFERRED, *regions) if f"ece_{name}" in columns)
