"""Audits in Python: arrays or folders in, an object out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from nacl_monai.audits.measuring import CaseNumbers, join_cases, measured_cases, measurement_of
from nacl_monai.audits.measuring import case_numbers as numbers_of
from nacl_monai.audits.result import Audit
from nacl_monai.errors import InputError
from nacl_monai.evaluations.evaluated import run_of_bins
from nacl_monai.inference.records import MARGIN
from nacl_monai.predictions.arrays import Cases, array_study
from nacl_monai.predictions.finding import find
from nacl_monai.predictions.images import Folders, check_rater_folders
from nacl_monai.predictions.options import EVALUATED_REGIONS, Use, options_of
from nacl_monai.reports.viewer import Viewed, array_cases, viewed_cases


def audit(
    probs: Cases | str | Path,
    labels: Cases | str | Path | Mapping[str, Cases | str | Path],
    *,
    mask: Cases | None = None,
    ignore_index: int | None = None,
    classes: Sequence[str] = (),
    structures: Sequence[str] = (),
    regions: Sequence[str] = EVALUATED_REGIONS,
    num_bins: int = 15,
    margin: float = MARGIN,
    spacing: Sequence[float] | None = None,
    from_logits: bool = False,
    channels_as_given: bool = False,
    cases: Sequence[str] = (),
    patients: Any = (),
    **options: Any,
) -> Audit:
    """The calibration of probabilities, of arrays or of folders.

    Args:
        probs: One case ``(C, *spatial)``, a batch ``(B, C, *spatial)``, or a list of cases; NumPy or
            torch; or a folder in any layout that ``nacl-monai audit`` knows.
        labels: Class indices, or one-hot, of the same cases; masks for structures; or a folder. Of
            several raters, a mapping from their names to these: the audit is against the share of them.
        mask: The voxels that count, shaped like the labels without channels.
        ignore_index: Voxels with this label do not count; of folders, ``dataset.json`` says it.
        classes: Names of the classes, background first; numbers by default.
        structures: Names of the channels, if they are structures that may overlap (sigmoid).
        regions: Names of the regions.
        num_bins: The number of equal bins.
        margin: How far from a prediction contours, volumes and the region "near" reach, in mm.
        spacing: The size of a voxel of arrays along each axis in mm, of all cases or of each; None for a
            margin in voxels.
        from_logits: Whether logits are given in place of probabilities.
        channels_as_given: Whether to take channels in their order that agree far better with the labels
            in another.
        cases: Names of the cases; numbers by default.
        patients: The patient of each case, who is the unit of every interval, or the case where nobody
            says; for folders, a CSV file with the columns case and patient.
        **options: For folders, what a command says besides: ``dataset``, ``activation``,
            ``patient_pattern``, ``calibrator``, ``jobs``; but not ``write``, which needs its folder.

    Raises:
        InputError: If input is not a probability or not a label, channels agree with the labels far
            better in another order, a case of a folder has a fault, a mapping holds a single rater, a
            case has no patient where others do, or an option of folders is given with arrays, or the
            other way round.

    Example:
        >>> import numpy as np
        >>> probs = np.array([[[0.1, 0.4, 0.8]], [[0.9, 0.6, 0.2]]], dtype=np.float32)
        >>> round(audit(probs, np.array([[1, 1, 0]])).ece("all"), 6)
        0.233333
    """
    raters = labels if isinstance(labels, Mapping) else {}
    measured: dict[str, Any] = {"regions": regions, "num_bins": num_bins, "margin": margin}
    of_both: dict[str, Any] = {"structures": structures, "from_logits": from_logits}
    of_both |= {"channels_as_given": channels_as_given}
    of_arrays: dict[str, Any] = {"mask": mask, "ignore_index": ignore_index, "spacing": spacing}
    of_arrays |= {"classes": classes, "cases": cases}
    if any(isinstance(place, (str, Path)) for place in (probs, labels, *raters.values())):
        asked = of_arrays | {"classes": classes or None, "cases": cases or None}
        _refuse((name for name, value in asked.items() if value is not None), "arrays")
        values = {**measured, **of_both, "patients": patients or None, **options}
        return _of_folders(probs, labels, values)
    _refuse(options, "folders")
    study = array_study(probs, labels, patients=patients, **of_arrays, **of_both)
    measurement = measurement_of(study, **measured)
    numbers = study.each(lambda reading: next(numbers_of(reading, measurement, study.raters)))
    return _of_numbers(numbers, study.patients, partial(array_cases, study))


def _refuse(names: Iterable[str], kind: str) -> None:
    """Refuses what says something about the other kind of input, where it would have no effect."""
    for name in names:
        raise InputError(f"{name}: is an option for {kind} alone; leave it out")


def _of_folders(probs: Any, labels: Any, values: dict[str, Any]) -> Audit:
    if values.get("write"):
        raise InputError("write: is an option for the command alone; leave it out")
    options = replace(options_of(Use.AUDIT, values), pictures=False)
    places: Folders = Path(str(labels))
    if isinstance(labels, Mapping):
        places = {name: Path(str(place)) for name, place in labels.items()}
    check_rater_folders(places)
    study = find(Path(str(probs)), places, options)
    cases, numbers, faults = measured_cases(study, curves=False)
    if faults:
        raise faults[0]
    identity = {"anonymous": study.identity.get("anonymous")}
    how = study.calibrator, options.joins
    seen = None if options.anonymous else partial(viewed_cases, study)
    return _of_numbers(numbers[0], study.patients_of(cases), seen, *how, **identity)


def _of_numbers(
    numbers: Sequence[CaseNumbers],
    patients: Sequence[str],
    cases: Viewed | None,
    *how: Any,
    **identity: Any,
) -> Audit:
    """The audit of the cases, with the columns that do not follow from what was counted."""
    record = replace(
        join_cases(numbers, patients, *how, **identity), path=Path("<audit>") / "bins.npz"
    )
    run = run_of_bins(record, "audit")
    columns = pd.DataFrame([case.columns for case in numbers])
    further = {name: columns[name] for name in columns if name not in run.metrics}
    metrics = pd.DataFrame(further, dtype=float).set_index(run.metrics.index).join(run.metrics)
    return Audit(replace(run, metrics=metrics), cases)
