"""Curves of calibration patients → promises."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np

from nacl_monai.data.patients import pattern_of_several
from nacl_monai.errors import InputError
from nacl_monai.inference import records
from nacl_monai.inference.records import KINDS, MARGIN, WITHIN
from nacl_monai.metrics.curves import Curves
from nacl_monai.promises.beside import compared, enough
from nacl_monai.promises.cohort import known_images, known_of
from nacl_monai.promises.control import Control, by_patient, margin_of
from nacl_monai.promises.measure import fit_measures
from nacl_monai.promises.record import Promise
from nacl_monai.promises.rules import Rules


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
        compare: Whether two other contours are shown beside (`nacl_monai.promises.beside.compared`).
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
    if curves.definition["known_by"] == records.BY_CASE:
        check_cases(curves.cases, curves.path)
    patients = sorted(set(curves.patients))
    for control in controls:
        control.check().check_patients(len(patients), curves.path)
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
        known_by=curves.definition["known_by"] or records.BY_CASE,
        patient_pattern=curves.definition["patient_pattern"],
        group=group,
        cohort=known_of(curves, labeled=True),
        images=known_images(curves),
        measures=fit_measures(curves, [control.level for control in controls], **measured),
        curves=curves,
    )


def _absent(curves: Curves) -> Iterator[tuple[str, list[float]]]:
    """`Promise.absent`: where nothing is predicted, Dice is 1 if nothing is labeled, and else 0."""
    patients = np.array(curves.patients)
    for structure, name in enumerate(curves.structures):
        cases = curves.predicted[:, structure] == 0
        rightly = by_patient(curves.dice[cases, structure], patients[cases].tolist())
        yield name, [len(rightly), float(rightly.sum())]
