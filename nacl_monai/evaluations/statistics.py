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
little about others: :math:`V_S` is left out, and the interval is only of these weights.

A difference has the patients in common, and not the trainings: one method's may be sixteen times as
far apart as another's. So :math:`V_P` is that of the patients' differences, and each method has a
:math:`V_S` of its own, with :math:`S - 1` degrees of freedom. A variance that is pooled over the methods
of a table would let the interval of one whose trainings are far apart cover 86 %. Two methods that
follow the same trainings, such as a calibrator and nothing, have one: that of their differences.
If the score has a range, the part of the interval outside it is cut off: the mean is not there, so
that the coverage stays the same.

For ranks and curves, which have no such formula, patients are drawn with replacement.

References:
    An Approximate Distribution of Estimates of Variance Components (Satterthwaite, 1946).
    The Generalization of `Student's' Problem when Several Different Population Variances are Involved
    (Welch, 1947).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy
from scipy.special import stdtr, stdtrit

from nacl_monai.errors import InputError
from nacl_monai.metrics.columns import METRICS, metric_of
from nacl_monai.metrics.pooled import COVERAGE, draws
from nacl_monai.tensors import Floats
from nacl_monai.words import interval_text

#: As many trainings say something about another one.
ENOUGH_TRAININGS = 3
_RESAMPLES = 10_000
#: A test whose corrected p is below this decides.
SIGNIFICANCE = 0.05
_ROUNDING = 1e-12
#: Digits of a score that count in ranks: ``cases.csv`` has as many, and the rest is rounding.
DIGITS = 6
BETTER, WORSE = "better", "worse"
#: Of a number neither end of which is better.
HIGHER, LOWER = "higher", "lower"
SLIGHTLY = "slightly "
EQUIVALENT = "equivalent"
TOO_FEW = "too few patients"
CANNOT_TELL = "cannot tell"
#: All that a test can decide about the reference.
OUTCOMES = (
    *(SLIGHTLY * few + word for few in (False, True) for word in (BETTER, WORSE, HIGHER, LOWER)),
    *(EQUIVALENT, TOO_FEW, CANNOT_TELL),
)


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


def estimate(scores: Sequence[Floats]) -> Estimate:
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
    return _estimated(defined, [[cells] for cells in defined])


def difference(scores: Floats, other_scores: Floats, *, same_trainings: bool = False) -> Estimate:
    """The mean of one method's scores minus another's, and its standard error.

    Args:
        scores: (patients, trainings); NaN is undefined.
        other_scores: The same patients, and trainings of the same seeds.
        same_trainings: Whether both follow the same trainings, such as with and without a calibrator.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> patients, steady, unsteady = (rng.normal(size=s) for s in ((20, 1), (20, 3), (1, 3)))
        >>> gap = difference(patients + 0.1 * steady, patients + 9 * unsteady)
        >>> gap.freedom < 3  # the second method's trainings decide
        True
    """
    hidden = np.isnan(scores - other_scores)
    pair = [_defined(np.where(hidden, np.nan, side)) for side in (scores, other_scores)]
    cells = pair[0] - pair[1]
    return _estimated([cells], [[cells] if same_trainings else pair])


def _estimated(datasets: Sequence[Floats], methods: Sequence[Sequence[Floats]]) -> Estimate:
    """The mean over datasets, and the methods of each whose trainings make it uncertain."""
    patients = sum(map(len, datasets))
    trainings = max(cells.shape[1] for cells in datasets)
    if not all(cells.size for cells in datasets):
        return Estimate(np.nan, np.nan, np.nan, patients, trainings)
    mean = float(np.mean([np.nanmean(cells, axis=1).mean() for cells in datasets]))
    terms = [
        term
        for cells, trained in zip(datasets, methods, strict=True)
        for term in (_term(cells, 1), *(_term(own, 0) for own in trained if _says_enough(own)))
    ]
    return Estimate(mean, *_error(terms, len(datasets)), patients, trainings)


def _defined(cells: Floats) -> Floats:
    """Without the patients and the trainings that have no score at all."""
    known = ~np.isnan(cells)
    return cells[known.any(axis=1)][:, known.any(axis=0)]


def _says_enough(cells: Floats) -> bool:
    """Whether its trainings say something about another one."""
    return len(cells.T) >= ENOUGH_TRAININGS


def _term(cells: Floats, axis: int) -> tuple[float, int]:
    """The squared error of a mean, of the means over an axis, with its degrees of freedom."""
    means = np.nanmean(cells, axis=axis)
    if len(means) < 2:
        return np.nan, 0
    return float(means.var(ddof=1)) / len(means), len(means) - 1


def _error(terms: Sequence[tuple[float, int]], datasets: int) -> tuple[float, float]:
    """The standard error of the mean of some datasets, and its degrees of freedom; NaN without any."""
    variances, freedoms = np.array(terms).T
    if not freedoms.all():
        return np.nan, np.nan
    total = float(variances.sum())
    freedom = 1 / float(((variances / total) ** 2 / freedoms).sum()) if total else np.inf
    return total**0.5 / datasets, freedom


def trainings_text(low: int, high: int) -> str:
    """How many trainings the methods of a table have: "one training", "1 to 3 trainings"."""
    if high == 1:
        return "one training"
    return f"{high} trainings" if low == high else f"{low} to {high} trainings"


def cells_of(scores: pd.Series[float]) -> Floats:
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


def bootstrap_ratios(
    numerators: npt.ArrayLike, denominators: npt.ArrayLike, weights: Floats
) -> Floats:
    """The ratio of two sums over patients in each resampling.

    Args:
        numerators: (patients, columns).
        denominators: (patients, columns).
        weights: From `nacl_monai.metrics.pooled.draws`.

    Returns:
        (resamples, columns); NaN where both sums are 0.
    """
    with np.errstate(invalid="ignore"):
        ratios: Floats = (weights @ np.asarray(numerators)) / (weights @ np.asarray(denominators))
    return ratios


def bootstrap_means(scores: Floats, weights: Floats) -> Floats:
    """The mean of each column in each resampling, over the patients in whom it is defined.

    Args:
        scores: (patients, columns); NaN is undefined.
        weights: From `nacl_monai.metrics.pooled.draws`.

    Returns:
        (resamples, columns); NaN where a resampling has no patient with a defined score.
    """
    defined = ~np.isnan(scores)
    return bootstrap_ratios(np.where(defined, scores, 0), defined, weights)


def percentile_interval(samples: Floats, coverage: float = COVERAGE) -> Floats:
    """The ends of the percentile interval (Efron 1979) of each column, (2, columns).

    Args:
        samples: (resamples, columns), or a single column; NaN does not count.
        coverage: Share of the samples inside the interval.

    Example:
        >>> percentile_interval(np.arange(101.0), coverage=0.9).round(6).tolist()
        [5.0, 95.0]
    """
    ends: Floats = np.nanquantile(samples, [(1 - coverage) / 2, (1 + coverage) / 2], axis=0)
    return ends


def studentized_interval(scores: Floats, weights: Floats, coverage: float = COVERAGE) -> Floats:
    r"""The ends of the bootstrap-t interval of the mean of each column, (2, columns).

    Each resampling has its own standard error, and the quantiles of
    :math:`(\bar x^* - \bar x) / \mathrm{SE}^*` take the place of Student's t, so that the interval is
    longer on the side of the longer tail, as that of a ratio needs (An Introduction to the Bootstrap,
    Efron and Tibshirani, 1993, equation 12.22).

    Args:
        scores: (patients, columns).
        weights: From `nacl_monai.metrics.pooled.draws`.
        coverage: The share of the samples whose interval holds the mean.

    Returns:
        NaN for fewer than four patients; a point where all scores are equal.

    Example:
        >>> from nacl_monai.metrics.pooled import COVERAGE, draws
        >>> scores = np.array([[1.0], [1.1], [1.2], [1.3], [1.4], [1.5], [1.6], [3.0]])
        >>> studentized_interval(scores, draws(8)).round(1).ravel().tolist()
        [1.2, 2.7]
    """
    patients = len(scores)
    if patients < 4:
        return np.full((2, scores.shape[1]), np.nan)
    from_mean = scores - scores.mean(0)
    shifts, squares = (weights @ power / patients for power in (from_mean, from_mean**2))
    variances = (squares - shifts**2).clip(0) / (patients - 1)
    varied = variances > squares.max(0) * _ROUNDING
    t = np.divide(shifts, np.sqrt(variances), out=np.full_like(shifts, np.nan), where=varied)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where nothing varies
        ends = np.nanquantile(t, [(1 + coverage) / 2, (1 - coverage) / 2], axis=0)
    error = scores.std(0, ddof=1) / np.sqrt(patients)
    interval: Floats = scores.mean(0) - np.nan_to_num(ends) * error
    return interval


def pooled_band(
    positives: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    patients: npt.ArrayLike,
    *,
    resamples: int = _RESAMPLES,
    coverage: float = COVERAGE,
    seed: int = 0,
) -> tuple[Floats, Floats]:
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
    weights = draws(len(names), resamples, seed)
    accuracy = bootstrap_ratios(member @ positives, member @ counts, weights)
    used = counts.sum(axis=0) > 0
    band = np.full((2, counts.shape[1]), np.nan)
    band[:, used] = percentile_interval(accuracy[:, used], coverage)
    return band[0], band[1]


def paired_tests(scores: pd.DataFrame, reference: str, metric: str) -> pd.DataFrame:
    """Is the reference better than each other method?

    With one or two trainings per method the question is whether other patients would say the same of
    these weights: Wilcoxon's signed-rank test over patients. With three it is whether other patients and
    other trainings would: a t test with the two-way error of `nacl_monai.evaluations.statistics`. Both
    are two-sided. Equivalence is tested by two one-sided t tests against `Metric.margin_at` the mean of
    the reference. Decisions are those of `decided`; the family is the other methods. One that is named
    ``<reference>+<calibrator>`` follows the same trainings.

    Args:
        scores: From `patient_scores`.
        reference: The column that all others are compared with.
        metric: The metric or column of ``cases.csv`` of the scores.

    Returns:
        One row per other method of which a score pairs with one of the reference, as none does where
        they have no seed in common: ``patients`` with both scores defined and ``trainings``;
        ``difference``, the mean of reference minus other, ``low`` and ``high``, the ends of its 95 %
        interval; ``p`` and ``p_holm``; ``margin``, the smallest difference that matters, and
        ``p_equivalent``, corrected; ``effect``, the rank-biserial correlation over patients, positive
        where the reference is better, or higher; ``decision``, one of `OUTCOMES`.
    """
    return decided(undecided_tests(scores, reference, metric), metric)


def undecided_tests(scores: pd.DataFrame, reference: str, metric: str) -> pd.DataFrame:
    """The rows of `paired_tests` with no p corrected, so that several references can be one family."""
    shown, trained = METRICS[metric_of(metric)], _training_of(reference)
    rows = {}
    paired = scores.drop(columns=reference).rsub(scores[reference], axis=0)
    for other in map(str, paired.dropna(axis=1, how="all")):
        pair = cells_of(scores[reference]), cells_of(scores[other])
        gap = difference(*pair, same_trainings=trained == _training_of(other))
        low, high = gap.interval()
        differences = _patients_differences(pair[0] - pair[1])
        of_both = np.where(np.isnan(pair[1]), np.nan, pair[0])
        margin = shown.margin_at(estimate([of_both]).mean)
        rows[other] = {
            "patients": gap.patients,
            "trainings": gap.trainings,
            "difference": gap.mean,
            "low": low,
            "high": high,
            "p": _p_value(gap, differences),
            "margin": margin,
            "p_equivalent": gap.p_equivalent(margin),
            "effect": (shown.direction or 1) * rank_biserial(differences),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")


def _training_of(method: str) -> str:
    """The training behind a method: ``nacl`` of ``nacl+temperature_near``."""
    return method.partition("+")[0]


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
    table.insert(list(table).index("p") + 1, "p_holm", holm(table["p"]))
    table["p_equivalent"] = holm(table["p_equivalent"])
    direction = METRICS[metric_of(metric)].direction
    ends = (BETTER, WORSE) if direction else (HIGHER, LOWER)
    agree = table["effect"] * table["difference"] * (direction or 1) > 0
    claims = np.where(agree, np.where(table["effect"] > 0, *ends), "")
    table["decision"] = [
        _decision(row, str(claim), len(table))
        for claim, row in zip(claims, table.to_dict("records"), strict=True)
    ]
    return table


def rank_biserial(differences: Floats) -> float:
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


def _patients_differences(cells: Floats) -> Floats:
    """Each patient's mean over the trainings, so rounded that equal differences are ties."""
    defined = cells[~np.isnan(cells).all(axis=1)]
    means: Floats = np.atleast_1d(np.nanmean(defined, axis=1)) if len(defined) else np.zeros(0)
    return means.round(DIGITS)


def _p_value(mean: Estimate, differences: Floats) -> float:
    if mean.trainings >= ENOUGH_TRAININGS or mean.patients < 2:
        return mean.p_different()
    return float(scipy.stats.wilcoxon(differences).pvalue) if differences.any() else 1.0


def holm(p: pd.Series[float]) -> Floats:
    """Corrected p-values; a test that could not be made decides nothing.

    Of M values the k-th smallest is multiplied by M + 1 − k, and none is below a smaller one's. The
    well-known function for it collects Python's garbage at every call, which takes a third of a second
    beside MONAI: a minute for the claims of one dataset.
    """
    values = p.fillna(1.0).to_numpy()
    order = values.argsort()
    scaled = np.minimum(1.0, values[order] * np.arange(len(values), 0, -1))
    corrected: Floats = np.maximum.accumulate(scaled)[order.argsort()]
    return corrected


def _decision(row: Mapping[Any, Any], word: str, rivals: int) -> str:
    """The decision of a row of the tests about the reference; see `OUTCOMES`.

    The word is what the difference says; empty where the mean and the ranks disagree about it.
    """
    equivalent = row["p_equivalent"] < SIGNIFICANCE
    if word and row["p_holm"] < SIGNIFICANCE:
        return SLIGHTLY * bool(equivalent) + word
    if equivalent:
        return EQUIVALENT
    if (
        row["trainings"] < ENOUGH_TRAININGS
        and smallest_p(int(row["patients"]), rivals) >= SIGNIFICANCE
    ):
        return TOO_FEW
    return CANNOT_TELL
