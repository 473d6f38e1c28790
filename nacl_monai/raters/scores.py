r"""How well a softened mask predicts the other raters, in a band around the rater's own border.

Each rater in turn predicts all others. A voxel counts where it is at most so many mm from the border of
the rater who predicts; nothing about the others decides which voxels count. Every patient weighs the
same, however large the structures, however many. With the sums :math:`n_{pi}`, :math:`c_{pi}`,
:math:`a_{pi}` of voxels, probabilities and answers of patient :math:`p` in bin :math:`i`, :math:`n_p =
\sum_i n_{pi}`,

.. math::

    \mathrm{ECE} = \sum_i \left| \frac{1}{P} \sum_p \frac{c_{pi} - a_{pi}}{n_p} \right|

the calibration error of the probability of the structure over all patients. The Brier score and the
negative log-likelihood, means over a patient's voxels, reward sharpness as well; both are least, in
expectation, for the true probability.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import norm
from scipy.stats import t as student

from nacl_monai.errors import InputError
from nacl_monai.evaluations.statistics import percentile_interval
from nacl_monai.metrics.bins import bin_indices
from nacl_monai.metrics.pooled import COVERAGE, draws
from nacl_monai.raters.priors import Planes, Prior, RatedMasks
from nacl_monai.tensors import Floats

NUM_BINS = 15
#: Probabilities are clipped to [CLIP, 1 - CLIP] in the log-likelihood, so that no voxel costs infinity.
CLIP = 1e-3
WIDTH_METRICS = ("ece", "brier", "nll")
#: The sums per ring: voxels times answers, answers, probabilities, squares, log-likelihood.
_KINDS = ("counts", "positives", "confidences", "brier", "nll")


@dataclass(frozen=True)
class PriorScores:
    """Sums over the voxels of each patient, from which all scores follow.

    Attributes:
        patients: Whose, in the order of the first axis.
        priors: In the order of the second.
        bands: Widths to either side of a border, in mm, in the order of the third.
        counts: Pairs of a voxel and another rater's answer, ``(patients, priors, bands, bins)``.
        positives: Those in which the other rater marks the voxel.
        confidences: Sums of their probabilities.
        brier: Sums of squared differences, ``(patients, priors, bands)``.
        nll: Sums of the negative log-likelihood.
    """

    patients: Sequence[str]
    priors: Sequence[Prior]
    bands: Sequence[float]
    counts: Floats
    positives: Floats
    confidences: Floats
    brier: Floats
    nll: Floats

    def errors(self, metric: str, weights: Floats | None = None) -> Floats:
        """A score, ``(priors, bands)``, or one per row of weights of patients.

        Args:
            metric: "ece", "brier" or "nll".
            weights: ``(resamples, patients)``; None for every patient once.

        Raises:
            InputError: If there is no such metric.
        """
        if weights is None:
            once: Floats = self.errors(metric, np.ones((1, len(self.patients))))[0]
            return once
        if metric not in WIDTH_METRICS:
            raise InputError(f"metric: is {metric!r}; choose one of {', '.join(WIDTH_METRICS)}")
        if metric == "ece":
            shares = self.per_voxel(self.confidences - self.positives)
            gaps: Floats = np.abs(self._weighted(shares, weights)).sum(axis=-1)
            return gaps
        return self._weighted(self.by_patient(metric), weights)

    def by_patient(self, metric: str) -> Floats:
        """The score of each patient, ``(patients, priors, bands)``; NaN without a voxel."""
        if metric == "ece":
            gaps: Floats = np.abs(self.per_voxel(self.confidences - self.positives)).sum(axis=-1)
            return gaps
        sums: Floats = getattr(self, metric)
        return self.per_voxel(sums[..., None])[..., 0]

    def select(self, patients: npt.NDArray[np.bool_]) -> PriorScores:
        """The same of some of the patients."""
        names = [name for name, kept in zip(self.patients, patients, strict=True) if kept]
        sums = (getattr(self, kind)[patients] for kind in _KINDS)
        return PriorScores(names, self.priors, self.bands, *sums)

    def __add__(self, other: PriorScores) -> PriorScores:
        """The scores on the images of both, of the same priors and bands."""
        names = list(dict.fromkeys([*self.patients, *other.patients]))
        sums = []
        for kind in _KINDS:
            mine: Floats = getattr(self, kind)
            total = np.zeros((len(names), *mine.shape[1:]))
            for part in (self, other):
                total[[names.index(name) for name in part.patients]] += getattr(part, kind)
            sums.append(total)
        return PriorScores(names, self.priors, self.bands, *sums)

    def per_voxel(self, sums: Floats) -> Floats:
        """Sums over bins or other last axes, divided by the voxels of each patient, prior and band."""
        with np.errstate(invalid="ignore"):
            ratios: Floats = sums / self.counts.sum(axis=-1, keepdims=True)
        return ratios

    def _weighted(self, values: Floats, weights: Floats) -> Floats:
        """Weighted means over the patients in whom a value is defined."""
        defined = ~np.isnan(values)
        flat = np.where(defined, values, 0).reshape(len(values), -1)
        total = weights @ defined.reshape(len(values), -1).astype(np.float64)
        with np.errstate(invalid="ignore"):
            means: Floats = (weights @ flat) / total
        return means.reshape(len(weights), *values.shape[1:])


def score_priors(
    images: Iterable[RatedMasks], priors: Sequence[Prior], bands: Sequence[float]
) -> PriorScores:
    """Scores priors on images that several raters marked.

    Args:
        images: Images of any number of patients, each with one or more.
        priors: What softens the masks.
        bands: How far from a border voxels count, in mm, ascending.

    Raises:
        InputError: If there is no image, or the bands do not ascend.
    """
    edges = np.asarray(bands, dtype=np.float64)
    if not len(edges) or edges[0] <= 0 or (np.diff(edges) <= 0).any():
        raise InputError(f"bands: are {list(bands)}; give widths above 0 mm, in ascending order")
    sums: dict[str, Floats] = {}
    for image in images:
        rings = _ring_sums(image.planes(), image.others, priors, edges)
        sums[image.patient] = sums.get(image.patient, 0) + rings
    if not sums:
        raise InputError("images: are none; give images that several raters marked")
    within = np.cumsum(np.stack(list(sums.values())), axis=2)
    counts, positives, confidences, brier, nll = np.moveaxis(within, -1, 0)
    return PriorScores(
        list(sums), priors, bands, counts, positives, confidences, brier.sum(-1), nll.sum(-1)
    )


def _ring_sums(planes: Planes, other_raters: int, priors: Sequence[Prior], edges: Floats) -> Floats:
    """Sums ``(priors, rings, bins, kinds)`` over the voxels between one band's edge and the next."""
    distance = np.abs(planes.distances)
    near = distance <= edges[-1]
    ring = np.searchsorted(edges, distance[near])
    votes = planes.votes[near]
    return np.stack(
        [_binned(prior.soften(planes)[near], votes, other_raters, ring, edges) for prior in priors]
    )


def _binned(
    probs: npt.NDArray[Any],
    votes: npt.NDArray[np.int64],
    other_raters: int,
    ring: Any,
    edges: Floats,
) -> Floats:
    bins = bin_indices(torch.from_numpy(np.ascontiguousarray(probs)), NUM_BINS).numpy()
    p = probs.astype(np.float64)
    clipped = p.clip(CLIP, 1 - CLIP)
    kinds = (
        np.full(len(p), float(other_raters)),
        votes,
        other_raters * p,
        other_raters * p**2 - 2 * p * votes + votes,
        -votes * np.log(clipped) - (other_raters - votes) * np.log1p(-clipped),
    )
    size = len(edges) * NUM_BINS
    sums: list[Any] = [np.bincount(ring * NUM_BINS + bins, kind, size) for kind in kinds]
    return np.stack(sums, axis=-1).reshape(len(edges), NUM_BINS, len(_KINDS))


#: Resamplings of patients for an interval.
WIDTH_RESAMPLES = 1000


@dataclass(frozen=True)
class FittedWidth:
    """A width fitted to raters.

    Attributes:
        family: The prior's family.
        metric: What is least at the best width.
        band: How far from a border voxels counted, in mm.
        widths: The widths that were tried, in mm, ascending.
        scores: The metric of each.
        best: The width of the least score, between those that were tried, in mm.
        low: Lower end of its 95 % interval, by bootstrap over patients.
        high: Its upper end.
        flat: The least and the largest width whose score cannot be told from the least: the interval of
            the difference holds 0.
        patients: How many.
    """

    family: str
    metric: str
    band: float
    widths: Floats
    scores: Floats
    best: float
    low: float
    high: float
    flat: tuple[float, float]
    patients: int

    @property
    def least(self) -> float:
        """The score at the best width."""
        return float(self.scores.min())

    @property
    def doubt(self) -> str | None:
        """Why the data cannot tell the width, or None."""
        first, last = self.widths[[0, -1]]
        if self.patients < 2:
            return "there is one patient, and so no interval"
        if self.flat[0] <= first and self.flat[1] >= last:
            return "every width that was tried predicts the raters alike"
        if self.low <= first or self.high >= last:
            return f"its interval reaches the end of what was tried, {first:.3g} to {last:.3g} mm"
        return None


def fit_width(
    scores: PriorScores,
    family: str,
    metric: str = "brier",
    band: int = -1,
    *,
    resamples: int = WIDTH_RESAMPLES,
    seed: int = 0,
) -> FittedWidth:
    """The width of a family of priors with the least score.

    Args:
        scores: The scores of three or more widths of the family, in ascending order.
        family: "blur", "distance", "mean" or another with widths.
        metric: "brier", a proper score, or "nll" or "ece".
        band: The position of the band in ``scores.bands``.
        resamples: How often patients are resampled for the interval.
        seed: The seed of the resamplings.

    Raises:
        InputError: If there are fewer than three widths, no such metric, or no voxel in the band.
    """
    chosen = np.array([prior.family == family and prior.width > 0 for prior in scores.priors])
    widths = np.array([prior.width for prior in scores.priors])[chosen]
    if metric not in WIDTH_METRICS or len(widths) < 3:
        raise InputError(
            f"family, metric: {family!r} has {len(widths)} widths by {metric!r}; try 3 or more"
        )
    measured = scores.counts[:, :, band].sum(axis=(1, 2)) > 0
    if not measured.any():
        raise InputError(
            f"--band: is {scores.bands[band]:g} mm, and no voxel is so near to a border; give a wider "
            "one"
        )
    scores = scores.select(measured)
    curve = scores.errors(metric)[chosen, band]
    weights = draws(len(scores.patients), resamples, seed)
    curves = scores.errors(metric, weights)[:, chosen, band]
    low, high = percentile_interval(_lowest(widths, curves), expanded(len(scores.patients)))
    excess = percentile_interval(curves - curves[:, [curve.argmin()]])
    alike = widths[excess[0] <= 0]
    best = float(_lowest(widths, curve[None])[0])
    ends = float(low), float(high), (float(alike[0]), float(alike[-1]))
    patients = len(scores.patients)
    return FittedWidth(family, metric, scores.bands[band], widths, curve, best, *ends, patients)


def expanded(patients: int, coverage: float = COVERAGE) -> float:
    """The coverage by which a percentile interval is as wide as Student's t would have it.

    Drawn with replacement, few patients vary too little, and a normal distribution has too thin tails
    for them: 10 patients cover 95 % by the percentiles of 98.3 %.

    References:
        What Teachers Should Know About the Bootstrap (Hesterberg, 2015), section 3.2.

    Example:
        >>> round(expanded(10), 3), round(expanded(1000), 3)
        (0.983, 0.95)
    """
    if patients < 2:
        return coverage
    quantile = student.ppf((1 + coverage) / 2, patients - 1)
    wider = float(norm.cdf(quantile * np.sqrt(patients / (patients - 1))))
    return 2 * wider - 1


def _lowest(widths: Floats, curves: Floats) -> Floats:
    """The minimum of each curve: that of the parabola through its lowest point and both neighbors.

    Args:
        widths: Ascending.
        curves: ``(n, widths)``.
    """
    at = curves.argmin(axis=1)
    inner = at.clip(1, len(widths) - 2)
    x = np.log(widths)[inner[:, None] + np.array([-1, 0, 1])]
    y = np.take_along_axis(curves, inner[:, None] + np.array([-1, 0, 1]), axis=1)
    left, right = x[:, 1] - x[:, 0], x[:, 1] - x[:, 2]
    up, down = y[:, 1] - y[:, 2], y[:, 1] - y[:, 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        lowest = x[:, 1] - (left**2 * up - right**2 * down) / (2 * (left * up - right * down))
    usable = (at == inner) & np.isfinite(lowest)
    found: Floats = np.where(usable, np.exp(np.where(usable, lowest, 0)), widths[at])
    return found
