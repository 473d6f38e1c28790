"""Sums that no voxels give: each fault by name, with where it is, cases first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from nacl_monai.metrics.bins import CalibrationBins
    from nacl_monai.metrics.decisions import Decisions
    from nacl_monai.metrics.fine_bins import FineBins
    from nacl_monai.metrics.scores import ScoreSums

Faults = dict[str, npt.NDArray[np.bool_]]
Sums = npt.NDArray[Any]
# In half precision edges are rounded, and a probability may be a little above 1.
_ROUNDED = 1e-2


def bins_faults(bins: CalibrationBins) -> Faults:
    """Where equal bins hold what no voxels give."""
    edges = np.linspace(0, 1, bins.num_bins + 1)
    counts, positives, confidences = bins.arrays().values()
    slack = _ROUNDED * counts + 1e-9
    return {
        "a count is negative": (counts < 0) | (positives < 0),
        "more voxels are right than there are": positives > counts,
        "a confidence is outside its bin": ~(
            (confidences >= counts * edges[:-1] - slack)
            & (confidences <= counts * edges[1:] + slack)
        ),
        "classes have other numbers of voxels": np.ptp(counts.sum(axis=-1), axis=-1)[..., None] > 0,
    }


def fine_faults(fine: FineBins, top: CalibrationBins) -> Faults:
    """Where fine bins hold what no voxels give, or are of other voxels than the equal ones."""
    counts, _, errors = fine.arrays().values()
    wrong = (top.counts - top.positives).sum(-1).numpy()
    return {
        "a count of the fine bins cannot be": ((counts < 0) | (errors < 0) | (errors > counts)).any(
            -1
        ),
        "the fine bins are of other voxels": (counts.sum(-1) != top.counts.sum(-1).numpy())
        | (errors.sum(-1) != wrong),
    }


def score_faults(scores: ScoreSums, top: CalibrationBins) -> Faults:
    """Where scores are what no voxels give, or are of other voxels than the bins."""
    counts, (nll, brier) = scores.counts.numpy(), scores.scores.numpy().transpose(2, 0, 1)
    slack = _ROUNDED * counts + 1e-9
    return {
        "the scores are of other voxels": counts != top.counts.sum(-1).numpy(),
        "a score cannot be": ~((nll >= -slack) & (brier >= -slack) & (brier <= 2 * counts + slack)),
    }


def decision_faults(decisions: Decisions) -> Faults:
    """Where a volume is what no voxels give, ``(cases, structures)``."""
    volumes = {name: tensor.numpy() for name, tensor in vars(decisions).items()}
    slack = _ROUNDED * sum(volumes.values()) + 1e-9
    parts = {
        "overlap": ("predicted", "labeled"),
        "expected_overlap": ("predicted", "expected"),
        "expected": ("expected_everywhere",),
        "missed": ("labeled",),
    }
    wrong: npt.NDArray[np.bool_] = np.any(
        [~(volume >= -slack) | np.isinf(volume) for volume in volumes.values()]
        + [volumes[part] > volumes[whole] + slack for part in parts for whole in parts[part]],
        axis=0,
    )
    return {"a volume cannot be": wrong}


def curve_faults(thresholds: Sums, counts: Sums, hits: Sums, sums: Sums) -> Faults:
    """Where curves hold what no voxels give, ``(cases, structures)``.

    Args:
        thresholds: (K,).
        counts: As `nacl_monai.metrics.curves.Curves` has them, (N, S, K, M).
        hits: As there.
        sums: As there.
    """
    outside = [((part < 0) | (part >= 2**62)).any((2, 3)) for part in (counts, hits, sums)]
    voxels, labeled, probs = (  # of each threshold and margin alone
        -np.diff(np.diff(part, prepend=0, axis=3), append=0, axis=2)
        for part in (counts, hits, sums)
    )
    low, high = thresholds[:, None], np.append(thresholds[1:-1], [1 + _ROUNDED, 0])[:, None]
    expected, slack = probs / 2.0**32, 1e-6 * np.abs(voxels) + 1e-9
    return {
        "a count cannot be": np.any(outside, axis=0) | (voxels < 0).any((2, 3)),
        "a count of labeled voxels cannot be": ((labeled < 0) | (labeled > voxels)).any((2, 3)),
        "a sum of probabilities is not between its thresholds": (
            (expected < low * voxels - slack) | (expected > high * voxels + slack)
        ).any((2, 3)),
        "structures have other numbers of voxels": np.ptp(counts[:, :, 0, -1], axis=1)[:, None] > 0,
    }
