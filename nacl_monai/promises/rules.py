"""The rules of a promise: all that calibration patients could be promised, with losses and sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nacl_monai.evaluations.statistics import studentized_interval
from nacl_monai.inference.promised import Array
from nacl_monai.inference.records import (
    CONTOURS,
    DICE,
    EACH,
    MARGIN,
    MARGIN_ONLY,
    MARGINS,
    OUTER,
    VOLUME,
    WITHIN,
)
from nacl_monai.metrics.curves import THRESHOLDS, Curves
from nacl_monai.metrics.pooled import draws
from nacl_monai.promises.control import (
    Control,
    by_patient,
    contours_along,
    margin_of,
    path_of,
    worst_by_patient,
)
from nacl_monai.promises.record import ROUNDING, Guarantee

_RESAMPLES = 2000


def expected_numbers(curves: Curves, structure: int, kind: str, family: str, margin: int) -> Array:
    """The volume in ml or Dice that a promise expects of each case, (N,).

    Args:
        curves: Of labeled cases, or of new ones.
        structure: Its position.
        kind: "volume" or "dice".
        family: Without probabilities, by "margin", it is the predicted volume, and Dice 1.
        margin: The position of the margin.
    """
    if family == MARGIN_ONLY:
        predicted: Array = curves.predicted_volumes[:, structure]
        return predicted if kind == VOLUME else np.ones(len(curves.cases))
    expected = curves.expected_volumes if kind == VOLUME else curves.expected_dice
    return np.asarray(expected[:, structure, margin])


def errors_of(
    curves: Curves, structure: int, kind: str, family: str, margin: float = MARGIN
) -> Array:
    """The error of the volume or Dice that is expected of each case, (N,), which a promise bounds."""
    expected = expected_numbers(curves, structure, kind, family, margin_of(family, margin))
    if kind == DICE:
        return np.asarray(expected - curves.dice[:, structure])
    voxel, volumes = curves.voxel_ml[:, 0], curves.volumes[:, structure]
    return np.asarray(abs(np.log((volumes + voxel) / (expected + voxel))))


def counting(curves: Curves, structure: str, kind: str) -> Curves:
    """The cases that count for a promise: of an outer contour those that have the structure."""
    return curves.having(curves.structures.index(structure)) if kind == OUTER else curves


class Rules:
    """All possible promises of one kind about one structure, with losses and sizes by patient.

    Args:
        curves: Of all patients.
        structure: Its position.
        kind: One of `KINDS`.
        family: The family.
        margin: Of the family "within", in mm.

    Attributes:
        curves: Of the cases that count. An outer contour misses nothing where there is nothing, so that
            patients without the structure would fill its promise, and break it for those who have it; so
            it counts the cases that have it. Of all other kinds each case counts: where nothing is
            labeled, all of an inner contour is wrong, the volume is 0, and Dice is 0, or 1 if nothing is
            predicted.
        lacking: How many patients do not have the structure in any case.
        patients: The names of those who count, the first axis of all arrays.
        losses: (patients, rules), the most cautious rule first; the mean over the cases of each.
        worst: The same of the worst case of each.
        sizes: The same for the size of what a rule gives.
        values: Those of `Guarantee` by each rule, (rules, …).
        margin: The margin of the family, in mm.
        whole: The divisors of sizes, (patients,).
    """

    def __init__(
        self, curves: Curves, structure: int, kind: str, family: str, margin: float = MARGIN
    ) -> None:
        self.kind, self.family = kind, family
        self.structure = curves.structures[structure]
        self.lacking = len({*curves.patients} - {*curves.having(structure).patients})
        curves = self.curves = counting(curves, self.structure, kind)
        self.patients = sorted(set(curves.patients))
        place = margin_of(family, margin)
        self.margin = MARGINS[place]
        if kind in CONTOURS:
            path = path_of(family, margin)
            losses, sizes = contours_along(curves, structure, kind, path)
            turn = slice(None, None, -1 if kind == OUTER else None)
            losses, sizes, self.values = losses[:, turn], sizes[:, turn], THRESHOLDS[path[turn]]
            whole = curves.volumes[:, structure]
        else:
            scores = errors_of(curves, structure, kind, family, margin)
            steps = np.unique(scores)[::-1]  # between two scores, nothing changes
            losses = (scores[:, None] > steps).astype(float)
            sizes, whole = (
                self._sizes(steps, scores, curves.dice[:, structure]),
                np.ones(len(scores)),
            )
            self.values = steps[:, None]
        self.losses, self.sizes, self.whole = (
            by_patient(array, curves.patients) for array in (losses, sizes, whole)
        )
        self.worst = worst_by_patient(losses, curves.patients)

    def _sizes(self, steps: Array, scores: Array, dice: Array) -> Array:
        """The factor of the interval of a volume, or how far below Dice its bound is, (cases, rules)."""
        if self.kind == VOLUME:
            return np.exp(steps) + np.zeros((len(scores), 1))
        bounds: Array = ((scores + dice)[:, None] - steps).clip(0, 1)
        return dice[:, None] - bounds

    def risks(self, control: Control) -> Array:
        """The loss of each patient by each rule, as a control counts it, (patients, rules)."""
        if control.kind != EACH:
            return self.losses
        return failed(self.worst, self.kind, control)

    def fitted(self, control: Control, rows: Array | slice = slice(None)) -> int:
        """The position of the rule fitted to the patients in some rows."""
        rule = control.boldest(self.risks(control)[rows])
        assert rule is not None  # noqa: S101 - the most cautious rule has no loss
        return rule

    def ratios(self, rule: int, rows: Array | slice = slice(None)) -> Array:
        """The size of what a rule gives to each patient in some rows who has the structure."""
        sizes, whole = self.sizes[rows, rule], self.whole[rows]
        ratios: Array = sizes[whole > 0] / whole[whole > 0]
        return ratios

    def kept(self, control: Control) -> Guarantee:
        """The promise fitted to all patients."""
        rule = self.fitted(control)
        return Guarantee(
            self.structure,
            self.kind,
            control.level,
            self.family,
            self.margin,
            self.values[rule].tolist(),
            len(self.patients),
            miss=miss_of(self.kind, control),
            lacking=self.lacking,
            **size_of(self.ratios(rule)),
        )

    def misses(self, control: Control) -> dict[str, float]:
        """Case → the share of the structure that the outer contour of the promise leaves outside."""
        structure = self.curves.structures.index(self.structure)
        path = path_of(self.family, self.margin if self.family == WITHIN else MARGIN)
        losses, _ = contours_along(self.curves, structure, OUTER, path)
        found = losses[:, ::-1][:, self.fitted(control)].tolist()
        return dict(zip(self.curves.cases, found, strict=True))


def size_of(ratios: Array) -> dict[str, Any]:
    """The mean over patients of what `Kept.size` is of, and its interval where they differ.

    The promise is that which was made, its thresholds fixed; patients are resampled.
    """
    if not len(ratios):
        return {"size": np.nan, "size_low": None, "size_high": None}
    low, high = studentized_interval(ratios[:, None], draws(len(ratios), _RESAMPLES))[:, 0].tolist()
    differ = low < high
    return {
        "size": float(ratios.mean()),
        "size_low": low if differ else None,
        "size_high": high if differ else None,
    }


def miss_of(kind: str, control: Control) -> float | None:
    """The share that a contour by "each" may miss; None for other promises."""
    return control.miss if control.kind == EACH and kind in CONTOURS else None


def distinct(kind: str, controls: Sequence[Control]) -> list[Control]:
    """The controls that differ for a kind: of a number by "each", one for each level."""
    return list({(control.level, miss_of(kind, control)): control for control in controls}.values())


def failed(losses: Array, kind: str, control: Control) -> Array:
    """1 if a patient loses more than "each" allows, or anything in case of a number; else 0."""
    most = miss_of(kind, control) or 0
    return np.asarray(losses > most + ROUNDING, float)
