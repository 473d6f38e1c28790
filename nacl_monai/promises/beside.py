"""What is shown beside a promise: other contours, who fails in each group, what more patients give.

None of it is a check of the promise, which takes patients who did not calibrate: of those who did, as
many fail as the rule says, whatever the network. Who fails is a question (`by_group`): in a group that
is like the others, the number of patients who fail is hypergeometric.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import scipy

from nacl_monai.evaluations.groups import PREDICTED_VOLUME as VOLUME_GROUP
from nacl_monai.evaluations.groups import Groups, thirds
from nacl_monai.evaluations.statistics import studentized_interval
from nacl_monai.inference.promised import Array
from nacl_monai.inference.records import EACH, KINDS, MARGIN, MARGIN_ONLY, MARGINS, OUTER, WITHIN
from nacl_monai.metrics.curves import NO_MARGIN, NO_THRESHOLD, Curves
from nacl_monai.metrics.pooled import draws as drawn_weights
from nacl_monai.promises.control import Control, by_patient, worst_by_patient
from nacl_monai.promises.record import HEAD, UNCONTROLLED, law_text
from nacl_monai.promises.rules import Rules, distinct, failed, miss_of, size_of

_RESAMPLES = 9_999


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
                found = {
                    "risk": float(risks.mean()),
                    **_interval(risks),
                    **size_of(sizes / rules.whole),
                }
                rows.append(_row(rules, control, UNCONTROLLED) | found)
    return rows


def enough(rules: Rules, controls: Sequence[Control]) -> list[Control]:
    """The controls of a kind for which those who count are enough."""
    return [
        control
        for control in distinct(rules.kind, controls)
        if control.needed <= len(rules.patients)
    ]


def _row(rules: Rules, control: Control, family: str) -> dict[str, Any]:
    """The columns that identify a promise."""
    missed = miss_of(rules.kind, control)
    return dict(
        zip(HEAD, (rules.structure, rules.kind, control.level, missed, family), strict=True)
    )


def _interval(risks: Array) -> dict[str, float]:
    """The 95 % interval of a mean loss; of a share of patients, which has no variance at 0, Wilson's."""
    if np.isin(risks, (0, 1)).all():
        share = scipy.stats.binomtest(int(risks.sum()), len(risks))
        low, high = share.proportion_ci(method="wilson")
    else:
        weights = drawn_weights(len(risks), 2000)
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
        groups: From `nacl_monai.evaluations.groups.read_groups`; thirds of the predicted volume of each
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
    drawn = rng.permuted(np.tile(losses, (_RESAMPLES, 1)), axis=1)[:, :number].sum(1)
    beyond = int((drawn >= losses[members].sum() - 1e-9).sum())
    return (1 + beyond) / (1 + _RESAMPLES)


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
    needed, useful = control.needed, control.useful
    numbers = {
        needed,
        (needed + useful) // 2 + 1,
        useful,
        2 * useful + 1,
        most // 2,
        most - 1,
        most,
    }
    rows = []
    for number in sorted(number for number in numbers if needed <= number):
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
        first, last = control.needed, control.useful - 1
        between = (control.needed + control.useful) // 2 + 1
        note += (
            f" From {first} to {last} none of those who calibrate may fail, so each further patient can "
            f"only make contours larger, and safer: {between} may give larger ones than {first}. From "
            f"{last + 1} on one may fail."
        )
    return note


def _size(rules: Rules, control: Control, number: int, draws: int) -> str:
    """The mean size for all patients who were not drawn, over all draws."""
    patients = len(rules.patients)
    if number >= patients:
        return "–"
    rng = np.random.default_rng(0)
    orders = [rng.permutation(patients) for _ in range(draws)]
    sizes = [
        rules.ratios(rules.fitted(control, order[:number]), order[number:]) for order in orders
    ]
    return f"{np.concatenate(sizes).mean():.2f}"


def lines(table: pd.DataFrame) -> Iterator[str]:
    """A line for each structure and group: who fails by outer contours in each."""
    outer = table[table["kind"] == OUTER] if len(table) else table
    keys = ["structure", "level", "miss", "group"]
    parts = outer.groupby(keys, sort=False, dropna=False) if len(outer) else ()
    for (structure, _, _, group), part in parts:
        rows = part.to_dict("records")
        cells = (f"{row['value']}: {group_text(row)}" for row in rows)
        yield f"{structure} by {group}, who has more outside: {'; '.join(cells)}"


def group_text(row: Mapping[Any, Any]) -> str:
    """The result of a promise in a group: "8 of 37, p = 0.0012"."""
    missed = f"{row['risk']:.1%} of {row['patients']}"
    if not pd.isna(row["fail"]):
        missed = f"{row['fail']:g} of {row['patients']}"
    return f"{missed}, p = {row['p']:.2g}"
