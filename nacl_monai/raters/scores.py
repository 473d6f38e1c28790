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

from nacl_monai.errors import InputError
from nacl_monai.metrics.binning import bin_indices
from nacl_monai.raters.masks import Planes, RatedMasks
from nacl_monai.raters.priors import Prior

Array = npt.NDArray[np.float64]

NUM_BINS = 15
#: Probabilities are clipped to [CLIP, 1 - CLIP] in the log-likelihood, so that no voxel costs infinity.
CLIP = 1e-3
METRICS = ("ece", "brier", "nll")
#: The rows of sums per ring: voxels times answers, answers, probabilities, squares, log-likelihood.
_SUMS = 5


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
    counts: Array
    positives: Array
    confidences: Array
    brier: Array
    nll: Array

    def errors(self, metric: str, weights: Array | None = None) -> Array:
        """A score, ``(priors, bands)``, or one per row of weights of patients.

        Args:
            metric: "ece", "brier" or "nll".
            weights: ``(resamples, patients)``; None for every patient once.

        Raises:
            InputError: If there is no such metric.
        """
        if weights is None:
            once: Array = self.errors(metric, np.ones((1, len(self.patients))))[0]
            return once
        if metric not in METRICS:
            raise InputError(f"metric: is {metric!r}; choose one of {', '.join(METRICS)}")
        if metric == "ece":
            shares = self._per_voxel(self.confidences - self.positives)
            gaps: Array = np.abs(self._weighted(shares, weights)).sum(axis=-1)
            return gaps
        return self._weighted(self.by_patient(metric), weights)

    def by_patient(self, metric: str) -> Array:
        """The score of each patient, ``(patients, priors, bands)``; NaN without a voxel."""
        if metric == "ece":
            gaps: Array = np.abs(self._per_voxel(self.confidences - self.positives)).sum(axis=-1)
            return gaps
        sums: Array = getattr(self, metric)
        return self._per_voxel(sums[..., None])[..., 0]

    def reliability(self, prior: int, band: int) -> tuple[Array, Array, Array]:
        """Confidence, accuracy and share of the voxels of each bin, every patient weighing the same."""
        kinds = (self.confidences, self.positives, self.counts)
        shares = (np.nanmean(self._per_voxel(one)[:, prior, band], axis=0) for one in kinds)
        confidence, accuracy, share = shares
        with np.errstate(invalid="ignore"):
            return confidence / share, accuracy / share, share

    def select(self, patients: npt.NDArray[np.bool_]) -> PriorScores:
        """The same of some of the patients."""
        names = [name for name, kept in zip(self.patients, patients, strict=True) if kept]
        sums = (self.counts, self.positives, self.confidences, self.brier, self.nll)
        return PriorScores(names, self.priors, self.bands, *(one[patients] for one in sums))

    def __add__(self, other: PriorScores) -> PriorScores:
        """The scores on the images of both, of the same priors and bands."""
        names = list(dict.fromkeys([*self.patients, *other.patients]))
        sums = []
        for kind in ("counts", "positives", "confidences", "brier", "nll"):
            mine: Array = getattr(self, kind)
            total = np.zeros((len(names), *mine.shape[1:]))
            for part in (self, other):
                total[[names.index(name) for name in part.patients]] += getattr(part, kind)
            sums.append(total)
        return PriorScores(names, self.priors, self.bands, *sums)

    def _per_voxel(self, sums: Array) -> Array:
        with np.errstate(invalid="ignore"):
            ratios: Array = sums / self.counts.sum(axis=-1, keepdims=True)
        return ratios

    def _weighted(self, values: Array, weights: Array) -> Array:
        """Weighted means over the patients in whom a value is defined."""
        defined = ~np.isnan(values)
        flat = np.where(defined, values, 0).reshape(len(values), -1)
        total = weights @ defined.reshape(len(values), -1).astype(np.float64)
        with np.errstate(invalid="ignore"):
            means: Array = (weights @ flat) / total
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
    edges = _ascending(bands)
    sums: dict[str, Array] = {}
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


def _ascending(bands: Sequence[float]) -> Array:
    edges = np.asarray(bands, dtype=np.float64)
    if not len(edges) or edges[0] <= 0 or (np.diff(edges) <= 0).any():
        raise InputError(f"bands: are {list(bands)}; give widths above 0 mm, in ascending order")
    return edges


def _ring_sums(planes: Planes, others: int, priors: Sequence[Prior], edges: Array) -> Array:
    """Sums ``(priors, rings, bins, kinds)`` over the voxels between one band's edge and the next."""
    if not len(planes.masks):
        return np.zeros((len(priors), len(edges), NUM_BINS, _SUMS))
    distance = np.abs(planes.distances)
    near = distance <= edges[-1]
    ring = np.searchsorted(edges, distance[near])
    votes = planes.votes[near]
    return np.stack(
        [_binned(one.soften(planes)[near], votes, others, ring, edges) for one in priors]
    )


def _binned(
    probs: npt.NDArray[Any], votes: npt.NDArray[np.int64], others: int, ring: Any, edges: Array
) -> Array:
    bins = bin_indices(torch.from_numpy(np.ascontiguousarray(probs)), NUM_BINS).numpy()
    p = probs.astype(np.float64)
    clipped = p.clip(CLIP, 1 - CLIP)
    kinds = (
        np.full(len(p), float(others)),
        votes,
        others * p,
        others * p**2 - 2 * p * votes + votes,
        -votes * np.log(clipped) - (others - votes) * np.log1p(-clipped),
    )
    size = len(edges) * NUM_BINS
    sums: list[Any] = [np.bincount(ring * NUM_BINS + bins, kind, size) for kind in kinds]
    return np.stack(sums, axis=-1).reshape(len(edges), NUM_BINS, _SUMS)
