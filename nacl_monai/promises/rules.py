"""Curves of calibration patients → promises: rules with their losses and sizes, and what is beside.

Beside a promise are other contours, who fails in each group, and what more patients give. None of it is
a check, which takes patients who did not calibrate: of those who did, as many fail as the rule says,
whatever the network. Who fails is a question (`by_group`): in a group that is like the others, the
number of patients who fail is hypergeometric.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import scipy

from nacl_monai.data.cases import pattern_of_several
from nacl_monai.errors import InputError
from nacl_monai.evaluations.statistics import studentized_interval
from nacl_monai.evaluations.tables import PREDICTED_VOLUME as VOLUME_GROUP
from nacl_monai.evaluations.tables import Groups, thirds
from nacl_monai.inference.promised import Array
from nacl_monai.inference.records import (
    BY_CASE,
    CONTOURS,
    DICE,
    EACH,
    KINDS,
    MARGIN,
    MARGIN_ONLY,
    MARGINS,
    OUTER,
    VOLUME,
    WITHIN,
)
from nacl_monai.metrics.curves import NO_MARGIN, NO_THRESHOLD, THRESHOLDS, Curves
from nacl_monai.metrics.pooled import draws as drawn_weights
from nacl_monai.promises.cohort import known_images, known_of
from nacl_monai.promises.control import (
    Control,
    by_patient,
    contours_along,
    margin_of,
    path_of,
    worst_by_patient,
)
from nacl_monai.promises.measure import fit_measures
from nacl_monai.promises.record import HEAD, ROUNDING, UNCONTROLLED, Guarantee, Promise, law_text

_RESAMPLES, _DIVISIONS = 2000, 9_999


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
            losses, whole = (scores[:, None] > steps).astype(float), np.ones(len(scores))
            sizes = self._sizes(steps, scores, curves.dice[:, structure])
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
    weights = drawn_weights(len(ratios), _RESAMPLES)
    low, high = studentized_interval(ratios[:, None], weights)[:, 0].tolist()
    low, high = (low, high) if low < high else (None, None)
    return {"size": float(ratios.mean()), "size_low": low, "size_high": high}


def miss_of(kind: str, control: Control) -> float | None:
    """The share that a contour by "each" may miss; None for other promises."""
    return control.miss if control.kind == EACH and kind in CONTOURS else None


def failed(losses: Array, kind: str, control: Control) -> Array:
    """1 if a patient loses more than "each" allows, or anything in case of a number; else 0."""
    most = miss_of(kind, control) or 0
    return np.asarray(losses > most + ROUNDING, float)


def check_cases(cases: Sequence[str], where: object) -> None:
    """Refuses cases that look like several of each patient, if patients are unknown.

    Raises:
        InputError: If they do: so few patients would promise more than they can.
    """
    pattern = pattern_of_several(cases)
    if pattern is not None:
        raise InputError(
            f"{where}: {cases[0]!r} and others look like several cases of each patient, and a promise "
            f"is over patients; say whose they are, --patient-pattern '{pattern}', or that each is a "
            "patient's only one, --patients cases"
        )


def fit(
    curves: Curves,
    controls: Sequence[Control],
    family: str = WITHIN,
    margin: float = MARGIN,
    *,
    compare: bool = True,
    sums: str = "",
    group: str = "",
    **measured: Any,
) -> Promise:
    """The promises that calibration patients allow.

    An outer contour of which too few patients have the structure is not promised
    (`Promise.unpromised`).

    Args:
        curves: Of all patients.
        controls: One for each level, and by "each" for each miss, all of one kind.
        family: "threshold", "margin", or "within": a threshold within a margin, the smallest of all.
        margin: Of the family "within", in mm; fixed before these patients are seen.
        compare: Whether two other contours are shown beside (`compared`).
        sums: The checksum of the file of the curves.
        group: As in `Promise`.
        **measured: Measurements, as `nacl_monai.promises.measure.fit_measures` takes them: ``measures``,
            ``phases`` and ``asymmetric``.

    Raises:
        SettingError: If a level, family or margin is wrong.
        InputError: If it takes more patients, or these trained the network, or are a part of others.
    """
    margin_of(family, margin)
    curves.check_usable()
    if curves.definition["known_by"] == BY_CASE:
        check_cases(curves.cases, curves.path)
    patients = sorted(set(curves.patients))
    for control in controls:
        control.check().check_patients(len(patients), curves.path)
    levels = [control.level for control in controls]
    structures = range(len(curves.structures))
    rules = [Rules(curves, *which, family, margin) for which in product(structures, KINDS)]
    sizes = np.sort(curves.spacings, axis=1)
    return Promise(
        [of_kind.kept(control) for of_kind in rules for control in enough(of_kind, controls)],
        controls[0].kind,
        controls[0].confidence,
        curves.definition,
        patients,
        curves.cases,
        [sizes.min(0).tolist(), sizes.max(0).tolist()],
        sums,
        beside=compared(curves, controls, margin) if compare else [],
        absent=dict(_absent(curves)),
        known_by=curves.definition["known_by"] or BY_CASE,
        patient_pattern=curves.definition["patient_pattern"],
        group=group,
        cohort=known_of(curves, labeled=True),
        images=known_images(curves),
        measures=fit_measures(curves, levels, **measured) if any(measured.values()) else [],
        curves=curves,
    )


def _absent(curves: Curves) -> Iterator[tuple[str, list[float]]]:
    """`Promise.absent`: where nothing is predicted, Dice is 1 if nothing is labeled, and else 0."""
    patients = np.array(curves.patients)
    for structure, name in enumerate(curves.structures):
        cases = curves.predicted[:, structure] == 0
        rightly = by_patient(curves.dice[cases, structure], patients[cases].tolist())
        yield name, [len(rightly), float(rightly.sum())]


def uncontrolled(curves: Curves, structure: int, control: Control) -> tuple[Array, Array]:
    """Loss and volume by patient of the contour that the probabilities alone say misses a share.

    It is of the patients who have the structure, and the smallest set above a threshold within `MARGIN`
    of whose probability, within the margin, at most this share is outside.
    """
    curves, margin = curves.having(structure), MARGINS.index(MARGIN)
    sums, counts, hits = (
        array[:, structure, :, margin].astype(float)
        for array in (curves.sums, curves.counts, curves.hits)
    )
    share = miss_of(OUTER, control) or control.level
    inside = sums >= (1 - share) * sums[:, :1]
    rule = inside.sum(1) - 1
    cases = np.arange(len(rule))
    labeled = curves.hits[:, structure, NO_THRESHOLD, NO_MARGIN]
    found = hits[cases, rule] / labeled
    sizes = counts[cases, rule] * curves.voxel_ml[:, 0]
    risks = by_patient(1 - found, curves.patients)
    if control.kind == EACH:
        risks = failed(worst_by_patient(1 - found, curves.patients), OUTER, control)
    return risks, by_patient(sizes, curves.patients)


def compared(
    curves: Curves, controls: Sequence[Control], margin: float = MARGIN
) -> list[dict[str, Any]]:
    """The two other contours that a promise is seen beside.

    Args:
        curves: Of all patients.
        controls: One for each level and miss.
        margin: Of the family "within", in mm.

    Returns:
        A row for each structure, kind, level and miss of margins alone, without probabilities, with
        ``size`` and its interval as in `Kept`; and of outer contours without control, of which ``risk``
        is the share that they missed, by "each" the share of patients for whom that is too much, with
        the 95 % interval ``low`` to ``high`` over patients. No label had a part in the latter, so that
        it is a measurement.
    """
    rows = []
    for structure, kind in product(range(len(curves.structures)), KINDS):
        rules = Rules(curves, structure, kind, MARGIN_ONLY, margin)
        for control in enough(rules, controls):
            size = size_of(rules.ratios(rules.fitted(control)))
            rows.append(_row(rules, control, MARGIN_ONLY) | size)
            if kind == OUTER:
                risks, sizes = uncontrolled(curves, structure, control)
                found = {"risk": float(risks.mean())} | _interval(risks)
                found |= size_of(sizes / rules.whole)
                rows.append(_row(rules, control, UNCONTROLLED) | found)
    return rows


def enough(rules: Rules, controls: Sequence[Control]) -> list[Control]:
    """The controls of a kind for which those who count are enough; of a number one for each level."""
    distinct = {(control.level, miss_of(rules.kind, control)): control for control in controls}
    return [control for control in distinct.values() if control.needed <= len(rules.patients)]


def _row(rules: Rules, control: Control, family: str) -> dict[str, Any]:
    """The columns that identify a promise."""
    row = rules.structure, rules.kind, control.level, miss_of(rules.kind, control), family
    return dict(zip(HEAD, row, strict=True))


def _interval(risks: Array) -> dict[str, float]:
    """The 95 % interval of a mean loss; of a share of patients, which has no variance at 0, Wilson's."""
    if np.isin(risks, (0, 1)).all():
        share = scipy.stats.binomtest(int(risks.sum()), len(risks))
        low, high = share.proportion_ci(method="wilson")
    else:
        weights = drawn_weights(len(risks), _RESAMPLES)
        low, high = studentized_interval(risks[:, None], weights)[:, 0].clip(0, 1)
    return {"low": float(low), "high": float(high)}


def by_group(
    curves: Curves,
    controls: Sequence[Control],
    groups: Groups,
    family: str = WITHIN,
    margin: float = MARGIN,
) -> pd.DataFrame:
    """Who fails by the promise as it was made, in each group.

    In all, as many fail as the control lets fail. Among n patients of whom f fail, a group of m that is
    like the others has a hypergeometric number of those; of losses that are not 0 or 1, its sum has
    the distribution over random divisions.

    Args:
        curves: Of all patients.
        controls: One for each level and miss.
        groups: From `nacl_monai.evaluations.tables.read_groups`; thirds of the predicted volume of each
            structure are added.
        family: The family of contours.
        margin: Of the family "within", in mm.

    Returns:
        A row for each structure, kind, level, miss, group and value: the number of ``patients`` who
        count, their mean loss ``risk``, by "each" the share who ``fail``, and how many; ``p``, how often
        chance alone gives a group of so many as much or more; and ``size`` with its interval.
    """
    rows: list[dict[Any, Any]] = []
    for structure, kind in product(range(len(curves.structures)), KINDS):
        rules = Rules(curves, structure, kind, family, margin)
        volumes = rules.curves.predicted_volumes[:, structure]
        for control in enough(rules, controls):
            of_structure = {VOLUME_GROUP: thirds(volumes, rules.curves.patients), **groups}
            about = _row(rules, control, family)
            rows += [about | row for row in _group_rows(rules, control, of_structure)]
    return pd.DataFrame(rows)


def _group_rows(rules: Rules, control: Control, groups: Groups) -> Iterator[dict[Any, Any]]:
    rule = rules.fitted(control)
    losses = rules.risks(control)[:, rule]
    for name, of_patient in groups.items():
        values = np.array([of_patient[patient] for patient in rules.patients])
        for value in dict.fromkeys(of_patient.values()):
            members = values == value
            if not members.any():  # of cases that could not be read, or without the structure
                continue
            yield {
                "group": name,
                "value": value,
                "patients": int(members.sum()),
                "fail": int(losses[members].sum()) if control.kind == EACH else None,
                "risk": float(losses[members].mean()),
                "p": p_of_group(losses, members),
                **size_of(rules.ratios(rule, members)),
            }


def p_of_group(losses: Array, members: Array) -> float:
    """The share of divisions of the patients that give a group of as many as much loss or more.

    Args:
        losses: Of all patients, in [0, 1].
        members: Those in the group, boolean.

    Example:
        >>> members = np.arange(12) < 4
        >>> round(p_of_group((np.arange(12) < 2).astype(float), members), 3)  # 4 · 3 / (12 · 11)
        0.091
    """
    number = int(members.sum())
    if np.isin(losses, (0, 1)).all():
        fail = losses.sum(), losses[members].sum()
        return float(scipy.stats.hypergeom.sf(fail[1] - 1, len(losses), fail[0], number))
    rng = np.random.default_rng(0)
    drawn = rng.permuted(np.tile(losses, (_DIVISIONS, 1)), axis=1)[:, :number].sum(1)
    beyond = int((drawn >= losses[members].sum() - 1e-9).sum())
    return (1 + beyond) / (1 + _DIVISIONS)


def by_number(
    curves: Curves, control: Control, family: str = WITHIN, margin: float = MARGIN, draws: int = 50
) -> list[list[str]]:
    """What more patients give: the law of a calibration, and the size of outer contours.

    Args:
        curves: Of all patients.
        control: What is promised.
        family: The family of contours.
        margin: Of the family "within", in mm.
        draws: The number of draws of patients.

    Returns:
        A row for each number of patients: the number; by "each" how many of them may fail, and the
        shares of new patients between which 95 of 100 calibrations fail; and for each structure the mean
        size by so many of its patients for all others, "–" where there are not so many.
    """
    rules = [Rules(curves, k, OUTER, family, margin) for k in range(len(curves.structures))]
    most = max(len(of_structure.patients) for of_structure in rules)
    needed, between, useful = _steps(control)
    rows = []
    for number in sorted({between, useful, 2 * useful + 1, most // 2, most - 1, most, needed}):
        if number < needed:
            continue
        law = control.law(number)
        chance = [str(control.may_fail(number)), law_text(law)] if law else []
        sizes = (_size(of_structure, control, number, draws) for of_structure in rules)
        rows.append([str(number), *chance, *sizes])
    return rows


def number_headings(control: Control, structures: Sequence[str]) -> list[str]:
    """The headings of `by_number`."""
    chance = ["Of them may fail", "Of 100 calibrations, 95 fail in"] * (control.kind == EACH)
    return ["Patients who calibrate", *chance, *(f"{name}, size" for name in structures)]


def number_note(control: Control) -> str:
    """What `by_number` means, and why more patients may give a larger contour."""
    note = (
        "Size: outer contours of those who do not calibrate ÷ the structure, drawn fifty times from "
        "these patients."
    )
    if control.kind == EACH:
        first, between, useful = _steps(control)
        note += (
            f" From {first} to {useful - 1} none of those who calibrate may fail, so each further "
            f"patient can only make contours larger, and safer: {between} may give larger ones than "
            f"{first}. From {useful} on one may fail."
        )
    return note


def _steps(control: Control) -> tuple[int, int, int]:
    """How many patients a promise takes, from how many on it is of use, and a number between."""
    return control.needed, (control.needed + control.useful) // 2 + 1, control.useful


def _size(rules: Rules, control: Control, number: int, draws: int) -> str:
    """The mean size for all patients who were not drawn, over all draws."""
    patients = len(rules.patients)
    if number >= patients:
        return "–"
    rng = np.random.default_rng(0)
    orders = [rng.permutation(patients) for _ in range(draws)]
    pairs = ((rules.fitted(control, order[:number]), order[number:]) for order in orders)
    return f"{np.concatenate([rules.ratios(*pair) for pair in pairs]).mean():.2f}"


def lines(table: pd.DataFrame) -> Iterator[str]:
    """A line for each structure and group: who fails by outer contours in each."""
    outer = table[table["kind"] == OUTER] if len(table) else table
    keys = ["structure", "level", "miss", "group"]
    parts = outer.groupby(keys, sort=False, dropna=False) if len(outer) else ()
    for (structure, _, _, group), part in parts:
        cells = (f"{row['value']}: {group_text(row)}" for row in part.to_dict("records"))
        yield f"{structure} by {group}, who has more outside: {'; '.join(cells)}"


def group_text(row: Mapping[Any, Any]) -> str:
    """The result of a promise in a group: "8 of 37, p = 0.0012"."""
    missed = f"{row['risk']:.1%} of {row['patients']}"
    if not pd.isna(row["fail"]):
        missed = f"{row['fail']:g} of {row['patients']}"
    return f"{missed}, p = {row['p']:.2g}"
