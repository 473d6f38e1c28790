r"""Errors of all cases together, without the bias of their noise, and how sure they are.

An image's own ECE is not zero for true probabilities: within an image errors go together, and the
absolute value folds them. Bins are therefore added over all cases first. With the excess
:math:`E_{pm} = \sum (\text{confidence} - \text{hit})` of patient :math:`p` in bin :math:`m`, and their
voxels :math:`n_{pm}`,

.. math::

    \mathrm{ECE} = \frac{\sum_m \left|\sum_p E_{pm}\right|}{\sum_m \sum_p n_{pm}} \qquad
    \mathrm{gap} = \frac{\sum_m \sum_p E_{pm}}{\sum_m \sum_p n_{pm}}

The gap of true probabilities is zero on average; the ECE is above zero by the noise of its bins, less so
with more patients. Patients drawn with replacement have that noise once more. With the mean
:math:`\bar r` of the resampled errors, and their quantiles :math:`r_q`,

.. math::

    \widehat{\mathrm{ECE}} = \max(0,\; 2\,\mathrm{ECE} - \bar r), \qquad
    [\max(0,\; 2\,\mathrm{ECE} - r_{1-a}),\; \max(0,\; 2\,\mathrm{ECE} - r_a)]

is the error without that bias, and its interval. The interval of a gap, and of any ratio of sums, is
:math:`[r_a, r_{1-a}]`. For a coverage of 95 % of :math:`P` patients :math:`a` is
:math:`\Phi(-t_{.975} \sqrt{P / (P - 1)})`, with Student's t of :math:`P - 1` degrees of freedom: a
percentile of few resampled patients is too narrow.

Near zero the interval of an error would be too narrow as well. It begins at 0 where the noise alone is
as large as the error in more than :math:`a` of the draws. With the excess :math:`e_m` of bin :math:`m`
over all voxels, and that of drawn patients, :math:`e_m^*`, it is :math:`\sum_m |e_m^* - e_m|`. But it
begins no lower than the interval of the gap, since an error is at least as large as its gap.

Patients are drawn, with all their cases, as these are right or wrong together.

References:
    Bootstrap Methods: Another Look at the Jackknife (Efron, 1979).
    What Teachers Should Know About the Bootstrap (Hesterberg, 2015), for the width with few patients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, stdtrit

from nacl_monai.errors import InputError
from nacl_monai.metrics.bins import CalibrationBins
from nacl_monai.tensors import Floats
from nacl_monai.words import interval_text

#: Function of sums, each (…, K, M), to (…).
Statistic = Callable[..., Floats]
Direction = Literal["overconfident", "underconfident", "cannot tell"]

#: How often patients are drawn anew.
RESAMPLES = 2_000
#: The share of the samples that an interval covers.
COVERAGE = 0.95


@dataclass(frozen=True)
class Pooled:
    """A number of all cases together.

    Attributes:
        value: Without the bias of noise where it has one; NaN without a voxel.
        raw: As it follows from the sums.
        low: Lower end of its interval; NaN with fewer than two patients.
        high: Upper end.
        patients: How many have a voxel.
        empty: How many cases have none, and are left out.
    """

    value: float
    raw: float
    low: float
    high: float
    patients: int
    empty: int

    @property
    def mean(self) -> float:
        """The value, as an `nacl_monai.evaluations.Estimate` calls it."""
        return self.value

    def interval(self) -> tuple[float, float]:
        """The ends of the interval."""
        return self.low, self.high

    def text(self, decimals: int = 3, undefined: str = "–") -> str:
        """The value, and its interval where there is one.

        Example:
            >>> Pooled(0.034, 0.036, 0.027, 0.041, 20, 0).text()
            '0.0340 [0.0270, 0.0410]'
        """
        return interval_text(self.value, *self.interval(), decimals, undefined)


def pooled_error(
    bins: CalibrationBins,
    patients: Sequence[str] | None = None,
    *,
    resamples: int = RESAMPLES,
    coverage: float = COVERAGE,
    seed: int = 0,
) -> Pooled:
    """The expected calibration error of all cases together.

    Args:
        bins: ``(cases, M)`` of one region, such as ``bins[:, region, 0]`` for the ECE of the predicted
            class; ``(cases, K, M)`` for a mean over classes or structures, such as
            ``bins[:, region, 1:]`` for the CECE. Classes without any voxel stay out of the mean.
        patients: Whose each case is; each case its own patient by default.
        resamples: How often patients are drawn.
        coverage: Share of the resampled errors inside the interval.
        seed: The seed of the draws.

    Raises:
        InputError: If there is not one patient for each case.

    Example:
        Two patients; what one is overconfident in a bin, the other is underconfident:

        >>> import torch
        >>> counts, hits = torch.tensor([[10], [10]]), torch.tensor([[7], [9]])
        >>> bins = CalibrationBins(counts, hits, torch.tensor([[8.0], [8.0]], dtype=torch.float64))
        >>> pooled_error(bins).raw
        0.0
    """
    sums = _PatientSums.of_bins([bins], patients)
    error = sums.estimate(_errors, resamples, coverage, seed, turned=True)
    if np.isnan(error.low):
        return error
    noise = sums.resampled(_noise(*(part.sum(0) for part in sums.parts)), resamples, seed)
    alone = np.nanquantile(noise, 1 - _tail(error.patients, coverage)) >= error.raw
    gap = sums.estimate(_gaps, resamples, coverage, seed)
    value, high = max(0.0, error.value), max(0.0, error.high)
    low = max(0.0, 0.0 if alone else error.low, gap.low, -gap.high)
    return replace(error, value=value, low=min(low, value), high=high)


def pooled_gap(
    bins: CalibrationBins,
    patients: Sequence[str] | None = None,
    *,
    resamples: int = RESAMPLES,
    coverage: float = COVERAGE,
    seed: int = 0,
) -> Pooled:
    """Mean confidence minus accuracy of all cases together: positive if overconfident.

    Arguments and errors as in `pooled_error`; `direction` puts it into a word.

    Example:
        >>> import torch
        >>> counts, hits = torch.tensor([[10], [10]]), torch.tensor([[6], [8]])
        >>> bins = CalibrationBins(counts, hits, torch.tensor([[8.0], [8.0]], dtype=torch.float64))
        >>> round(pooled_gap(bins).value, 6)
        0.1
    """
    sums = _PatientSums.of_bins([bins], patients)
    return sums.estimate(_gaps, resamples, coverage, seed)


def direction(gap: Pooled) -> Direction:
    """The direction of a gap whose interval is on one side of zero.

    Example:
        >>> direction(Pooled(0.03, 0.03, 0.01, 0.05, 20, 0))
        'overconfident'
        >>> direction(Pooled(0.03, 0.03, -0.01, 0.07, 20, 0))
        'cannot tell'
    """
    if gap.low > 0:
        return "overconfident"
    return "underconfident" if gap.high < 0 else "cannot tell"


def pooled_difference(
    bins: CalibrationBins,
    other_bins: CalibrationBins,
    patients: Sequence[str] | None = None,
    *,
    resamples: int = RESAMPLES,
    coverage: float = COVERAGE,
    seed: int = 0,
) -> Pooled:
    """How much larger an error is than that of another method on the same cases.

    The same patients are drawn for both. Each is over its own region, which its prediction decides.

    Args:
        bins: As in `pooled_error`.
        other_bins: Those of the other method, of the same shape, with the cases in the same order.
        patients: As there.
        resamples: As there.
        coverage: As there.
        seed: As there.

    Returns:
        Negative where the first method is better, as it is beyond chance if ``high`` is below zero.

    Raises:
        InputError: If the shapes differ, or there is not one patient for each case.

    Example:
        >>> import torch
        >>> counts, hits = torch.tensor([[10], [10]]), torch.tensor([[8], [8]])
        >>> methods = [CalibrationBins(counts, hits, counts * mean) for mean in (0.9, 0.8)]
        >>> round(pooled_difference(*methods).value, 6)
        0.1
    """
    if bins.counts.shape != other_bins.counts.shape:
        raise InputError(
            f"bins: have the shapes {tuple(bins.counts.shape)} and {tuple(other_bins.counts.shape)}; "
            "give those of two methods on the same cases"
        )
    sums = _PatientSums.of_bins([bins, other_bins], patients)
    return sums.estimate(
        lambda excess, counts, *other: _errors(excess, counts) - _errors(*other),
        *(resamples, coverage, seed),
        turned=True,
    )


def pooled_ratio(
    numerators: npt.ArrayLike,
    denominators: npt.ArrayLike,
    patients: Sequence[str] | None = None,
    *,
    resamples: int = RESAMPLES,
    coverage: float = COVERAGE,
    seed: int = 0,
) -> Pooled:
    """A ratio of two sums over all cases, such as right voxels to voxels, or missed to labeled ones.

    Args:
        numerators: One number per case, ``(cases,)``; of ``(cases, K)`` it is the mean over K.
        denominators: The same, 0 or more; cases in which both are 0 are left out.
        patients: As in `pooled_error`.
        resamples: As there.
        coverage: As there.
        seed: As there.

    Raises:
        InputError: As there.

    Example:
        >>> pooled_ratio([1.0, 3.0], [10.0, 10.0]).value
        0.2
    """
    parts = [np.asarray(part, dtype=np.float64) for part in (numerators, denominators)]
    parts = [part.reshape(len(part), -1, 1) for part in parts]
    used = np.any([part != 0 for part in parts], axis=(0, 2, 3))
    sums = _PatientSums.of_cases(parts, used, patients)
    return sums.estimate(_gaps, resamples, coverage, seed)


def pooled_offsets(
    sums: Sequence[npt.ArrayLike],
    other_sums: Sequence[npt.ArrayLike],
    target: float,
    patients: Sequence[str] | None = None,
    *,
    resamples: int = RESAMPLES,
    coverage: float = COVERAGE,
    seed: int = 0,
) -> Pooled:
    """How much farther from what it should be a ratio of sums is than that of another method.

    The same patients are drawn for both.

    Args:
        sums: Numerators and denominators of the method, each as in `pooled_ratio`.
        other_sums: Those of the other, of the same cases.
        target: What the ratio should be.
        patients: As in `pooled_error`.
        resamples: As there.
        coverage: As there.
        seed: As there.

    Returns:
        Negative where the first method is nearer, as it is beyond chance if ``high`` is below zero.

    Raises:
        InputError: As there.

    Example:
        Of contours that should miss 5 %, the first miss 7 %, the others 16 %:

        >>> round(pooled_offsets(([7.0, 7.0], [100, 100]), ([16.0, 16.0], [100, 100]), 0.05).value, 6)
        -0.09
    """
    parts = [np.asarray(part, dtype=np.float64) for part in (*sums, *other_sums)]
    parts = [part.reshape(len(part), -1, 1) for part in parts]
    used = np.any([part != 0 for part in parts], axis=(0, 2, 3))

    def farther(above: Floats, below: Floats, others_above: Floats, others_below: Floats) -> Floats:
        offset, other = _gaps(above, below) - target, _gaps(others_above, others_below) - target
        difference: Floats = np.abs(offset) - np.abs(other)
        return difference

    of_patients = _PatientSums.of_cases(parts, used, patients)
    return of_patients.estimate(farther, resamples, coverage, seed, turned=True)


@dataclass(frozen=True)
class _PatientSums:
    """Sums of each patient, (patients, K, M), in the order of the patients' names."""

    parts: list[Floats]
    empty: int

    @classmethod
    def of_bins(
        cls, methods: Sequence[CalibrationBins], patients: Sequence[str] | None
    ) -> _PatientSums:
        """Excess and voxels of each method, one after the other."""
        parts, used = [], np.zeros(len(methods[0].counts), dtype=bool)
        for bins in methods:
            counts = bins.counts.double().cpu().numpy()
            excess = (bins.confidences - bins.positives).double().cpu().numpy()
            flat = (len(counts), -1, counts.shape[-1])
            parts += [excess.reshape(flat), counts.reshape(flat)]
            used |= parts[-1].any(axis=(1, 2))
        return cls.of_cases(parts, used, patients)

    @classmethod
    def of_cases(
        cls, parts: Sequence[Floats], used: npt.NDArray[np.bool_], patients: Sequence[str] | None
    ) -> _PatientSums:
        """The sums of each patient's cases, those without a voxel left out."""
        owners = np.arange(len(used)) if patients is None else np.asarray(patients)
        if len(owners) != len(used):
            raise InputError(
                f"patients: are {len(owners)} names for {len(used)} cases; give one for each case"
            )
        names, owner = np.unique(owners[used], return_inverse=True)
        sums = [np.zeros((len(names), *part.shape[1:])) for part in parts]
        for total, part in zip(sums, parts, strict=True):
            np.add.at(total, owner, part[used])
        return cls(sums, int((~used).sum()))

    def resampled(self, statistic: Statistic, resamples: int, seed: int) -> Floats:
        """A statistic of the summed parts, (…, K, M) to (…), of each draw of patients, (resamples,)."""
        weights = draws(len(self.parts[0]), resamples, seed)
        return statistic(*(_weighted(weights, part) for part in self.parts))

    def estimate(
        self,
        statistic: Statistic,
        resamples: int,
        coverage: float,
        seed: int,
        *,
        turned: bool = False,
    ) -> Pooled:
        """A statistic with its interval.

        Args:
            statistic: As in `resampled`.
            resamples: As in `pooled_error`.
            coverage: As there.
            seed: As there.
            turned: Whether resampling adds a bias, which is taken away.
        """
        patients = len(self.parts[0])
        raw = float(statistic(*(part.sum(0) for part in self.parts))) if patients else np.nan
        if patients < 2 or np.isnan(raw):
            return Pooled(raw, raw, np.nan, np.nan, patients, self.empty)
        resampled, tail = self.resampled(statistic, resamples, seed), _tail(patients, coverage)
        low, high = map(float, np.nanquantile(resampled, [tail, 1 - tail]))
        if not turned:
            return Pooled(raw, raw, low, high, patients, self.empty)
        value = 2 * raw - float(np.nanmean(resampled))
        return Pooled(value, raw, 2 * raw - high, 2 * raw - low, patients, self.empty)


def _tail(patients: int, coverage: float) -> float:
    """The share of the draws on either side of an interval; less than its own with few patients."""
    t = stdtrit(patients - 1, (1 - coverage) / 2)
    return float(ndtr(t * (patients / (patients - 1)) ** 0.5))


@lru_cache(maxsize=4)  # the numbers of a table have the same patients
def draws(patients: int, resamples: int = RESAMPLES, seed: int | tuple[int, ...] = 0) -> Floats:
    """How often each patient is drawn with replacement, ``(resamples, patients)``.

    Example:
        >>> draws(5, resamples=3).sum(1).tolist()
        [5.0, 5.0, 5.0]
    """
    rng, shares = np.random.default_rng(seed), np.full(patients, 1 / patients)
    times = np.empty((resamples, patients))
    for row in times:  # all whole numbers at once would take as much again
        row[:] = rng.multinomial(patients, shares)
    times.flags.writeable = False
    return times


def _weighted(weights: Floats, part: Floats) -> Floats:
    """Sums over patients as often as each is drawn, (resamples, K, M)."""
    return (weights @ part.reshape(len(part), -1)).reshape(len(weights), *part.shape[1:])


def _mean(values: Floats, totals: Floats) -> Floats:
    """The mean over K, (…), of those with a voxel."""
    with np.errstate(invalid="ignore"):
        mean: Floats = (values * (totals > 0)).sum(-1) / (totals > 0).sum(-1)
    return mean


def _shares(excess: Floats, counts: Floats) -> Floats:
    """The excess of each bin over all voxels, (…, K, M); 0 without a voxel."""
    totals = counts.sum(-1, keepdims=True)
    shares: Floats = np.divide(excess, totals, out=np.zeros_like(excess), where=totals > 0)
    return shares


def _errors(excess: Floats, counts: Floats) -> Floats:
    return _mean(np.abs(_shares(excess, counts)).sum(-1), counts.sum(-1))


def _gaps(excess: Floats, counts: Floats) -> Floats:
    return _mean(_shares(excess, counts).sum(-1), counts.sum(-1))


def _noise(excess: Floats, counts: Floats) -> Statistic:
    """How far the shares of other sums are from those of these."""
    center = _shares(excess, counts)

    def noise(drawn: Floats, of_them: Floats) -> Floats:
        apart = np.abs(_shares(drawn, of_them) - center).sum(-1)
        return _mean(apart, of_them.sum(-1))

    return noise
