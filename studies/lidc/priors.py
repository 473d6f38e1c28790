"""The priors that the study compares, and one fitted to half of the patients against another."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit
from scipy.stats import wilcoxon

from nacl_monai.evaluations.statistics import percentile_interval
from nacl_monai.losses.neighborhood import window_of_width
from nacl_monai.metrics.pooled import draws
from nacl_monai.raters.priors import (
    Planes,
    Prior,
    Probs,
    RatedMasks,
    blur,
    softened,
    softened_to_width,
)
from nacl_monai.raters.scores import CLIP, WIDTH_METRICS, WIDTH_RESAMPLES, PriorScores, fit_width
from nacl_monai.tensors import Floats


def hard() -> Prior:
    """The mask itself: what cross-entropy holds a network to."""
    return Prior("hard", "hard labels", math.nan, lambda planes: planes.masks.astype(np.float32))


def svls(sigma: float = 1.0, kernel_size: int = 3) -> Prior:
    """The labels of SVLS, in voxels."""
    name = f"SVLS {kernel_size}×{kernel_size}, σ {sigma:g}"
    return _in_voxels("svls", name, "gaussian", kernel_size, sigma)


def window(kernel_size: int = 3) -> Prior:
    """The paper's prior, the mean over a window of so many voxels."""
    return _in_voxels("window", f"NACL {kernel_size}×{kernel_size}", "mean", kernel_size)


def gaussian(sigma: float = 1.0) -> Prior:
    """A blur by a Gaussian, in voxels."""
    (size,) = window_of_width("blur", sigma, (1.0,))[0]
    return _in_voxels("gaussian", f"Gaussian, σ {sigma:g}", "blur", size, sigma)


def _in_voxels(family: str, label: str, prior: str, size: int, *sigma: float) -> Prior:
    """A prior over a window of so many voxels along each axis, without a width in mm."""

    def soften(planes: Planes) -> Probs:
        return softened(planes, prior, [size] * len(planes.spacing), *sigma)

    return Prior(family, label, math.nan, soften)


def mean(width: float) -> Prior:
    """The mean over the window, odd along each axis, whose width is nearest."""
    name = f"mean, {width:.2f} mm"
    return Prior("mean", name, width, lambda planes: softened_to_width(planes, "mean", width))


def logistic(width: float) -> Prior:
    """A logistic function of the distance to the rater's border, however it bends."""
    scale = width * math.sqrt(3) / math.pi
    name = f"distance, {width:.2f} mm"
    return Prior("distance", name, width, lambda planes: expit(planes.distances / scale))


#: The families that a width is fitted to, by name.
FAMILIES: dict[str, Callable[[float], Prior]] = {"blur": blur, "distance": logistic, "mean": mean}


def reliability(scores: PriorScores, prior: int, band: int) -> tuple[Floats, Floats, Floats]:
    """Confidence, accuracy and share of the voxels of each bin, every patient weighing the same."""
    kinds = (scores.confidences, scores.positives, scores.counts)
    shares = (np.nanmean(scores.per_voxel(kind)[:, prior, band], axis=0) for kind in kinds)
    confidence, accuracy, share = shares
    with np.errstate(invalid="ignore"):
        return confidence / share, accuracy / share, share


def bin_table(scores: PriorScores, prior: int, band: int) -> pd.DataFrame:
    """The bins of `reliability` with voxels, as a picture of them shows them."""
    names = ("confidence", "accuracy", "share")
    bins = zip(names, reliability(scores, prior, band), strict=True)
    table = pd.DataFrame({"prior": scores.priors[prior].label, **dict(bins)})
    return table[table["share"] > 0]


def nearest(scores: PriorScores, family: str, width: float) -> int:
    """The position of the prior of a family whose width is nearest."""
    ratios = [
        abs(np.log(prior.width / width)) if prior.family == family else np.inf
        for prior in scores.priors
    ]
    return int(np.argmin(ratios))


def halves(patients: int, seed: int = 0) -> npt.NDArray[np.bool_]:
    """Which patients are of the half that a width is fitted to."""
    chosen = np.zeros(patients, np.bool_)
    chosen[np.random.default_rng(seed).permutation(patients)[: patients // 2]] = True
    return chosen


def held_out(
    scores: PriorScores,
    family: str,
    rival: str,
    criterion: str = "brier",
    band: int = -1,
    *,
    seed: int = 0,
) -> pd.DataFrame:
    """Fits a width to one half of the patients, and compares it with another prior on the other half.

    Args:
        scores: The scores of both.
        family: Whose width is fitted.
        rival: The label of the other prior.
        criterion: The metric that is least at the fitted width.
        band: The position of the band.
        seed: The seed of the halves and the resamplings.

    Returns:
        One row per metric: ``fitted`` and ``rival``, over the test patients; ``difference`` of the two,
        with ``low`` and ``high``, the ends of its 95 % interval by bootstrap over patients; ``p``,
        Wilcoxon's signed-rank test of the patients' own scores; ``better``, in how many patients the
        fitted is; ``patients``; ``width``, the fitted one in mm, the nearest that was tried.
    """
    training = halves(len(scores.patients), seed)
    fit = fit_width(scores.select(training), family, criterion, band, resamples=2, seed=seed)
    test = scores.select(~training)
    mine = nearest(scores, family, fit.best)
    other = next(k for k, prior in enumerate(scores.priors) if prior.label == rival)
    weights = draws(len(test.patients), WIDTH_RESAMPLES, seed)
    rows = []
    for metric in WIDTH_METRICS:
        whole, drawn = test.errors(metric)[:, band], test.errors(metric, weights)[:, :, band]
        low, high = percentile_interval(drawn[:, mine] - drawn[:, other])
        own = test.by_patient(metric)[:, [mine, other], band]
        gains = np.diff(own[~np.isnan(own).any(axis=1)], axis=1)[:, 0]
        p = float(wilcoxon(gains).pvalue) if gains.any() else 1.0
        row = {"metric": metric, "width": scores.priors[mine].width, "fitted": whole[mine]}
        row |= {"rival": whole[other], "difference": whole[mine] - whole[other]}
        row |= {"low": low, "high": high, "p": p}
        rows.append(row | {"better": int((gains > 0).sum()), "patients": len(gains)})
    return pd.DataFrame(rows)


def certain_share(
    images: Iterable[RatedMasks], first: Prior, second: Prior, band: float
) -> tuple[float, float]:
    """How much of two priors' difference in NLL is of voxels where the first is certain, so clipped.

    Args:
        images: Those of several raters.
        first: Such as `window`, which says 0 and 1.
        second: Another.
        band: Voxels up to here from a border count, in mm.

    Returns:
        The share of the difference, and that of the voxels; means over patients.
    """
    sums: dict[str, Floats] = {}
    for image in images:
        planes = image.planes()
        near = np.abs(planes.distances) <= band
        votes, probs = planes.votes[near], [prior.soften(planes)[near] for prior in (first, second)]
        clipped = [p.astype(float).clip(CLIP, 1 - CLIP) for p in probs]
        losses = [-votes * np.log(p) - (image.others - votes) * np.log1p(-p) for p in clipped]
        gap, certain = losses[0] - losses[1], clipped[0] != probs[0]
        parts = [gap.sum(), gap[certain].sum(), certain.sum(), len(gap)]
        sums[image.patient] = sums.get(image.patient, 0) + np.array(parts)
    total = np.stack(list(sums.values()))
    gaps, of_certain, certain = (total[:, :3] / total[:, 3:]).mean(0)
    return float(of_certain / gaps), float(certain)
