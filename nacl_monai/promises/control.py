r"""Risk control: from the losses of calibration patients to a set that holds for the next one.

The unit is the patient, since patients are exchangeable and voxels are not. A rule has a loss
:math:`L_i(\lambda)` in [0, 1] for each patient, where :math:`\lambda` orders its choices from the most
cautious one to the boldest.

**each** takes, of n patients, the boldest :math:`\lambda` with

.. math::

    \frac{\sum_i 1\{W_i(\lambda) > \beta\} + 1}{n + 1} \le \alpha,

where :math:`W_i` is the largest of a patient's :math:`L`, the worst of their cases. So at most a share
:math:`\beta` of a structure is outside in all new patients but a share :math:`\alpha`. It is split
conformal prediction: the :math:`\lceil (n + 1)(1 - \alpha) \rceil`-th of the patients' critical
:math:`\lambda`, up to which their miss is at most :math:`\beta`, from the boldest on (as ConSeMa has
it for margins). An interval or a bound fails a patient whom it fails once. With this rank k, the share
of new patients who fail is Beta(n + 1 − k, k) over draws of the n who calibrate (`Control.law`), and
less where patients tie. Of the n themselves n − k fail, whatever the network, so that this number tests
nothing; nor does the number of those who fail if each is left out in turn.

**mean** has for each patient the mean of L over their cases, and takes the boldest :math:`\lambda` with

.. math:: \frac{\sum_i L_i(\lambda) + 1}{n + 1} \le \alpha,

so that the expected loss of a new patient is at most :math:`\alpha` (conformal risk control). The mean
loss of patients who are each left out in turn is at most :math:`\alpha` for any losses at all, since no
one of them moves the sum by more than the 1 that is added: it tests nothing, either.

**most** has the same losses, and goes from the most cautious :math:`\lambda` on, as long as the
hypothesis that the risk is above :math:`\alpha` has a p-value of at most :math:`\delta` (Learn then
Test, fixed sequence; for losses that grow with :math:`\lambda` it is the upper bound of RCPS):

.. math::

    p = \min\bigl(e^{-n\, h(\min(\hat R, \alpha), \alpha)},\;
        e\, P[\mathrm{Bin}(n, \alpha) \le \lceil n \hat R \rceil]\bigr), \quad
    h(a, b) = a \ln\tfrac{a}{b} + (1 - a) \ln\tfrac{1 - a}{1 - b}.

Then the risk is at most :math:`\alpha` for all but a share :math:`\delta` of the draws of calibration
patients.

**Families.** A contour has the voxels that reach a threshold, which depends on how far they are from the
predicted structure, one for each of the :data:`MARGINS`. A path orders sets from none to all voxels,
each within the next, so that one λ says all thresholds: "threshold" lowers one for all; "margin" takes
the predicted structure and then margin after margin, which needs no probabilities; "within" lowers a
threshold t to 0 within a margin, and then in what each wider margin adds. Beyond that it takes the
voxels that are much surer, of :math:`p \ge u` with
:math:`\operatorname{logit} u = \operatorname{logit}(t) / 6` (u is t above one half): a part that is
missed as a whole, such as a slice at the end of an organ, need not wait for the margin. So every path
keeps every promise, if only by all voxels. The path is fixed in advance: the tightest of several for the
patients who calibrate is not so for the next one, and a promise that is made by choosing among paths is
too much. Another margin than :data:`MARGIN` may be chosen by patients who do not calibrate.

Wrong voxels in an inner contour are a share that may fall as the set grows. Its largest value over all
smaller sets never falls and is no smaller, so that control of it is control of the share, too
(`grown`). A few voxels may all be wrong, so an inner contour of less than :data:`LEAST` of the predicted
structure is left empty; that, too, is a rule of the prediction alone, and sets stay within each other.

References:
    Conformal Risk Control (Angelopoulos et al., 2022), arXiv 2208.02814, theorem 1.
    Morphological prediction sets (ConSeMa; Mossina and Friedrich, 2025), arXiv 2503.05618, of margins.
    Learn then Test (Angelopoulos et al., 2021), arXiv 2110.01052, proposition 2 and section 3.
    Distribution-Free, Risk-Controlling Prediction Sets (Bates et al., 2021), arXiv 2101.02703.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy
from scipy.special import betaincinv, expit, logit, xlogy

from nacl_monai.errors import InputError, SettingError
from nacl_monai.inference.promised import LEAST, Array
from nacl_monai.inference.records import (
    CONTROLS,
    EACH,
    FAMILIES,
    INNER,
    MARGIN,
    MARGIN_ONLY,
    MARGINS,
    MEAN,
    MOST,
    THRESHOLD,
    WITHIN,
)
from nacl_monai.metrics.curves import NO_MARGIN, NO_THRESHOLD, THRESHOLDS, Curves
from nacl_monai.words import check_share, counted

_TOLERANCE = 1e-9
_SMALLEST = 1e-9  # level
STEPS = 20  # levels that nobody asks for are multiples of 1/20
#: The default largest share of a structure that is outside in a patient, and the default levels.
MOST_MISSED = 0.1
_LEVELS = {EACH: (0.1,), MEAN: (0.05, 0.1), MOST: (0.05, 0.1)}
#: The chance that a check calls a kept promise broken.
SIZE = 0.05
#: The change that a check should see, in standard deviations of a normal score: 10 % become 22 %.
SHIFT = 0.5
#: The log-odds that a voxel needs within a margin, divided by those that it needs beyond.
_SURER = 6


class Control(NamedTuple):
    """The risk that a promise controls, and how.

    Attributes:
        level: The largest risk α, of "each" the share of patients.
        kind: "each", "mean" or "most".
        confidence: 1 − δ over calibration patients, for "most" alone.
        miss: The largest share β of a structure outside in a patient, for "each" alone.

    Example:
        >>> [(rule.needed, rule.useful) for rule in (Control(0.1, kind) for kind in CONTROLS)]
        [(9, 19), (9, 14), (22, 37)]
    """

    level: float
    kind: str = EACH
    confidence: float = 0.9
    miss: float = MOST_MISSED

    def check(self) -> Control:
        """Refuses wrong values; returns itself.

        Raises:
            SettingError: If a level, a confidence or a miss is not between 0 and 1, the level is too
                small, or the kind is unknown.
        """
        shares = {"--level": self.level, "--confidence": self.confidence, "--miss": self.miss}
        for option, number in shares.items():
            check_share(option, number)
        if self.level < _SMALLEST:
            raise SettingError(
                f"--level: is {self.level:g}, which takes more patients than there are; give "
                f"{_SMALLEST:g} or more"
            )
        if self.kind not in CONTROLS:
            raise SettingError(f"--control: is {self.kind!r}; choose from {', '.join(CONTROLS)}")
        return self

    @property
    def needed(self) -> int:
        """With fewer patients nothing can be promised, however good the predictions are."""
        if self.kind == MOST:
            return math.ceil(math.log(1 - self.confidence) / math.log1p(-self.level) - _TOLERANCE)
        return max(1, math.ceil(1 / self.level - 1 - _TOLERANCE))

    @property
    def useful(self) -> int:
        """With fewer patients nothing may fail, and contours are large.

        From 2 / α − 1 patients on, one may be missed by "each"; from 1.5 / α − 1 on, half a structure in
        all may be missed by "mean", and by "most".
        """
        if self.kind != MOST:
            lost = 1 if self.kind == EACH else 0.5
            return max(self.needed, math.ceil((lost + 1) / self.level - 1 - _TOLERANCE))
        least, most = self.needed, 2 * self.needed
        while not self._holds(0.5 / most, most):
            least, most = most, 2 * most
        return bisect_left(range(most), True, least, key=lambda n: bool(self._holds(0.5 / n, n)))

    def may_fail(self, patients: int) -> int:
        """How many of so many calibration patients a rule fails, or fewer with ties; −1 if none holds.

        It is ⌊α (n + 1)⌋ − 1, and of "most" the last number that it holds with.
        """
        if self.kind == MOST:
            return int(self._holds(np.arange(patients + 1) / patients, patients).sum()) - 1
        return max(-1, math.floor(self.level * (patients + 1) + _TOLERANCE) - 1)

    def law(self, patients: int, coverage: float = 0.95) -> tuple[float, float] | None:
        """Between which shares of new patients so many calibrations by "each" fail.

        The share is Beta(n + 1 − k, k) over draws of the n calibration patients, with the rank k of
        :mod:`~nacl_monai.promises.control`, whatever the network; where patients tie, no more than that.
        It is over exchangeable patients, and "mean" and "most" have no such law, nor have fewer patients
        than it takes: None.

        Args:
            patients: n.
            coverage: The share of the calibrations.

        Example:
            >>> [f"{share:.0%}" for share in Control(0.1).law(19)]
            ['1%', '26%']
        """
        law = Law.of(self, patients)
        if self.kind != EACH or not law.a:
            return None
        low, high = betaincinv(*law, [(1 - coverage) / 2, (1 + coverage) / 2]).tolist()
        return low, high

    def few(self, patients: int, who: str = "") -> str:
        """The text on what so few patients lack, who are those " with tumor" if not all count."""
        verb = "is" if patients == 1 else "are"
        return (
            f"{counted(patients, 'patient')}{who} {verb} too few to promise {self.level:g}; it takes "
            f"{self.needed}, and {self.useful} for contours of use"
        )

    def check_patients(self, patients: int, where: object) -> None:
        """Refuses too few patients.

        Raises:
            InputError: If there are too few.
        """
        if patients < self.needed:
            raise InputError(f"{where}: {self.few(patients)}, or a larger --level")

    def holds(self, losses: Array) -> npt.NDArray[np.bool_]:
        """Whether the risk of each rule is controlled.

        Args:
            losses: (patients, rules), in [0, 1].
        """
        patients = len(losses)
        if self.kind == MOST:
            return self._holds(losses.mean(0), patients)
        return np.asarray(losses.sum(0) + 1 <= self.level * (patients + 1) + _TOLERANCE)

    def _holds(self, risks: npt.ArrayLike, patients: int) -> npt.NDArray[np.bool_]:
        """Whether "most" is held by the means over so many patients."""
        p = hoeffding_bentkus(risks, patients, self.level)
        return np.asarray(p <= 1 - self.confidence + _TOLERANCE)

    def boldest(self, losses: Array) -> int | None:
        """The boldest rule that is controlled, with all that are more cautious; None if there is none.

        Args:
            losses: (patients, rules), the most cautious rule first.
        """
        held = self.holds(grown(losses))
        position = len(held) if held.all() else int(held.argmin())
        return position - 1 if position else None


class Law(NamedTuple):
    """The Beta distribution of the share of new patients who fail, over draws of who calibrates.

    Example:
        >>> law = Law.of(Control(0.1), 19)
        >>> law, law.p_values(20)[4].round(3).item()
        (Law(a=2, b=18), 0.187)
    """

    a: int
    b: int

    @classmethod
    def of(cls, control: Control, patients: int) -> Law:
        """The law of a rule by which each patient fails or does not."""
        failing = control.may_fail(patients) + 1
        return cls(failing, patients + 1 - failing)

    def p_values(self, new: int) -> Array:
        """The probability that at least 0, 1, … of the new patients fail."""
        return np.asarray(scipy.stats.betabinom.sf(np.arange(-1, new), new, self.a, self.b))

    def power(self, new: int, size: float = SIZE) -> float:
        """How often a check speaks where the score of each new patient is worse by :data:`SHIFT`."""
        least = int((self.p_values(new) > size).sum())
        shares = scipy.stats.beta.ppf((np.arange(2000) + 0.5) / 2000, self.a, self.b)
        worse = scipy.stats.norm.cdf(scipy.stats.norm.ppf(shares) + SHIFT)
        return float(scipy.stats.binom.sf(least - 1, new, worse).mean())


def level_of(patients: int) -> float:
    """The level at which so many patients promise contours of use: one of them may fail.

    It is 2 / (n + 1), rounded up to 5 %; at most 95 %.

    Example:
        >>> level_of(9), level_of(100), level_of(1)
        (0.2, 0.05, 0.95)
    """
    return min(STEPS - 1, math.ceil(2 * STEPS / (patients + 1) - 1e-9)) / STEPS


def controls_of(
    kind: str, levels: Sequence[float] = (), misses: Sequence[float] = (), confidence: float = 0.9
) -> list[Control]:
    """A control for each level, of "each" for each level and miss.

    Args:
        kind: One of `CONTROLS`.
        levels: By default 0.1, and of "mean" and "most" 0.05 and 0.1.
        misses: Of "each"; by default 0.1.
        confidence: Of "most".

    Raises:
        SettingError: If one of them is wrong.

    Example:
        >>> [(rule.level, rule.miss) for rule in controls_of("each", [0.1, 0.2], [0.05])]
        [(0.1, 0.05), (0.2, 0.05)]
    """
    if misses and kind != EACH:
        raise SettingError(f"--miss: has no effect on --control {kind}; leave it out")
    pairs = product(levels or _LEVELS.get(kind, _LEVELS[EACH]), misses or (MOST_MISSED,))
    return [Control(level, kind, confidence, miss).check() for level, miss in dict.fromkeys(pairs)]


def hoeffding_bentkus(risks: npt.ArrayLike, patients: int, level: float) -> Array:
    """The p-value of the hypothesis that the risk is above the level.

    Args:
        risks: Means over the patients of losses in [0, 1].
        patients: How many they are.
        level: α.

    Example:
        >>> hoeffding_bentkus([0.0, 0.05, 0.2], 45, 0.05).round(3).tolist()
        [0.099, 1.0, 1.0]
    """
    risks = np.asarray(risks, np.float64)
    low = np.minimum(risks, level)
    entropy = xlogy(low, low / level) + xlogy(1 - low, (1 - low) / (1 - level))
    failures = np.ceil(patients * risks - _TOLERANCE)
    bentkus = math.e * scipy.stats.binom.cdf(failures, patients, level)
    return np.asarray(np.minimum(np.exp(-patients * entropy), bentkus).clip(max=1))


def grown(losses: Array) -> Array:
    """The largest loss of each patient over a rule and all that are more cautious; never falls."""
    return np.maximum.accumulate(losses, axis=1)


def by_patient(values: Array, patients: Sequence[str]) -> Array:
    """The mean over the cases of each patient, by name: (cases, …) → (patients, …).

    Example:
        >>> by_patient(np.array([1.0, 0.0, 0.5]), ["b", "b", "a"]).tolist()
        [0.5, 0.5]
    """
    names, index = np.unique(np.array(patients), return_inverse=True)
    shares = (index == np.arange(len(names))[:, None]).astype(np.float64)
    return np.asarray(np.tensordot(shares / shares.sum(1, keepdims=True), values, 1))


def worst_by_patient(values: Array, patients: Sequence[str], least: float = 0.0) -> Array:
    """The largest of the cases of each patient, of values from 0 on, or from another; as `by_patient`.

    Example:
        >>> worst_by_patient(np.array([1.0, 0.0, 0.5]), ["b", "b", "a"]).tolist()
        [0.5, 1.0]
    """
    names, index = np.unique(np.array(patients), return_inverse=True)
    worst = np.full((len(names), *values.shape[1:]), least)
    np.maximum.at(worst, index, values)
    return worst


def path_of(family: str, margin: float = MARGIN) -> Array:
    """The sets of a family, from none to all voxels, each within the next.

    Args:
        family: "threshold", "margin" or "within".
        margin: Within which the threshold is lowered first, in mm; one of `MARGINS`.

    Returns:
        The position in `THRESHOLDS` of the threshold in each of `MARGINS`, (sets, margins).

    Raises:
        SettingError: If there is no such family or margin.
    """
    first = margin_of(family, margin)
    lowered = np.arange(len(THRESHOLDS))[::-1, None]
    beyond = np.full_like(lowered, len(THRESHOLDS) - 1)
    if family == WITHIN:
        least = lowered.clip(NO_THRESHOLD + 1)  # the log-odds of 0 are infinite
        surer = expit(logit(THRESHOLDS[least].clip(max=0.5)) / _SURER)
        beyond = np.maximum(least, np.searchsorted(THRESHOLDS, surer - _TOLERANCE))
    path = np.where(np.arange(len(MARGINS)) <= first, lowered, beyond)
    path = path[[0, -1]] if family == MARGIN_ONLY else path
    for wider in range(first + 1, len(MARGINS)):
        steps = [NO_THRESHOLD] if family == MARGIN_ONLY else np.arange(path[-1, wider])[::-1]
        added = np.repeat(path[-1:], len(steps), 0)
        added[:, wider] = steps
        path = np.concatenate([path, added])
    return path


def margin_of(family: str, margin: float = MARGIN) -> int:
    """The position in `MARGINS` of the margin within which a family lowers its threshold first.

    Raises:
        SettingError: If there is no such family or margin.
    """
    if family not in FAMILIES:
        raise SettingError(f"--family: is {family!r}; choose from {', '.join(FAMILIES)}")
    if margin not in MARGINS:
        known = ", ".join(f"{value:g}" for value in MARGINS[:NO_MARGIN])
        raise SettingError(f"--margin: is {margin}; choose from {known}")
    return {THRESHOLD: NO_MARGIN, MARGIN_ONLY: 0}.get(family, MARGINS.index(margin))


def along_path(path: Array, counts: Array) -> Array:
    """The counts in each set of a path: (…, K, M) → (…, sets)."""
    shells = np.diff(counts, axis=-1, prepend=0)
    return np.asarray(shells[..., path, np.arange(path.shape[1])].sum(-1))


def contours_along(
    curves: Curves, structure: int, contour: str, path: Array
) -> tuple[Array, Array]:
    """Loss and volume of the contour of every set of a path for each case, from none on, (cases, sets).

    The loss of an outer contour is the share of the labeled structure outside, 0 where there is none;
    that of an inner contour the share of it that is not the structure, 0 where it is empty.

    Args:
        curves: Of all cases.
        structure: Its position.
        contour: "outer" or "inner".
        path: The sets, from `path_of`.
    """
    hits, counts = (along_path(path, array[:, structure]) for array in (curves.hits, curves.counts))
    whole = hits[:, -1:]
    if contour == INNER:
        predicted = curves.counts[:, structure, NO_THRESHOLD, :1]
        whole = counts = np.where(counts < LEAST * predicted, 0, counts)
    shares = np.divide(hits, whole, out=np.ones(hits.shape), where=whole > 0)
    return 1 - shares, counts * curves.voxel_ml
