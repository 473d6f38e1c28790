"""Audits in Python: arrays or folders in, an object out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from nacl_monai.audits.measuring import joined, measured_cases, scores_of
from nacl_monai.audits.result import Audit
from nacl_monai.errors import InputError
from nacl_monai.evaluations.evaluated import run_of_bins
from nacl_monai.metrics.case_sums import CaseSums
from nacl_monai.metrics.columns import score_columns
from nacl_monai.metrics.record import Record
from nacl_monai.predictions.arrays import ArrayStudy, Cases, array_study
from nacl_monai.predictions.finding import find
from nacl_monai.predictions.labels import Folders, check_raters
from nacl_monai.predictions.options import EVALUATED_REGIONS, Use, options_of
from nacl_monai.reports.viewer import Viewed, array_cases, viewed_cases
from nacl_monai.runs import MARGIN


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
        spacing: The size of a voxel of arrays along each axis in mm; None for a margin in voxels.
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
    if any(isinstance(place, (str, Path)) for place in (probs, labels, *raters.values())):
        of_arrays: dict[str, Any] = {"mask": mask, "ignore_index": ignore_index, "spacing": spacing}
        of_arrays |= {"classes": classes or None, "cases": cases or None}
        _refuse((name for name, value in of_arrays.items() if value is not None), "arrays")
        values = {**measured, "structures": structures, "from_logits": from_logits}
        values |= {"channels_as_given": channels_as_given, "patients": patients or None}
        return _of_folders(probs, labels, {**values, **options})
    _refuse(options, "folders")
    study = array_study(
        probs,
        labels,
        mask=mask,
        ignore_index=ignore_index,
        classes=classes,
        structures=structures,
        cases=cases,
        patients=patients,
        from_logits=from_logits,
    )
    return _of_arrays(study, spacing, channels_as_given, measured)


def _of_arrays(
    study: ArrayStudy,
    spacing: Sequence[float] | None,
    channels_as_given: bool,
    measured: Mapping[str, Any],
) -> Audit:
    overlapping = study.channels.names if study.channels.overlapping else ()
    shown = () if overlapping else study.channels.names
    metric = CaseSums(
        **measured,
        margin_spacing=spacing,
        structures=overlapping,
        decisions={name: [k] for k, name in enumerate(shown) if k},
        ignore_index=study.ignore_index,
        from_logits=study.from_logits,
        num_raters=max(1, len(study.raters)),
    )
    metric.add(study.probs, study.labels, study.masks)
    if not channels_as_given:
        study.check_order()
    scores = [scores_of(*case, study.channels, spacing) for case in study.each()]
    of_cases = {name: torch.stack([case[name] for case in scores]) for name in scores[0]}
    record = metric.record(study.names, shown, study.patients, study.raters)
    seen = partial(array_cases, study, spacing)
    return _of_record(record, score_columns(of_cases, list(study.channels.structures)), seen)


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
    check_raters(places)
    study = find(Path(str(probs)), places, options)
    cases, numbers, faults = measured_cases(study, curves=False)
    if faults:
        raise faults[0]
    identity = {"anonymous": study.identity.get("anonymous")}
    record = joined(
        numbers[0], study.patients_of(cases), study.calibrator, options.joins, **identity
    )
    seen = None if options.anonymous else partial(viewed_cases, study)
    return _of_record(record, pd.DataFrame([case.columns for case in numbers[0]]), seen)


def _of_record(record: Record, columns: Any, cases: Viewed | None) -> Audit:
    """The audit of what was counted, with the columns that do not follow from it."""
    run = run_of_bins(replace(record, path=Path("<audit>") / "bins.npz"), "audit")
    further = {name: columns[name] for name in columns if name not in run.metrics}
    metrics = pd.DataFrame(further, dtype=float).set_index(run.metrics.index).join(run.metrics)
    return Audit(replace(run, metrics=metrics), cases)
