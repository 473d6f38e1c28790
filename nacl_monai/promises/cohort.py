r"""A cohort of new, unlabeled patients: its mean Dice, and whether it is like the calibration patients.

**How good.** Among the :math:`n` calibration patients, Dice :math:`d` follows expected Dice :math:`x` by
a line of least squares with the slope :math:`b` and the residual variance :math:`s^2`. The mean Dice of
:math:`m` new patients, whose expected Dice is :math:`\bar x_m` on average, is

.. math::

    \bar d + b\,(\bar x_m - \bar x) \pm t_{.975,\,n-2}\; s
    \sqrt{\frac1m + \frac1n + \frac{(\bar x_m - \bar x)^2}{\sum_i (x_i - \bar x)^2}}

if they are like those who calibrated. The line moves with expected Dice and not with what probabilities
do not know, so that the interval is for unchanged images. A patient in whom nothing is predicted has no
expected Dice.

**Whether they are like those.** Nobody needs a label for `statistics`. The ranks of each
over all :math:`n + m` patients are brought to mean 0 and variance 1, so that none who is far from all
decides. With the mean :math:`z_k` of the new ones, the largest
:math:`|z_k|` is compared with that of :data:`DRAWS` random divisions of the same patients. If all are
exchangeable, the p-value

.. math:: p = \frac{1 + \#\{\max_k |z_k^*| \ge \max_k |z_k|\}}{1 + \text{draws}}

is at most :math:`a` with a probability of at most :math:`a`. So over random divisions of one pool of
patients p-values are uniform by construction, which tests the code and not the world. A large p-value is
no proof: small changes, and those that leave probabilities as they are, are missed.

References:
    Resampling-Based Multiple Testing (Westfall and Young, 1993), for the largest of several statistics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import entr, stdtrit

from nacl_monai.errors import InputError
from nacl_monai.evaluations.statistics import SIGNIFICANCE
from nacl_monai.inference.promised import SCALE, known_case
from nacl_monai.inference.records import FINGERPRINT, MARGIN, MARGINS
from nacl_monai.metrics.curves import NO_MARGIN, NO_THRESHOLD, THRESHOLDS, Curves
from nacl_monai.promises.control import by_patient
from nacl_monai.tensors import Floats
from nacl_monai.words import interval_text

#: Structure → statistic → its values, by the names of patients.
Known = Mapping[str, Mapping[str, Sequence[float]]]
DRAWS = 9_999
#: The p-value below which an alarm is given.
ALARM = 0.01
#: The end of the second line then.
ALARMED = "moved most, from"
#: The statistics of known_of, of which the second takes labels.
(EXPECTED_DICE, _VOLUME), LABELED = FINGERPRINT, "Dice"
_LEAST = 3  # patients that a line needs
_DECIMALS = 6
_ROUNDING = 1e-9
_NEAR = MARGINS.index(MARGIN)
# The probability of each set between two thresholds.
_STEPS = np.clip([0.0, *(THRESHOLDS[1:-2] + THRESHOLDS[2:-1]) / 2, 1.0], 0, 1)


class CohortError(InputError):
    """The alarm that new patients are unlike the calibration patients; all files are written."""

    exit_code = 3


def statistics(curves: Curves) -> dict[str, Floats]:
    """The statistics of each case without a label, (N, S) each.

    They are expected Dice, the logarithm of the predicted volume in ml, the mean probability in it, the
    probability near it and far from it per predicted voxel, entropy near it, and the voxels
    within a millimeter around it per voxel to the power of 2/3. All are 0 where nothing is predicted.
    """
    predicted = curves.predicted
    sums, counts = curves.sums / SCALE, curves.counts[:, :, :, _NEAR].astype(float)
    inside, near, everywhere = (sums[:, :, NO_THRESHOLD, k] for k in (0, _NEAR, NO_MARGIN))
    around = curves.counts[:, :, NO_THRESHOLD, 1] - predicted
    uncertain = (-np.diff(counts) * (entr(_STEPS) + entr(1 - _STEPS))).sum(-1)
    voxels = predicted.clip(1)
    found = {
        EXPECTED_DICE: curves.expected_dice[:, :, _NEAR],
        _VOLUME: np.log(curves.predicted_volumes, where=predicted > 0, out=0.0 * voxels),
        "probability inside": inside / voxels,
        "probability near": (near - inside) / voxels,
        "probability far away": (everywhere - near) / voxels,
        "entropy near": uncertain / counts[:, :, NO_THRESHOLD].clip(1),
        "surface": around / voxels ** (2 / 3),
    }
    return {name: np.where(predicted > 0, values, 0.0) for name, values in found.items()}


def known_of(curves: Curves, *, labeled: bool) -> dict[str, dict[str, list[float]]]:
    """The statistics of each patient, the mean over their cases; of labeled ones Dice, too."""
    found = statistics(curves) | ({LABELED: curves.dice} if labeled else {})
    means = {name: by_patient(values, curves.patients) for name, values in found.items()}
    return _by_structure(curves, means)


def known_images(curves: Curves) -> Known:
    """The statistics by which each case is recognized where patients have several; else empty."""
    if len({*curves.patients}) == len(curves.cases):  # whose own are kept
        return {}
    found = statistics(curves)
    return _by_structure(curves, {name: found[name] for name in FINGERPRINT})


def _by_structure(curves: Curves, found: Mapping[str, Floats]) -> dict[str, dict[str, list[float]]]:
    return {
        structure: {name: values[:, k].round(_DECIMALS).tolist() for name, values in found.items()}
        for k, structure in enumerate(curves.structures)
    }


def check_strangers(curves: Curves, known: Known) -> None:
    """Refuses the curves of cases one of which calibrated, under whatever name.

    Args:
        curves: Of new cases.
        known: From `known_images`, or of patients from `known_of`.

    Raises:
        InputError: If a case has the prediction of one of them.
    """
    found = statistics(curves)
    for row, case in enumerate(curves.cases):
        numbers = {
            structure: {name: float(values[row, k]) for name, values in found.items()}
            for k, structure in enumerate(curves.structures)
        }
        if fault := known_case(numbers, known):
            raise InputError(f"{case}: {fault}")


class MeanDice(NamedTuple):
    """The mean Dice of new patients, with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


def mean_dice(dice: Floats, expected: Floats, new: Floats) -> MeanDice | None:
    """The mean Dice of new patients by the line of the calibration patients.

    Args:
        dice: Of the calibration patients, (n,).
        expected: Their expected Dice, 0 where nothing is predicted.
        new: That of the new ones, (m,).

    Returns:
        None if fewer than three calibration patients, or none of the new ones, have a prediction.

    Example:
        >>> x = np.array([0.7, 0.8, 0.9, 0.8])
        >>> round(mean_dice(x - 0.1, x, np.array([0.8, 0.9])).value, 3)
        0.75
    """
    dice, x, new = dice[expected > 0], expected[expected > 0], new[new > 0]
    if len(x) < _LEAST or not len(new):
        return None
    from_mean, away = x - x.mean(), new.mean() - x.mean()
    spread = (from_mean**2).sum()
    slope = (from_mean * dice).sum() / spread if spread else 0.0
    residuals = dice - dice.mean() - slope * from_mean
    leverage = away**2 / spread if spread else 0.0
    variance = (residuals**2).sum() / (len(x) - 2) * (1 / len(new) + 1 / len(x) + leverage)
    half = stdtrit(len(x) - 2, 0.975) * np.sqrt(variance)
    value = dice.mean() + slope * away
    return MeanDice(*np.clip([value, value - half, value + half], 0, 1).tolist())


def permutation_test(
    calibration: Floats, new: Floats, draws: int = DRAWS, seed: int = 0
) -> tuple[float, int]:
    """The p-value that new patients are like others, and the position of what moved most.

    Args:
        calibration: Statistics, (n, K).
        new: The same of the others, (m, K).
        draws: Random divisions.
        seed: Of these.

    Example:
        >>> old, new = np.arange(40.0)[:, None], np.arange(10.0)[:, None]
        >>> permutation_test(old, new + 15)[0] > 0.5, permutation_test(old, new + 60)[0]
        (True, 0.0001)
    """
    ranks = pd.DataFrame(np.concatenate([calibration, new])).rank().to_numpy()
    spread = ranks.std(0)
    z = (ranks - ranks.mean(0)) / np.where(spread > 0, spread, 1)
    rng, number = np.random.default_rng(seed), len(new)
    found = abs(z[-number:].sum(0))
    drawn = (abs(z[rng.permutation(len(z))[:number]].sum(0)).max() for _ in range(draws))
    beyond = sum(bool(other >= found.max() - _ROUNDING) for other in drawn)
    return (1 + beyond) / (1 + draws), int(found.argmax())


def cohort_lines(known: Known, new: Curves, cases: str) -> list[str]:
    """The lines about all new cases together; only the second if no line can be fitted.

    Args:
        known: Of the calibration patients, as a promise has it.
        new: The curves of new cases, without labels.
        cases: How many there are, in words.
    """
    found = known_of(new, labeled=False)
    names = [(structure, name) for structure in found for name in found[structure]]
    before, now = (
        np.array([whose[structure][name] for structure, name in names]).T
        for whose in (known, found)
    )
    p_value, most = permutation_test(before, now)
    means = []
    for structure, numbers in known.items():
        x, dice = np.array(numbers[EXPECTED_DICE]), np.array(numbers[LABELED])
        if mean := mean_dice(dice, x, np.array(found[structure][EXPECTED_DICE])):
            means.append(f"{interval_text(mean.value, mean.low, mean.high)} of {structure}")
    alike = f"{_difference(p_value)} (p = {p_value:.2g})"
    if p_value < ALARM:
        ends = f"{before[:, most].mean():.3g} to {now[:, most].mean():.3g}"
        alike += f": {names[most][1]} of {names[most][0]} {ALARMED} {ends}"
    if not means:
        return [f"{alike}."]
    which = "This" if len(new.cases) == 1 else "These"
    line = (
        f"{which} {cases}: mean Dice {', '.join(means)}, if they are like those who calibrated, and "
        "images are unchanged."
    )
    return [line, f"{alike}."]


def _difference(p_value: float) -> str:
    """The meaning of a p-value, in words."""
    if p_value < ALARM:
        return "They differ from those who calibrated"
    if p_value < SIGNIFICANCE:
        return "A weak sign that they differ from those who calibrated, and no alarm"
    return "No sign that they differ from those who calibrated"
