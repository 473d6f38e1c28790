"""The check of a promise on held-out patients: on all, in their groups, and with fewer who calibrate."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import scipy

from nacl_monai.evaluations.groups import VOLUME as VOLUME_GROUP
from nacl_monai.evaluations.groups import Groups, thirds
from nacl_monai.evaluations.statistics import (
    bootstrap_means,
    bootstrap_ratios,
    percentile_interval,
)
from nacl_monai.inference.promised import MARGIN, MARGINS
from nacl_monai.metrics.curves import NO_MARGIN, NO_THRESHOLD, Array, Curves
from nacl_monai.metrics.pooled import draws as drawn_weights
from nacl_monai.promises.control import (
    EACH,
    MARGIN_ONLY,
    OUTER,
    THRESHOLD,
    WITHIN,
    Control,
    by_patient,
    contours_along,
    margin_of,
    path_of,
    worst_by_patient,
)
from nacl_monai.promises.record import HEAD, KINDS, UNCONTROLLED, VOLUME, share_text
from nacl_monai.promises.rules import Rules, asked, estimate, failed, miss_of


def held_out_volumes(
    curves: Curves, structure: int, control: Control, family: str, margin: float = MARGIN
) -> Array:
    """The interval of the volume of each case in ml by the promise of all other patients, (N, 2)."""
    rules = Rules(curves, structure, VOLUME, family, margin)
    expected = estimate(curves, structure, VOLUME, family, margin_of(family, margin))
    q, voxel = rules.values[rules.by_others(control, curves.patients), 0], curves.voxel_ml[:, 0]
    ends: Array = (expected + voxel) * np.exp([-q, q]) - voxel
    return ends.clip(0).T


def held_out_misses(
    curves: Curves, structure: int, control: Control, family: str, margin: float = MARGIN
) -> Array:
    """The share of each case outside the outer contour by the promise of all other patients, (N,)."""
    rules = Rules(curves, structure, OUTER, family, margin).by_others(control, curves.patients)
    losses = contours_along(curves, structure, OUTER, path_of(family, margin))[0][:, ::-1]
    misses: Array = losses[np.arange(len(losses)), rules]
    return misses


def uncontrolled(curves: Curves, structure: int, control: Control) -> tuple[Array, Array]:
    """Loss and volume by patient of the contour that the probabilities alone say misses a share.

    It is the smallest set above a threshold within `MARGIN` of whose probability, within the margin, at
    most this share is outside.
    """
    margin = MARGINS.index(MARGIN)
    sums, counts, hits = (
        array[:, structure, :, margin].astype(float)
        for array in (curves.sums, curves.counts, curves.hits)
    )
    share = miss_of(OUTER, control) or control.level
    inside = sums >= (1 - share) * sums[:, :1]
    rule = inside.sum(1) - 1
    cases = np.arange(len(rule))
    labeled = curves.hits[:, structure, NO_THRESHOLD, NO_MARGIN]
    found = np.divide(hits[cases, rule], labeled, out=np.ones(len(rule)), where=labeled > 0)
    sizes = counts[cases, rule] * curves.voxel_ml[:, 0]
    risks = by_patient(1 - found, curves.patients)
    if control.kind == EACH:
        risks = failed(worst_by_patient(1 - found, curves.patients), OUTER, control)
    return risks, by_patient(sizes, curves.patients)


def check_held_out(
    curves: Curves, controls: Sequence[Control], margin: float = MARGIN
) -> pd.DataFrame:
    """A test of promises on held-out patients: each by the promise of all others.

    Args:
        curves: Of all patients.
        controls: One for each level.
        margin: Of the family "within", in mm.

    Returns:
        A row for each structure, kind, level, miss and family, and for outer contours without control;
        ``risk`` is the share that was missed, wrong, or outside of an interval, by "each" the share of
        patients for whom that is too much, with the 95 % interval ``low`` to ``high`` over patients;
        ``size`` is as in `Kept`, with its own. A level for which one patient less is too few has no row.
    """
    # Name, kind, level, miss and family; loss and size by patient; whole.
    rows: list[tuple[Any, ...]] = []
    for structure, name in enumerate(curves.structures):
        for kind, family in product(KINDS, (WITHIN, THRESHOLD, MARGIN_ONLY)):
            rules = Rules(curves, structure, kind, family, margin)
            rows += [
                (*head_of(name, kind, control), family, *rules.held_out(control), rules.whole)
                for control in asked(kind, controls)
                if control.needed < len(rules.patients)
            ]
        whole = by_patient(curves.volumes[:, structure], curves.patients)
        for control in controls:
            risks = uncontrolled(curves, structure, control)
            rows.append((*head_of(name, OUTER, control), UNCONTROLLED, *risks, whole))
    table = pd.DataFrame([row[:5] for row in rows], columns=HEAD, dtype=object)
    table["level"] = table["level"].astype(float)
    return table.join(over_patients(*(np.stack([row[k] for row in rows], 1) for k in (5, 6, 7))))


def head_of(structure: str, kind: str, control: Control) -> tuple[Any, ...]:
    """The columns that identify a promise, without its family."""
    return structure, kind, control.level, miss_of(kind, control)


def over_patients(loss: Array, size: Array, whole: Array) -> pd.DataFrame:
    """The means of losses, and of sizes by the wholes, each (patients, rows), with their intervals."""
    table = pd.DataFrame()
    weights = drawn_weights(len(loss), 2000)
    table["risk"] = loss.mean(0)
    ends = percentile_interval(bootstrap_means(loss, weights))
    yes_or_no = np.isin(loss, (0, 1)).all(0)  # whose interval resampling cannot give
    ends[:, yes_or_no] = _wilson(loss[:, yes_or_no])
    table["low"], table["high"] = ends
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an absent structure has no size
        table["size"] = size.sum(0) / whole.sum(0)
        ends = percentile_interval(bootstrap_ratios(size, whole, weights))
    table["size_low"], table["size_high"] = ends
    return table


def _wilson(yes: Array) -> Array:
    """The 95 % intervals of the shares of ones in columns, (2, columns)."""
    shares = (scipy.stats.binomtest(int(number), len(yes)) for number in yes.sum(0))
    return np.reshape([share.proportion_ci(method="wilson") for share in shares], (-1, 2)).T


def held_out_groups(
    curves: Curves,
    controls: Sequence[Control],
    groups: Groups,
    family: str = WITHIN,
    margin: float = MARGIN,
) -> pd.DataFrame:
    """The test, in each group of patients, of the promises of all other patients.

    Args:
        curves: Of all patients.
        controls: One for each level and miss.
        groups: From `nacl_monai.evaluations.groups.read_groups`; thirds of the predicted volume of each
            structure are added.
        family: The family of contours.
        margin: Of the family "within", in mm.

    Returns:
        A row for each structure, kind, level, miss, group and value: the number of ``patients``, and
        ``risk`` and ``size`` with their intervals, as `check_held_out` has them.
    """
    rows: list[dict[Any, Any]] = []
    for structure, kind in product(range(len(curves.structures)), KINDS):
        rules = Rules(curves, structure, kind, family, margin)
        volumes = curves.predicted_volumes[:, structure]
        of_structure = {VOLUME_GROUP: thirds(volumes, curves.patients), **groups}
        for control in asked(kind, controls):
            if control.needed < len(rules.patients):
                head = (*head_of(rules.structure, kind, control), family)
                about = dict(zip(HEAD, head, strict=True))
                rows += [about | row for row in _rows(rules, control, of_structure)]
    return pd.DataFrame(rows)


def _rows(rules: Rules, control: Control, groups: Groups) -> Iterator[dict[Any, Any]]:
    losses, sizes = rules.held_out(control)
    parts = np.stack([losses, sizes, rules.whole])[..., None]
    for name, of_patient in groups.items():
        values = np.array([of_patient[patient] for patient in rules.patients])
        for value in dict.fromkeys(of_patient.values()):
            chosen = parts[:, values == value]
            if not chosen.size:  # of cases that could not be read
                continue
            numbers = over_patients(*chosen).iloc[0].to_dict()
            yield {"group": name, "value": value, "patients": chosen.shape[1]} | numbers


def sizes_by_number(
    curves: Curves, control: Control, family: str = WITHIN, margin: float = MARGIN, draws: int = 50
) -> dict[int, list[float]]:
    """How large outer contours are by the number of patients who calibrate, drawn from these.

    Args:
        curves: Of all patients.
        control: What is promised.
        family: The family of contours.
        margin: Of the family "within", in mm.
        draws: The number of draws of patients.

    Returns:
        Number → the size for each structure, of the patients who were not drawn.
    """
    rules = [Rules(curves, k, OUTER, family, margin) for k in range(len(curves.structures))]
    patients = len(rules[0].patients)
    numbers = {control.needed, control.useful, 2 * control.useful + 1, patients // 2, patients - 1}
    found = {}
    for number in sorted(
        candidate for candidate in numbers if control.needed <= candidate < patients
    ):
        rng = np.random.default_rng(0)
        orders = [rng.permutation(patients) for _ in range(draws)]
        found[number] = [_size(of_structure, control, number, orders) for of_structure in rules]
    return found


def _size(rules: Rules, control: Control, number: int, orders: Sequence[Array]) -> float:
    """The size for all patients who were not drawn, over all draws."""
    pairs = [(order[number:], rules.fitted(control, order[:number])) for order in orders]
    size = sum(rules.sizes[rest, rule].sum() for rest, rule in pairs)
    return float(size / max(sum(rules.whole[rest].sum() for rest, _ in pairs), 1e-9))


def lines(table: pd.DataFrame) -> Iterator[str]:
    """A line for each structure and group: what outer contours missed in each, with its interval."""
    outer = table[table["kind"] == OUTER] if len(table) else table
    keys = ["structure", "level", "miss", "group"]
    parts = outer.groupby(keys, sort=False, dropna=False) if len(outer) else ()
    for (structure, _, _, group), part in parts:
        rows = part.to_dict("records")
        cells = (f"{row['value']}: {group_text(row)}" for row in rows)
        yield f"{structure} by {group}: {'; '.join(cells)}"


def group_text(row: Mapping[Any, Any]) -> str:
    """The result of a promise in a group: "9.1% [4.2, 18.4] of 37"."""
    more = ", MORE THAN PROMISED" if row["low"] > row["level"] else ""
    return f"{share_text(row)} of {row['patients']}{more}"
