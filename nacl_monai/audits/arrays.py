"""Audits in Python: arrays or folders in, an object out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from nacl_monai.audits.measuring import joined, measured_cases
from nacl_monai.audits.result import Audit
from nacl_monai.errors import InputError, check_no_formula
from nacl_monai.evaluations.evaluated import run_of_bins
from nacl_monai.metrics.case_sums import CaseSums
from nacl_monai.metrics.record import Record, first_repeated
from nacl_monai.metrics.voxels import Voxels, as_tensor, batched
from nacl_monai.predictions.channels import Channels, class_names
from nacl_monai.predictions.checks import channel_dice, check_order
from nacl_monai.predictions.labels import Folders, Labels, check_raters
from nacl_monai.predictions.options import EVALUATED_REGIONS, SIGMOID, SOFTMAX, Options, options_of
from nacl_monai.predictions.study import find
from nacl_monai.runs import MARGIN
from nacl_monai.tensors import without_metadata

Cases = Voxels | Sequence[Voxels]


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
    raters: Mapping[str, Any] = labels if isinstance(labels, Mapping) else {}
    if any(isinstance(one, (str, Path)) for one in (probs, labels, *raters.values())):
        of_arrays = {"mask": mask is not None, "ignore_index": ignore_index is not None}
        of_arrays["spacing"] = spacing is not None
        _refuse({**of_arrays, "classes": classes, "cases": cases}, "arrays")
        _refuse({"write": options.get("write")}, "the command")
        table = Path(str(patients)) if patients else None
        given: dict[str, Any] = {"structures": structures, "regions": regions, "num_bins": num_bins}
        given |= {"from_logits": from_logits, "channels_as_given": channels_as_given}
        given |= {"margin": margin}
        words = options_of("audit:folders", {**given, **options, "patients": table})
        words = replace(words, pictures=False)
        folders = {name: Path(str(one)) for name, one in raters.items()}
        return _of_folders(Path(str(probs)), folders or Path(str(labels)), words)
    _refuse(dict.fromkeys(options, True), "folders")
    for name, values in {"probs": probs, "mask": mask, **(raters or {"labels": labels})}.items():
        _refuse_form(name, values)
    patients = patient_names(patients)
    if raters:
        several, labeled = _cases_of_raters(probs, raters, len(structures))
    else:
        several, labeled = _cases(probs, labels, len(structures))
    channels = len(several[0])
    shown = () if structures else list(classes) or class_names(channels)
    if shown and len(shown) != channels:
        raise InputError(f"classes: {len(shown)} names for {channels} channels; give one each")
    metric = CaseSums(
        num_bins=num_bins,
        regions=regions,
        margin=margin,
        margin_spacing=spacing,
        structures=structures,
        decisions={name: [k] for k, name in enumerate(shown) if k},
        ignore_index=ignore_index,
        from_logits=from_logits,
        num_raters=max(1, len(raters)),
    )
    masks = None if mask is None else _masks(mask, several)
    metric.add(several, labeled, masks)
    if not channels_as_given:
        named = structures or shown
        meaning = Channels(
            SIGMOID if structures else SOFTMAX, {name: (k,) for k, name in enumerate(named)}
        )
        first = [label[0] for label in labeled] if raters else labeled
        several = [one.sigmoid() for one in several] if structures and from_logits else several
        counted: Sequence[torch.Tensor | None] = masks or [None] * len(several)
        dice = [
            _dice(*of_case, meaning, ignore_index)
            for of_case in zip(several, first, counted, strict=True)
        ]
        check_order("probs", np.mean(dice, axis=0), meaning, "channels_as_given=True")
    names = case_names(cases, len(several), patients)
    return _of_record(metric.record(names, shown, patients, list(raters)))


def _refuse(given: Mapping[str, Any], kind: str) -> None:
    """Refuses what says something about the other kind of input, where it would have no effect."""
    for name in filter(given.get, given):
        raise InputError(f"{name}: is an option for {kind} alone; leave it out")


def patient_names(given: Any) -> list[str]:
    """Names of patients, as files keep them.

    Args:
        given: One for each case, or nothing.

    Raises:
        InputError: If one is missing.
    """
    missing = [k for k, one in enumerate(given, 1) if pd.isna(one) or not str(one).strip()]
    if missing:
        raise InputError(
            f"patients: that of case number {missing[0]} is missing; give one for each case, or none"
        )
    return list(map(str, given))


def _of_folders(probs: Path, labels: Folders, options: Options) -> Audit:
    check_raters(labels)
    study = find(probs, labels, options)
    cases, numbers, faults = measured_cases(study)
    if faults:
        raise faults[0]
    patients = [case.patient for case in cases] if study.known else []
    return _of_record(joined(numbers[0], patients, study.calibrator, options.joins))


def _of_record(record: Record) -> Audit:
    return Audit(run_of_bins(replace(record, path=Path("<audit>") / "bins.npz"), "audit"))


def _cases(
    probs: Any, labels: Any, structures: int
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Lists of cases, whatever form they have."""
    probs, labels = as_tensor(probs), as_tensor(labels)
    if isinstance(probs, list) or isinstance(labels, list):
        for one, other in zip(probs, labels, strict=False):  # their number is checked by the metric
            _check_axes(one, other, structures)
        return list(probs), list(labels)
    _check_axes(probs, labels, structures)
    if structures:
        single, batch = (probs.ndim > axis and probs.shape[axis] == structures for axis in (0, 1))
        if single and batch:
            raise InputError(
                f"probs: have the shape {tuple(probs.shape)}, which may be one case or several; give a "
                "list of cases"
            )
        return ([probs], [labels]) if single else (list(probs), list(labels))
    probs, labels = batched(probs, labels)
    return list(probs), list(labels)


def _check_axes(probs: torch.Tensor, labels: torch.Tensor, structures: int) -> None:
    """Refuses classes in the last axis, and one channel where there are no structures."""
    shape, labeled = tuple(probs.shape), tuple(labels.shape)
    batch, single = shape[:1] + shape[2:], shape[1:]
    if labeled == shape[:-1] and labeled not in (batch, single):
        raise InputError(
            f"probs: have the shape {shape}, with the classes last; put them first, as (C, *spatial), "
            "by np.moveaxis(probs, -1, 0); of a batch, by np.moveaxis(probs, -1, 1)"
        )
    one_hot = labeled == shape and any((labels.sum(axis) == 1).all() for axis in (0, 1))
    if labeled == shape and not structures and not one_hot:
        raise InputError(
            f"probs: have the shape {shape}, as labels have, one channel, as of a sigmoid; give "
            "structures=['name'] and masks (1, *spatial), or np.stack([1 - probs, probs])"
        )


def _dice(
    probs: torch.Tensor,
    labels: torch.Tensor,
    mask: torch.Tensor | None,
    channels: Channels,
    ignore_index: int | None,
) -> npt.NDArray[np.float64]:
    """What `channel_dice` says of one case that the metric has taken."""
    probs, labels = without_metadata(probs), without_metadata(labels).to(probs.device)
    counted = torch.ones_like(probs[0], dtype=torch.bool)
    if mask is not None:
        counted &= without_metadata(mask).to(probs.device).reshape(counted.shape).bool()
    if labels.shape == probs.shape and not channels.overlapping:  # one-hot
        counted &= labels.bool().any(0)
        labels = labels.long().argmax(0)
    elif not channels.overlapping:
        labels = labels.long().reshape(counted.shape)
    if ignore_index is not None:
        counted &= (labels != ignore_index).reshape(-1, *counted.shape).all(0)
    return channel_dice(probs, Labels(labels, counted), channels)


def case_names(given: Sequence[str], count: int, patients: Sequence[str]) -> list[str]:
    """Names of cases of arrays, numbers where nobody says.

    Args:
        given: One for each case, or nothing.
        count: The number of cases.
        patients: The patient of each case, or nothing.

    Raises:
        InputError: If there are more or fewer, two are equal, or a spreadsheet would compute one.
    """
    names = list(given) or [f"case_{k + 1:03d}" for k in range(count)]
    for what, several in (("cases", names), ("patients", patients or names)):
        if len(several) != count:
            raise InputError(f"{what}: {len(several)} names for {count} cases; give one per case")
    repeated = first_repeated(names)
    if repeated is not None:
        raise InputError(f"cases: two are called {repeated!r}; give each a name of its own")
    check_no_formula("cases", [*names, *map(str, patients)])
    return names


def _cases_of_raters(
    probs: Any, raters: Mapping[str, Any], structures: int
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Lists of cases, the first axis of whose labels are the raters."""
    if len(raters) < 2:
        raise InputError(
            "labels: are of one rater; give them without a name, or those of others, too"
        )
    pairs = [_cases(probs, labels, structures) for labels in raters.values()]
    first, *others = ([tuple(one.shape) for one in labels] for _, labels in pairs)
    for name, shapes in zip(list(raters)[1:], others, strict=True):
        if shapes != first:
            raise InputError(
                f"labels: those of {name!r} have the shapes {shapes}, but those of "
                f"{next(iter(raters))!r} {first}; give all raters' labels alike"
            )
    several = zip(*(labels for _, labels in pairs), strict=True)
    return pairs[0][0], [torch.stack(of_case) for of_case in several]


def _masks(mask: Any, several: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    mask = as_tensor(mask)
    single = not isinstance(mask, list) and (mask.ndim < several[0].ndim or len(several) == 1)
    masks: list[torch.Tensor] = [mask] if single else list(mask)
    if any(((one != 0) & (one != 1)).any() for one in masks):
        raise InputError(
            "mask: holds other numbers than 0 and 1; give 1, or true, where voxels count"
        )
    return masks


def _is_array(values: Any) -> bool:
    return isinstance(values, np.ndarray) and values.dtype.kind in "fiub"


def _refuse_form(name: str, values: Any) -> None:
    """Refuses what ends after one reading or has names, and hidden values, which nobody would notice."""
    if isinstance(values, (Iterator, Mapping)):
        raise InputError(
            f"{name}: is a {type(values).__name__}; give a list of cases, and their names with cases="
        )
    several = values if isinstance(values, (list, tuple)) else [values]
    odd = [one for one in several if not isinstance(one, torch.Tensor) and not _is_array(one)]
    if values is not None and odd:
        raise InputError(
            f"{name}: hold {type(odd[0]).__name__}; give arrays of numbers, or tensors"
        )
    if any(isinstance(one, np.ma.MaskedArray) for one in several):
        raise InputError(
            f"{name}: hides values by a mask of NumPy's own; give plain arrays, and mask= beside them"
        )
