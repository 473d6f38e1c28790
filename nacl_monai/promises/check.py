r"""New labeled patients judge a promise: do more fail than of patients like those who calibrated?

**One sentence.** A rule fitted to n patients lets r of them fail; by "each" it is
:math:`r = \lfloor \alpha (n + 1) \rfloor - 1`. Over draws of who calibrates, the share of new patients
who fail is Beta(r + 1, n − r). So of m who are exchangeable with the n,

.. math::

    P[X \ge x] = \sum_{j \ge x} \binom mj \frac{B(r + 1 + j,\, n - r + m - j)}{B(r + 1,\, n - r)}

is the probability that x or more fail, which is beta-binomial. It is exact for any n and m; where
patients need the same, fewer fail.

**On average.** A contour by "mean" or "most" misses a share of each patient. Its test needs the curves
of those who calibrated: the n + m patients are divided again and again, and the rule is fitted to n of
them,

.. math:: p = \frac{1 + \#\{\text{divisions in which the others lose as much}\}}{1 + \text{divisions}}.

**All sentences.** Holm's correction keeps the chance that a kept promise is called broken below
:data:`SIZE`. For that, the new patients are all of a time, or drawn by chance: those whom `triage`
picks are doubtful, and more of them fail. And it is one look; `nacl_monai.promises.watch` is for many.

References:
    Conditional Validity of Inductive Conformal Predictors (Vovk, 2012), arXiv 1209.2673.
    Universal Distribution of the Empirical Coverage in Split Conformal Prediction (Marques, 2025), arXiv
    2303.02770.
    A Simple Sequentially Rejective Multiple Test Procedure (Holm, 1979).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import beta, betabinom, binom, norm

from nacl_monai.counting import counted
from nacl_monai.errors import InputError, SettingError
from nacl_monai.evaluations.groups import Groups
from nacl_monai.evaluations.statistics import holm
from nacl_monai.inference.promised import MARGINS
from nacl_monai.metrics.curves import THRESHOLDS, Curves
from nacl_monai.promises.control import (
    CONTOURS,
    EACH,
    MISS,
    OUTER,
    Control,
    by_patient,
    contours_along,
    worst_by_patient,
)
from nacl_monai.promises.record import Kept, Promise
from nacl_monai.promises.rules import Rules, errors_of, failed

Array = npt.NDArray[Any]
#: The chance that a kept promise is called broken.
SIZE = 0.05
#: How the new patients were chosen.
ALL, RANDOM, TRIAGE = CHOSEN = ("all", "random", "triage")
DIVISIONS = 999
_SHIFT = 0.5  # standard deviations of a normal score: 10 % become 22 %
_ROUNDING = 1e-9


class BrokenError(InputError):
    """The alarm that a promise is broken; all files are written."""

    exit_code = 3


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
        losses = np.tril(np.ones((patients + 1, patients)), -1).T  # 0, 1, … of them fail
        return cls(*((held := int(control.holds(losses).sum())), patients + 1 - held))

    def p_values(self, new: int) -> Array:
        """The probability that at least 0, 1, … of the new patients fail."""
        return np.asarray(betabinom.sf(np.arange(-1, new), new, self.a, self.b))

    def power(self, new: int, size: float = SIZE) -> float:
        """How often a check speaks where the score of each new patient is worse by :data:`_SHIFT`."""
        least = int((self.p_values(new) > size).sum())
        steps = (np.arange(2000) + 0.5) / 2000
        shares = norm.cdf(norm.ppf(beta.ppf(steps, self.a, self.b)) + _SHIFT)
        return float(binom.sf(least - 1, new, shares).mean())


@dataclass(frozen=True)
class Check:
    """A promise as new labeled patients judge it.

    Attributes:
        table: A row for each sentence, and for each of their groups: ``promise``, ``group``, ``value``,
            how many ``failed`` of ``patients`` (by "mean" and "most" the mean of what a contour misses),
            how many ``calibrated``, ``p``, ``p_holm`` over the sentences, or over all groups, and
            ``power``.
        chosen: "all" or "random".
    """

    table: pd.DataFrame
    chosen: str

    @property
    def sentences(self) -> pd.DataFrame:
        """The rows of all patients."""
        return self.table[self.table["group"] == ""]

    @property
    def broken(self) -> pd.DataFrame:
        """The sentences that new patients contradict."""
        return self.sentences[self.sentences["p_holm"] <= SIZE]

    @property
    def verdict(self) -> str:
        """The answer in words."""
        rows, tested = self.broken, self.sentences.dropna(subset="p")
        if len(rows):
            parts = (f"{_found(row)} ({row['promise']}, p = {row['p']:.2g})" for row in _rows(rows))
            return f"BROKEN: {'; '.join(parts)}. Patients like those who calibrated do so seldom."
        if not len(tested):
            return "No test: it takes promise.npz beside promise.json."
        power = tested["power"].max()
        if power < SIZE / 10:
            return "Cannot tell: with so few patients, no number of failures would say more."
        smallest = (
            f"No sign that it is broken (the smallest p, by Holm, is {tested['p_holm'].min():.2g})."
        )
        if np.isnan(power):
            return smallest
        return (
            f"{smallest} So few would see it in {power:.0%} of checks at most where 22% in place of 10% "
            "of patients fail."
        )

    def __repr__(self) -> str:
        return f"{self.verdict}\n{self.shown.to_string(index=False)}"

    @property
    def shown(self) -> pd.DataFrame:
        """The table as it is printed."""
        rows = list(_rows(self.table))
        return pd.DataFrame(
            {
                "promise": [row["promise"] for row in rows],
                "patients": [f"{row['group']} {row['value']}".strip() or "all" for row in rows],
                "failed": [_found(row) for row in rows],
                "p": ["no test" if np.isnan(row["p"]) else f"{row['p']:.2g}" for row in rows],
                "by Holm": ["" if np.isnan(row["p"]) else f"{row['p_holm']:.2g}" for row in rows],
            }
        )


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    rows: Any = table.to_dict("records")
    return list(rows)


def _found(row: Mapping[str, Any]) -> str:
    if row["share"]:
        return f"{row['failed']:.1%} of an average patient, of {row['patients']}"
    return f"{row['failed']:.0f} of {counted(row['patients'], 'patient')}"


def check_chosen(chosen: str | None) -> None:
    """Refuses patients who cannot judge a promise.

    Raises:
        SettingError: If nobody says how they were chosen, or triage picked them.
    """
    if chosen == TRIAGE:
        raise SettingError(
            "--chosen: patients whom triage picks are the doubtful ones, of whom more fail, whether the "
            "promise holds or not; label all of some weeks, or draw them by chance"
        )
    if chosen not in CHOSEN:
        raise SettingError(
            "--chosen: say how the labeled patients were chosen; all: every new patient of a time; "
            "random: drawn by chance"
        )


class _Test(NamedTuple):
    """What each new patient loses by one sentence, and the probability that some lose as much."""

    label: str
    calibrated: int
    losses: Mapping[str, float]
    law: Law | None
    p_value: Callable[[Sequence[str]], float]

    def row(self, patients: Sequence[str]) -> dict[str, Any]:
        """The row of some of the patients."""
        losses = [self.losses[name] for name in patients]
        found = sum(losses) if self.law else np.mean(losses) if losses else np.nan
        return {
            "promise": self.label,
            "failed": float(found),
            "patients": len(losses),
            "calibrated": self.calibrated,
            "share": self.law is None,
            "p": self.p_value(patients) if losses else np.nan,
            "power": self.law.power(len(losses)) if self.law and losses else np.nan,
        }


def judged(
    promise: Promise,
    new: Curves,
    chosen: str,
    groups: Groups | None = None,
    calibration: Curves | None = None,
) -> Check:
    """A promise as new labeled patients judge it.

    Args:
        promise: What was promised.
        new: The curves of the new patients.
        chosen: "all" or "random".
        groups: Of the new patients, from `nacl_monai.evaluations.groups.read_groups`.
        calibration: The curves of those who calibrated; None where they are unknown.

    Raises:
        InputError: If one of them calibrated, or the curves are of other predictions.
        SettingError: If they were chosen otherwise.
    """
    check_chosen(chosen)
    if known := sorted({*promise.patients, *promise.cases} & {*new.patients, *new.cases}):
        raise InputError(f"{known[0]}: calibrated the promise, and cannot judge it; leave it out")
    whole = None if calibration is None else calibration.joined([new])
    rows = []
    for kept in promise.kept:
        test = _test(promise, kept, new, whole)
        rows.append(test.row(sorted(test.losses)) | {"group": "", "value": ""})
        for group, of_patient in (groups or {}).items():
            for value in dict.fromkeys(of_patient.values()):
                part = [name for name in sorted(test.losses) if of_patient[name] == value]
                rows.append(test.row(part) | {"group": group, "value": value})
    table = pd.DataFrame(rows)
    table["p_holm"] = np.nan
    for family in (table["group"] == "", table["group"] != ""):
        tested = family & table["p"].notna()
        table.loc[tested, "p_holm"] = holm(table.loc[tested, "p"])
    return Check(table, chosen)


def _test(promise: Promise, kept: Kept, new: Curves, whole: Curves | None) -> _Test:
    """The test of one sentence, by the law of its failures or by divisions."""
    control = Control(kept.level, promise.control, promise.confidence, kept.miss or MISS)
    single = len(promise.patients) == len(promise.cases) and len({*new.patients}) == len(new.cases)
    new = counting(new, kept)
    loss = losses(kept, new)
    names = sorted({*new.patients})
    if control.kind == EACH or (kept.kind not in CONTOURS and single):
        fails = failed(worst_by_patient(loss, new.patients), kept.kind, control).tolist()
        law = Law.of(control, kept.patients)
        of_patient = dict(zip(names, fails, strict=True))

        def by_law(patients: Sequence[str]) -> float:
            return float(
                law.p_values(len(patients))[int(sum(map(of_patient.__getitem__, patients)))]
            )

        return _Test(kept.label, kept.patients, of_patient, law, by_law)
    means = dict(zip(names, by_patient(loss, new.patients).tolist(), strict=True))

    def by_divisions(patients: Sequence[str]) -> float:
        if whole is None:
            return np.nan
        return divided(counting(whole, kept), kept, control, names, patients)

    return _Test(kept.label, kept.patients, means, None, by_divisions)


def counting(curves: Curves, kept: Kept) -> Curves:
    """The cases that count for a promise: of an outer contour those that have the structure."""
    if kept.kind != OUTER:
        return curves
    has = curves.volumes[:, curves.structures.index(kept.structure)] > 0
    return curves.taken(np.flatnonzero(has).tolist())


def losses(kept: Kept, curves: Curves) -> Array:
    """What each case loses: the share missed, or wrong; of a number 1 if it is not as promised."""
    structure = curves.structures.index(kept.structure)
    if kept.kind in CONTOURS:
        sets = np.stack([np.searchsorted(THRESHOLDS, kept.values), np.zeros(len(MARGINS), int)])
        return contours_along(curves, structure, kept.kind, sets)[0][:, 0]
    errors = errors_of(curves, structure, kept.kind, kept.family, kept.margin)
    return np.asarray(errors > kept.values[0], float)


def divided(
    whole: Curves, kept: Kept, control: Control, new: Sequence[str], judges: Sequence[str]
) -> float:
    """The share of divisions of the patients in which those who do not calibrate lose as much.

    Args:
        whole: The curves of all patients.
        kept: The promise.
        control: How it is held.
        new: The new patients.
        judges: Those of them who are asked about; the others are left out.
    """
    part = whole.chosen({*whole.patients} - ({*new} - {*judges}))
    rules = Rules(part, whole.structures.index(kept.structure), kept.kind, kept.family, kept.margin)
    risks, is_new = rules.risks(control), np.isin(rules.patients, list(judges))
    order, calibrate = np.argsort(is_new, kind="stable"), int((~is_new).sum())
    rng = np.random.default_rng(0)

    def loss(order: Array) -> float:
        return float(risks[order[calibrate:], rules.fitted(control, order[:calibrate])].sum())

    least = loss(order) - _ROUNDING
    beyond = sum(loss(rng.permutation(len(order))) >= least for _ in range(DIVISIONS))
    return (1 + beyond) / (1 + DIVISIONS)
