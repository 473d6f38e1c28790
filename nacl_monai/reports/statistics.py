r"""How sure a mean is, when both the patients and the trainings are a sample.

A method has one score per patient and training: the mean over the patient's cases. Other patients
would have given other scores, and so would the same training with another seed. Patients and
trainings cross: every training is tested on every patient. With the mean :math:`\bar y_{p\cdot}` of
each of :math:`P` patients and the mean :math:`\bar y_{\cdot s}` of each of :math:`S` trainings,

.. math::

    \mathrm{SE}^2 = V_P + V_S, \qquad
    V_P = \frac{\operatorname{var}_p(\bar y_{p\cdot})}{P}, \qquad
    V_S = \frac{\operatorname{var}_s(\bar y_{\cdot s})}{S}

and Student's t has the degrees of freedom of Welch and Satterthwaite. The noise of single scores is
in both terms, so the interval is somewhat too wide rather than too narrow. A single training says
nothing about other trainings: :math:`V_S` is left out, and the interval is only of these weights.

References:
    An Approximate Distribution of Estimates of Variance Components (Satterthwaite, 1946).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import t as student

from nacl_monai.errors import InputError

Array = npt.NDArray[np.float64]

#: The share of the samples that an interval or a band covers.
COVERAGE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over patients and trainings, and how far it may be off.

    Attributes:
        mean: Over the patients in whom the score is defined, each the mean of the trainings.
        error: Its standard error; NaN with fewer than two patients.
        freedom: Degrees of freedom of the error.
        patients: Number of patients in whom the score is defined.
        trainings: Number of trainings with a defined score: seeds.
    """

    mean: float
    error: float
    freedom: float
    patients: int
    trainings: int

    def interval(self, coverage: float = COVERAGE) -> tuple[float, float]:
        """Student's t interval, which covers at 7 patients, too; NaN without an error."""
        half = self.error * float(student.ppf((1 + coverage) / 2, self.freedom))
        return self.mean - half, self.mean + half

    def text(self, decimals: int = 3, undefined: str = "–") -> str:
        """The mean, and its 95 % interval where there is one: "0.107 [0.081, 0.132]"."""
        if np.isnan(self.mean):
            return undefined
        low, high = self.interval()
        mean = f"{self.mean:.{decimals}f}"
        return mean if np.isnan(low) else f"{mean} [{low:.{decimals}f}, {high:.{decimals}f}]"

    def p_different(self) -> float:
        """The two-sided p-value of a mean of 0."""
        return 2 * self._upper_tail(abs(self.mean))

    def p_equivalent(self, margin: float) -> float:
        """The p-value of a mean at least as far from 0 as a margin: two one-sided tests.

        References:
            A Comparison of the Two One-Sided Tests Procedure and the Power Approach for Assessing
            the Equivalence of Average Bioavailability (Schuirmann, 1987).
        """
        return self._upper_tail(margin - abs(self.mean))

    def _upper_tail(self, distance: float) -> float:
        """How often chance alone gives a mean that much above its expectation."""
        if self.error == 0:
            return 0.0 if distance > 0 else 0.5 if distance == 0 else 1.0
        return float(student.sf(distance / self.error, self.freedom))


def estimate(scores: Sequence[Array]) -> Estimate:
    """The mean of patients' scores, and its standard error.

    Args:
        scores: One array (patients, trainings) per dataset; NaN is undefined. The mean of several
            datasets is the mean of their means; their errors are independent.

    Example:
        >>> dice = estimate([np.array([[0.7], [0.8], [0.9], [0.8]])])
        >>> low, high = dice.interval()
        >>> round(dice.mean, 3), round(low, 3), round(high, 3), dice.patients
        (0.8, 0.67, 0.93, 4)
    """
    defined = [_defined(cells) for cells in scores]
    patients = sum(map(len, defined))
    trainings = max(cells.shape[1] for cells in defined)
    if not all(cells.size for cells in defined):
        return Estimate(np.nan, np.nan, np.nan, patients, trainings)
    mean = float(np.mean([np.nanmean(cells, axis=1).mean() for cells in defined]))
    return Estimate(mean, *_error(defined), patients, trainings)


def _defined(cells: Array) -> Array:
    """Without the patients and the trainings that have no score at all."""
    known = ~np.isnan(cells)
    return cells[known.any(axis=1)][:, known.any(axis=0)]


def _error(datasets: Sequence[Array]) -> tuple[float, float]:
    """The standard error of the mean and its degrees of freedom; NaN with fewer than two patients."""
    if min(map(len, datasets)) < 2:
        return np.nan, np.nan
    parts = np.array([part for cells in datasets for part in _variances(cells)])
    variances, freedoms = parts[:, 0] / len(datasets) ** 2, parts[:, 1]
    total = float(variances.sum())
    freedom = 1 / float(((variances / total) ** 2 / freedoms).sum()) if total else np.inf
    return total**0.5, freedom


def _variances(cells: Array) -> list[tuple[float, int]]:
    """The two terms of the squared standard error, with their degrees of freedom."""
    means = [np.nanmean(cells, axis=axis) for axis in (1, 0)]
    return [(float(m.var(ddof=1)) / len(m), len(m) - 1) for m in means if len(m) > 1]


def cells_of(scores: pd.Series[float]) -> Array:
    """The column of a `patient_scores` as an array (patients, trainings)."""
    return scores.unstack("seed").to_numpy(np.float64)


def is_scored(cases: pd.DataFrame, metric: str) -> bool:
    """Whether some run has a metric, and it is defined anywhere."""
    return metric in cases and bool(cases[metric].notna().any())


def patient_scores(cases: pd.DataFrame, metric: str, by: str = "method") -> pd.DataFrame:
    """One score per patient, training and method: the mean over the patient's cases.

    Args:
        cases: One row per run and case, with the columns ``seed`` and ``patient``, the metrics, and
            one that tells the methods apart.
        metric: The column of the scores; NaN is undefined.
        by: The column that tells the methods apart.

    Returns:
        One row per ``patient`` and ``seed``, one column per method in the order of ``cases``; NaN is
        undefined.

    Raises:
        InputError: If no run has such a metric, or the methods were tested on different patients.
    """
    if not is_scored(cases, metric):
        raise InputError(f"cases.csv: no column {metric!r}; evaluate the runs again")
    _check_same_patients(cases, by)
    scores = cases.groupby([by, "patient", "seed"])[metric].mean().unstack(by)
    return scores[list(dict.fromkeys(cases[by]))].sort_index()


def _check_same_patients(cases: pd.DataFrame, by: str) -> None:
    tested = cases.groupby(by)["patient"].agg(set)
    for name, patients in tested.items():
        if patients != tested.iloc[0]:
            raise InputError(
                f"{name} and {tested.index[0]} were not tested on the same patients; "
                "evaluate both on the same split"
            )
