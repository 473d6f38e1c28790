"""One evaluation, read with every check that its files allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from nacl_monai.differences import differences, first_of
from nacl_monai.errors import InputError
from nacl_monai.reports.consistency import (
    check_overlapping,
    check_recomputed,
    check_structures,
    check_summary,
    check_sums,
    check_values,
    unlike_voxels,
)
from nacl_monai.reports.evaluation_files import (
    evaluation_in,
    listed,
    read_cases,
)
from nacl_monai.reports.evaluation_record import EvaluationOf, read_evaluation_of
from nacl_monai.reports.run_bins import RunBins, read_bins
from nacl_monai.reports.statistics import Estimate, estimate
from nacl_monai.runs import EvaluationFolder


@dataclass(frozen=True)
class Evaluated:
    """What the evaluation of a run found.

    Attributes:
        folder: The run's folder.
        metrics: One row per case (the index), one float column per metric; NaN is undefined.
        patients: The patient of each case; the case itself where the run does not say.
        bins: The bin sums, cases in the order of ``metrics``; None where only the cases were kept.
        of: The set that was evaluated, and how.
    """

    folder: Path
    metrics: pd.DataFrame
    patients: pd.Series[str]
    bins: RunBins | None
    of: EvaluationOf

    @property
    def cases(self) -> list[str]:
        """Names of the cases."""
        return [str(case) for case in self.metrics.index]

    @property
    def unit(self) -> str:
        """What is resampled: "patients", or "cases" where nobody knows whose they are."""
        return "patients" if self.patients.name == "patient" else "cases"

    def mean(self, values: pd.Series[float]) -> Estimate:
        """The mean over patients of a column of ``metrics``, each patient the mean over their cases."""
        by_patient = values.groupby(self.patients.to_numpy()).mean()
        return estimate([np.asarray(by_patient, dtype=np.float64)[:, None]])


def read_evaluated(folder: str | Path) -> Evaluated:
    """Reads the evaluation of a run, or an audit, and checks that its numbers can be and agree.

    Raises:
        InputError: If a file or column is missing or cannot be read, if a number is impossible or not
            the one that bins or cases give, or if weights, split or training are not those that were
            evaluated.
    """
    folder = Path(folder)
    evaluation = evaluation_in(folder)
    metrics, patients = read_cases(evaluation.cases)
    check_values(evaluation.cases, metrics)
    check_structures(evaluation.cases, metrics)
    check_summary(evaluation.summary, metrics)
    of = read_evaluation_of(folder, patients)
    bins = _checked_bins(evaluation, metrics) if evaluation.bins.is_file() else None
    return Evaluated(folder, metrics, patients, bins, of)


def read_tested(folder: str | Path) -> Evaluated:
    """`read_evaluated` of the test cases.

    Raises:
        InputError: If it refuses, or if another set was evaluated.
    """
    found = read_evaluated(folder)
    if found.of.set != "test":
        raise InputError(
            f"{found.folder}: its {found.of.cases} were evaluated, not its test cases; evaluate it again"
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
            f"{other.folder}: its {other.of.cases} are not those of {first.folder} "
            f"({name_difference(other.cases, first.cases)}); evaluate both on the same split"
        )
    difference = (
        first.of.difference(other.of)
        or (_unlike_patients(first, other) if same_cases else "")
        or _unlike_numbers(first, other, same_cases)
    )
    if difference:
        raise InputError(
            f"{other.folder}: was evaluated otherwise than {first.folder}, {difference}; evaluate "
            "both alike"
        )


def name_difference(names: Sequence[str], others: Sequence[str]) -> str:
    """Which names only one of two lists has."""
    extra, missing = sorted(set(names) - set(others)), sorted(set(others) - set(names))
    parts = [("only here: ", extra), ("missing here: ", missing)]
    return "; ".join(word + listed(names, most=3) for word, names in parts if names)


def _checked_bins(evaluation: EvaluationFolder, metrics: pd.DataFrame) -> RunBins:
    bins = read_bins(evaluation.bins)
    cases = [str(case) for case in metrics.index]
    if sorted(cases) != sorted(bins.cases):
        raise InputError(
            f"{bins.path}: its cases are not those of {evaluation.cases.name} "
            f"({name_difference(bins.cases, cases)}); evaluate the run again"
        )
    bins = bins.ordered(cases)
    check_sums(bins)
    check_recomputed(evaluation.cases, metrics, bins)
    check_overlapping(evaluation.cases, metrics, bins)
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
    scored = [{"structures": _structures(found.metrics)} for found in (first, other)]
    unlike = first_of(differences(*scored))
    if unlike or first.bins is None or other.bins is None:
        return unlike
    return unlike_voxels(first.bins, other.bins, same_cases)


def _structures(metrics: pd.DataFrame) -> list[str]:
    names = [name for name in map(str, metrics.columns) if name.startswith("dice_")]
    return sorted(name.removeprefix("dice_") for name in names)
