"""The coverage of a cohort's mean volume, where people of a real network are drawn again and again."""

from collections.abc import Callable
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from nacl_monai.promises.mean import Volumes, cohort_mean, labels_alone

Array = npt.NDArray[np.float64]
LABELS, NEW = (20, 50, 100, 200), 300
DRAWS, _RESAMPLES = 1000, 400
_Interval = Callable[[Volumes], tuple[float, float]]


def bootstrap(part: Volumes) -> tuple[float, float]:
    """The studentized bootstrap of `cohort_mean`."""
    rng, found = np.random.default_rng(0), cohort_mean(part)
    totals, variances = np.zeros(_RESAMPLES), np.zeros(_RESAMPLES)
    for values in part.parts():
        again = rng.choice(values, (_RESAMPLES, len(values)))
        totals += again.mean(1)
        variances += again.var(1, ddof=1) / len(values)
    low, high = np.quantile((totals - found.mean) / np.sqrt(variances), [0.025, 0.975])
    return float(found.mean - high * found.error), float(found.mean - low * found.error)


def _tuned(part: Volumes, normal: bool) -> tuple[float, float]:
    """With λ by the labels (PPI++), and Student's interval, or the normal one of ppi-python."""
    labels, new = len(part.labeled), len(part.new)
    spread = np.concatenate(part[1:]).var(ddof=1)
    together = np.mean(
        (part.labeled - part.labeled.mean()) * (part.predicted - part.predicted.mean())
    )
    share = np.clip(together / ((1 + labels / new) * spread), 0, 1) if spread else 0.0
    parts = part.parts(share)
    mean, lost = sum(values.mean() for values in parts), 0 if normal else 1
    of_parts = np.array([values.var(ddof=lost) / len(values) for values in parts])
    freedom = of_parts.sum() ** 2 / (of_parts**2 / [labels - 1, new - 1]).sum()
    half = stdtrit(1e9 if normal else freedom, 0.975) * np.sqrt(of_parts.sum())
    return float(mean - half), float(mean + half)


INTERVALS: dict[str, _Interval] = {
    "labels alone, t": lambda part: labels_alone(part).interval(),
    "--mean, t": lambda part: cohort_mean(part).interval(),
    "--mean, studentized bootstrap": bootstrap,
    "λ by the labels, t": lambda part: _tuned(part, False),
    "λ by the labels, normal": lambda part: _tuned(part, True),
}


def coverage(labeled: Array, predicted: Array) -> Array:
    """Of each number of labels and interval: how often it covers, and its width by that of labels alone.

    Args:
        labeled: Volumes of people, who are drawn with replacement.
        predicted: Of the same.
    """
    rng, truth = np.random.default_rng(0), labeled.mean()
    found = np.zeros((len(LABELS), len(INTERVALS), DRAWS, 2))
    for (place, number), draw in product(enumerate(LABELS), range(DRAWS)):
        first, second = (rng.integers(len(labeled), size=size) for size in (number, NEW))
        part = Volumes(labeled[first], predicted[first], predicted[second])
        found[place, :, draw] = [interval(part) for interval in INTERVALS.values()]
    covered = ((found[..., 0] <= truth) & (truth <= found[..., 1])).mean(-1)
    widths = np.diff(found, axis=-1)[..., 0].mean(-1)
    return np.stack([covered, widths / widths[:, :1]], -1)


def rows(found: Array) -> list[list[str]]:
    """A row for each interval and number of labels: the least and the most of several `coverage`."""
    low, high = found.min(0), found.max(0)
    table = []
    for (k, name), (j, number) in product(enumerate(INTERVALS), enumerate(LABELS)):
        (least, narrow), (most, wide) = low[j, k], high[j, k]
        cells = f"{least:.1%} to {most:.1%}", f"{narrow:.2f} to {wide:.2f}"
        table.append([name, str(number), *cells])
    return table
