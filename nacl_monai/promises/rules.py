"""The rules of a promise: all that calibration patients could be promised, with losses and sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nacl_monai.inference.promised import MARGIN, MARGINS
from nacl_monai.metrics.curves import THRESHOLDS, Curves
from nacl_monai.promises.control import (
    CONTOURS,
    EACH,
    MARGIN_ONLY,
    OUTER,
    Control,
    by_patient,
    contours_along,
    margin_of,
    path_of,
    worst_by_patient,
)
from nacl_monai.promises.record import DICE, ROUNDING, VOLUME, Kept

Array = npt.NDArray[Any]


def estimate(curves: Curves, structure: int, kind: str, family: str, margin: int) -> Array:
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
    expected = estimate(curves, structure, kind, family, margin_of(family, margin))
    if kind == DICE:
        return np.asarray(expected - curves.dice[:, structure])
    voxel, volumes = curves.voxel_ml[:, 0], curves.volumes[:, structure]
    return np.asarray(abs(np.log((volumes + voxel) / (expected + voxel))))


class Rules:
    """All possible promises of one kind about one structure, with losses and sizes by patient.

    Args:
        curves: Of all patients.
        structure: Its position.
        kind: One of `KINDS`.
        family: The family.
        margin: Of the family "within", in mm.

    Attributes:
        patients: Their names, the first axis of all arrays.
        losses: (patients, rules), the most cautious rule first; the mean over the cases of each.
        worst: The same of the worst case of each.
        sizes: The same for the size of what a rule gives.
        values: Those of `Kept` by each rule, (rules, …).
        margin: The margin of the family, in mm.
        whole: The divisors of sizes, (patients,).
    """

    def __init__(
        self, curves: Curves, structure: int, kind: str, family: str, margin: float = MARGIN
    ) -> None:
        self.kind, self.family = kind, family
        self.structure = curves.structures[structure]
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
            sizes = np.exp(steps) if kind == VOLUME else steps - scores[:, None]
            sizes, whole = sizes + np.zeros_like(losses), np.ones(len(scores))
            self.values = steps[:, None]
        self.losses, self.sizes, self.whole = (
            by_patient(array, curves.patients) for array in (losses, sizes, whole)
        )
        self.worst = worst_by_patient(losses, curves.patients)

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

    def kept(self, control: Control) -> Kept:
        """The promise fitted to all patients."""
        rule = self.fitted(control)
        whole = self.whole.sum()
        size = float(self.sizes[:, rule].sum() / whole) if whole else np.nan
        head = (self.structure, self.kind, control.level, self.family, self.margin)
        missed = miss_of(self.kind, control)
        return Kept(*head, self.values[rule].tolist(), len(self.patients), size, missed)

    def held_out(self, control: Control) -> tuple[Array, Array]:
        """Loss and size of each patient by the promise fitted to all others, who must be enough."""
        patients, rules = np.arange(len(self.patients)), self.by_others(control, self.patients)
        return self.risks(control)[patients, rules], self.sizes[patients, rules]

    def by_others(self, control: Control, patients: Sequence[str]) -> list[int]:
        """The rule fitted to all others, who must be enough, for each of some patients."""
        rows = np.arange(len(self.patients))
        rules = {
            name: self.fitted(control, np.delete(rows, row))
            for row, name in enumerate(self.patients)
        }
        return [rules[name] for name in patients]


def miss_of(kind: str, control: Control) -> float | None:
    """The share that a contour by "each" may miss; None for other promises."""
    return control.miss if control.kind == EACH and kind in CONTOURS else None


def asked(kind: str, controls: Sequence[Control]) -> list[Control]:
    """The controls that differ for a kind: of a number by "each", one for each level."""
    return list({(control.level, miss_of(kind, control)): control for control in controls}.values())


def failed(losses: Array, kind: str, control: Control) -> Array:
    """1 if a patient loses more than "each" allows, or anything in case of a number; else 0."""
    most = miss_of(kind, control) or 0
    return np.asarray(losses > most + ROUNDING, float)
