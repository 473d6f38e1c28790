r"""How sure a mean is, and whether two differ, when both patients and trainings are a sample.

A method has one score per patient and training: the mean over the patient's cases. Other patients
would have given other scores, and so would the same training with another seed. Patients and
trainings cross: every training is tested on every patient. With the mean :math:`\bar y_{p\cdot}` of
each of :math:`P` patients and the mean :math:`\bar y_{\cdot s}` of each of :math:`S` trainings,

.. math::

    \mathrm{SE}^2 = V_P + V_S, \qquad
    V_P = \frac{\operatorname{var}_p(\bar y_{p\cdot})}{P}, \qquad
    V_S = \frac{\operatorname{var}_s(\bar y_{\cdot s})}{S}

and Student's t has the degrees of freedom of Welch and Satterthwaite. One or two trainings say too
little about others: :math:`V_S` is left out, and the interval is only of these weights. Three say
little, too: by chance their spread is often far too small. Its own :math:`V_S` alone would let an
interval of a difference cover 92 % instead of 95 %, and Holm's first step err four times as often as
it may. So a test of several methods takes the variance that trainings of all of them have on average,
with all their degrees of freedom, and the own one where that is larger (`spread_of_trainings`).
Where the score has a range, the part of the interval outside it is cut off: the mean is not there, so
that the coverage stays the same.

Where no formula says how steady a rank or a curve is, patients are drawn with replacement.

References:
    An Approximate Distribution of Estimates of Variance Components (Satterthwaite, 1946).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy
from scipy.special import stdtr, stdtrit

from nacl_monai.errors import InputError
from nacl_monai.metrics.columns import METRICS, metric_of
from nacl_monai.metrics.pooled import draws, interval_text

Array = npt.NDArray[np.float64]

#: The share of the samples that an interval or a band covers.
COVERAGE = 0.95
#: As many trainings say something about another one.
ENOUGH_TRAININGS = 3


class Spread(NamedTuple):
    """How far trainings of several methods are apart.

    Attributes:
        variance: Of the mean score of one training; of a difference, that of two.
        freedom: Its degrees of freedom.
    """

    variance: float
    freedom: int


@dataclass(frozen=True)
class Estimate:
    """A mean over patients and trainings, and how far it may be off.

    Attributes:
        mean: Over the patients in whom the score is defined, each the mean of the trainings.
        error: Its standard error; NaN with fewer than two patients.
        freedom: Degrees of freedom of the error.
        patients: Number of patients in whom the score is defined.
        trainings: Number of trainings with a defined score: seeds.
        low: The smallest value that it can have.
        high: The largest.
    """

    mean: float
    error: float
    freedom: float
    patients: int
    trainings: int
    low: float = -np.inf
    high: float = np.inf

    def interval(self, coverage: float = COVERAGE) -> tuple[float, float]:
        """Student's t interval, which covers at 7 patients, too; NaN without an error."""
        half = self.error * float(stdtrit(self.freedom, (1 + coverage) / 2))
        low, high = np.clip([self.mean - half, self.mean + half], self.low, self.high)
        return float(low), float(high)

    def text(self, decimals: int = 3, undefined: str = "–") -> str:
        """The mean, and its 95 % interval where there is one: "0.107 [0.081, 0.132]"."""
        return interval_text(self.mean, *self.interval(), decimals, undefined)

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
        return float(stdtr(self.freedom, -distance / self.error))


def estimate(scores: Sequence[Array], spread: Spread | None = None) -> Estimate:
    """The mean of patients' scores, and its standard error.

    Args:
        scores: One array (patients, trainings) per dataset; NaN is undefined. The mean of several
            datasets is the mean of their means; their errors are independent.
        spread: How far trainings are apart, at the least. Default: as far as these are.

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
    return Estimate(mean, *_error(defined, spread), patients, trainings)


def _defined(cells: Array) -> Array:
    """Without the patients and the trainings that have no score at all."""
    known = ~np.isnan(cells)
    return cells[known.any(axis=1)][:, known.any(axis=0)]


def _error(datasets: Sequence[Array], spread: Spread | None) -> tuple[float, float]:
    """The standard error of the mean and its degrees of freedom; NaN with fewer than two patients."""
    if min(map(len, datasets)) < 2:
        return np.nan, np.nan
    parts = np.array([part for cells in datasets for part in _variances(cells, spread)])
    variances, freedoms = parts[:, 0] / len(datasets) ** 2, parts[:, 1]
    total = float(variances.sum())
    freedom = 1 / float(((variances / total) ** 2 / freedoms).sum()) if total else np.inf
    return total**0.5, freedom


def _variances(cells: Array, spread: Spread | None) -> list[tuple[float, int]]:
    """The terms of the squared standard error, with their degrees of freedom."""
    of_patients, of_trainings = (np.nanmean(cells, axis=axis) for axis in (1, 0))
    terms = [(_variance(of_patients) / len(of_patients), len(of_patients) - 1)]
    count = len(of_trainings)
    if count >= ENOUGH_TRAININGS:
        own, freedom = _variance(of_trainings), count - 1
        if spread:
            own, freedom = max(own, spread.variance), spread.freedom
        terms.append((own / count, freedom))
    return terms


def _variance(values: Array) -> float:
    return float(values.var(ddof=1))


def spread_of_trainings(scores: Mapping[str, Array]) -> Spread | None:
    """The variance of a difference of two trainings' means, of all methods of a table.

    Twice the mean of the methods' own variances over their trainings. A calibrator behind a training
    is named ``training+calibrator`` and adds no degree of freedom.

    Args:
        scores: An array (patients, trainings) of each method.

    Returns:
        None where no method has `ENOUGH_TRAININGS`.
    """
    variances, freedoms = [], {}
    for method, cells in scores.items():
        means = np.nanmean(_defined(cells), axis=0)
        if len(means) >= ENOUGH_TRAININGS and np.ptp(means) > 0:  # an ensemble has one result
            variances.append(_variance(means))
            freedoms[method.partition("+")[0]] = len(means) - 1
    return Spread(2 * float(np.mean(variances)), sum(freedoms.values())) if variances else None


def trainings_text(low: int, high: int) -> str:
    """How many trainings the methods of a table have: "one training", "1 to 3 trainings"."""
    if high == 1:
        return "one training"
    return f"{high} trainings" if low == high else f"{low} to {high} trainings"


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


RESAMPLES = 10_000


def bootstrap_weights(
    patients: int, resamples: int = RESAMPLES, seed: int | Sequence[int] = 0
) -> Array:
    """How often each patient is drawn in each resampling with replacement, (resamples, patients)."""
    return draws(patients, resamples, seed if isinstance(seed, int) else tuple(seed))


def bootstrap_ratios(
    numerators: npt.ArrayLike, denominators: npt.ArrayLike, weights: Array
) -> Array:
    """The ratio of two sums over patients in each resampling.

    Args:
        numerators: (patients, columns).
        denominators: (patients, columns).
        weights: From `bootstrap_weights`.

    Returns:
        (resamples, columns); NaN where both sums are 0.
    """
    with np.errstate(invalid="ignore"):
        ratios: Array = (weights @ np.asarray(numerators)) / (weights @ np.asarray(denominators))
    return ratios


def bootstrap_means(scores: Array, weights: Array) -> Array:
    """The mean of each column in each resampling, over the patients in whom it is defined.

    Args:
        scores: (patients, columns); NaN is undefined.
        weights: From `bootstrap_weights`.

    Returns:
        (resamples, columns); NaN where a resampling has no patient with a defined score.
    """
    defined = ~np.isnan(scores)
    return bootstrap_ratios(np.where(defined, scores, 0), defined, weights)


def percentile_interval(samples: Array, coverage: float = COVERAGE) -> Array:
    """The ends of the percentile interval (Efron 1979) of each column, (2, columns).

    Args:
        samples: (resamples, columns), or a single column; NaN does not count.
        coverage: Share of the samples inside the interval.

    Example:
        >>> percentile_interval(np.arange(101.0), coverage=0.9).round(6).tolist()
        [5.0, 95.0]
    """
    ends: Array = np.nanquantile(samples, [(1 - coverage) / 2, (1 + coverage) / 2], axis=0)
    return ends


def pooled_band(
    positives: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    patients: npt.ArrayLike,
    *,
    resamples: int = RESAMPLES,
    coverage: float = COVERAGE,
    seed: int = 0,
) -> tuple[Array, Array]:
    """The percentile band of the pooled accuracy per bin when patients are drawn with replacement.

    Voxels of a case, and cases of a patient, are right or wrong together; hence patients are the
    unit that is drawn. Resamplings that leave a bin empty do not count for that bin.

    Args:
        positives: Correct voxels per case and bin, (N, M).
        counts: Voxels per case and bin, (N, M).
        patients: The patient of each case, (N,).
        resamples: Number of resamplings.
        coverage: Share of the resamplings inside the band.
        seed: The seed of the random generator.

    Returns:
        Lower and upper end per bin, (M,); NaN where a bin has no voxels.
    """
    names, patient = np.unique(patients, return_inverse=True)
    member = np.arange(len(names))[:, None] == patient
    weights = bootstrap_weights(len(names), resamples, seed)
    accuracy = bootstrap_ratios(member @ positives, member @ counts, weights)
    used = counts.sum(axis=0) > 0
    band = np.full((2, counts.shape[1]), np.nan)
    band[:, used] = percentile_interval(accuracy[:, used], coverage)
    return band[0], band[1]


#: A test whose corrected p is below this decides.
SIGNIFICANCE = 0.05
#: Digits of a score that count in ranks: ``cases.csv`` has as many, and the rest is rounding.
DIGITS = 6

BETTER, WORSE = "better", "worse"
SLIGHTLY = "slightly "
EQUIVALENT = "equivalent"
TOO_FEW = "too few patients"
CANNOT_TELL = "cannot tell"
#: All that a test can decide about the reference.
DECISIONS = (
    *(BETTER, WORSE, SLIGHTLY + BETTER, SLIGHTLY + WORSE),
    *(EQUIVALENT, TOO_FEW, CANNOT_TELL),
)


def paired_tests(scores: pd.DataFrame, reference: str, metric: str) -> pd.DataFrame:
    """Is the reference better than each other method?

    With one or two trainings per method the question is whether other patients would say the same of
    these weights: Wilcoxon's signed-rank test over patients. With three it is whether other patients and
    other trainings would: a t test with the two-way error of `nacl_monai.evaluations.statistics`. Both
    are two-sided. Equivalence is tested by two one-sided t tests against `Metric.margin`. Decisions are
    those of `decided`; the family is the other methods.

    Args:
        scores: From `patient_scores`.
        reference: The column that all others are compared with.
        metric: The metric or column of ``cases.csv`` of the scores.

    Returns:
        One row per other method of which a score pairs with one of the reference, as none does where
        they have no seed in common: ``patients`` with both scores defined and ``trainings``;
        ``difference``, the mean of reference minus other, ``low`` and ``high``, the ends of its 95 %
        interval; ``p`` and ``p_holm``; ``p_equivalent``, corrected; ``effect``, the rank-biserial
        correlation over patients, positive where the reference is better; ``decision``, one of
        `DECISIONS`.
    """
    return decided(undecided_tests(scores, reference, metric), metric)


def undecided_tests(scores: pd.DataFrame, reference: str, metric: str) -> pd.DataFrame:
    """The rows of `paired_tests` with no p corrected, so that several references can be one family."""
    shown = METRICS[metric_of(metric)]
    spread = spread_of_trainings({str(name): cells_of(scores[name]) for name in scores})
    rows = {}
    differing = (
        scores.drop(columns=reference).rsub(scores[reference], axis=0).dropna(axis=1, how="all")
    )
    for other in differing:
        cells = cells_of(differing[other])
        mean = estimate([cells], spread)
        low, high = mean.interval()
        differences = _patients_differences(cells)
        rows[str(other)] = {
            "patients": mean.patients,
            "trainings": mean.trainings,
            "difference": mean.mean,
            "low": low,
            "high": high,
            "p": _p_value(mean, differences),
            "p_equivalent": mean.p_equivalent(shown.margin),
            "effect": shown.direction * rank_biserial(differences),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")


def decided(tests: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Tests with what they decide as one family.

    Holm's correction (1979) keeps the chance of a single false claim in a column below the level, for
    either question.

    Args:
        tests: Rows of `undecided_tests`, of any references.
        metric: The metric or column of ``cases.csv`` that they are of.
    """
    if tests.empty:
        return tests
    table = tests.copy()
    table.insert(list(table).index("p") + 1, "p_holm", _holm(table["p"]))
    table["p_equivalent"] = _holm(table["p_equivalent"])
    direction = METRICS[metric_of(metric)].direction
    better = np.sign(table["effect"]) * (table["effect"] * table["difference"] * direction > 0)
    table["decision"] = [
        _decision(row, int(sign), len(table))
        for sign, row in zip(better, table.to_dict("records"), strict=True)
    ]
    return table


def rank_biserial(differences: Array) -> float:
    """The matched-pairs rank-biserial correlation (Kerby 2014).

    The absolute differences are ranked; the share of the ranks that belongs to positive differences
    minus the share of the negative ones is the correlation: 1 if every difference is positive, −1 if
    every one is negative. Zeros are left out before ranking, as in Wilcoxon's test; 0 if none is left.

    Example:
        >>> rank_biserial(np.array([3.0, 2.0, -1.0]))  # (3 + 2 − 1) / 6
        0.6666666666666666
    """
    differences = differences[differences != 0]
    if not len(differences):
        return 0.0
    ranks = scipy.stats.rankdata(np.abs(differences))
    return float((np.sign(differences) * ranks).sum() / ranks.sum())


def smallest_p(patients: int, rivals: int) -> float:
    """The smallest p that Wilcoxon's test can give after Holm's correction, whatever the scores.

    All differences have one sign in 2 of :math:`2^n` equally likely patterns.

    Example:
        >>> smallest_p(7, 7)
        0.109375
    """
    return min(1.0, rivals * 2.0 ** (1 - patients))


def _patients_differences(cells: Array) -> Array:
    """Each patient's mean over the trainings, so rounded that equal differences are ties."""
    defined = cells[~np.isnan(cells).all(axis=1)]
    means: Array = np.atleast_1d(np.nanmean(defined, axis=1)) if len(defined) else np.zeros(0)
    return means.round(DIGITS)


def _p_value(mean: Estimate, differences: Array) -> float:
    if mean.trainings >= ENOUGH_TRAININGS or mean.patients < 2:
        return mean.p_different()
    return float(scipy.stats.wilcoxon(differences).pvalue) if differences.any() else 1.0


def _holm(p: pd.Series[float]) -> Array:
    """Corrected p-values; a test that could not be made decides nothing.

    Of M values the k-th smallest is multiplied by M + 1 − k, and none is below a smaller one's. The
    well-known function for it collects Python's garbage at every call, which takes a third of a second
    beside MONAI: a minute for the claims of one dataset.
    """
    values = p.fillna(1.0).to_numpy()
    order = values.argsort()
    scaled = np.minimum(1.0, values[order] * np.arange(len(values), 0, -1))
    corrected: Array = np.maximum.accumulate(scaled)[order.argsort()]
    return corrected


def _decision(row: Mapping[Any, Any], sign: int, rivals: int) -> str:
    """What a row of the tests says about the reference; see `DECISIONS`.

    The sign is that of the difference, or 0 where the mean and the ranks disagree about it.
    """
    equivalent = row["p_equivalent"] < SIGNIFICANCE
    if sign and row["p_holm"] < SIGNIFICANCE:
        return (SLIGHTLY if equivalent else "") + (BETTER if sign > 0 else WORSE)
    if equivalent:
        return EQUIVALENT
    if (
        row["trainings"] < ENOUGH_TRAININGS
        and smallest_p(int(row["patients"]), rivals) >= SIGNIFICANCE
    ):
        return TOO_FEW
    return CANNOT_TELL
