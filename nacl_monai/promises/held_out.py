"""Tests of a promise on held-out patients: in each of their groups, and with fewer who calibrate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from nacl_monai.evaluations.groups import VOLUME, Groups, thirds
from nacl_monai.inference.promised import MARGIN
from nacl_monai.metrics.curves import Array, Curves
from nacl_monai.promises.control import OUTER, WITHIN, Control
from nacl_monai.promises.fit import HEAD, KINDS, Rules, asked, head_of, over_patients, share_text


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
        ``risk`` and ``size`` with their intervals, as `nacl_monai.promises.fit.check_held_out` has them.
    """
    rows: list[dict[Any, Any]] = []
    for structure, kind in product(range(len(curves.structures)), KINDS):
        rules = Rules(curves, structure, kind, family, margin)
        volumes = curves.predicted_volumes[:, structure]
        of_structure = {VOLUME: thirds(volumes, curves.patients), **groups}
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
