"""Arrays of cases, NumPy or torch, as audits and promises take them: form and names are checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch

from nacl_monai.errors import InputError, check_no_formula
from nacl_monai.metrics.raters import masks_of_raters
from nacl_monai.metrics.regions import case_spacings
from nacl_monai.metrics.voxels import (
    Voxels,
    as_tensor,
    batched,
    binary_problems,
    check_mask,
    checked_voxels,
)
from nacl_monai.predictions.channels import Channels, numbered_names
from nacl_monai.predictions.images import Labels, Prediction, Probabilities
from nacl_monai.predictions.options import SIGMOID, SOFTMAX
from nacl_monai.predictions.readers import channel_dice, check_order
from nacl_monai.predictions.reading import Case, Reading
from nacl_monai.runs import check_class_names
from nacl_monai.tensors import without_metadata
from nacl_monai.words import first_repeated

_T = TypeVar("_T")
Cases = Voxels | Sequence[Voxels]


def on_cpu(voxels: Any) -> Any:
    """`as_tensor` without gradient, on the CPU."""
    voxels = as_tensor(voxels)
    if isinstance(voxels, list):
        return [on_cpu(case) for case in voxels]
    return voxels.detach().cpu() if isinstance(voxels, torch.Tensor) else voxels


@dataclass(frozen=True)
class ArrayReading(Reading):
    """A case in memory, whose two or three axes run right, anterior and superior, in this order.

    Attributes:
        sizes: The size of a voxel along each axis in mm; None if unknown.
    """

    sizes: tuple[float, ...] | None = None

    @property
    def spacing(self) -> tuple[float, ...]:
        """The size of a voxel along each axis; 1 where it is unknown."""
        return self.sizes or (1.0,) * (self.stored.ndim - 1)

    def seen(self, voxels: torch.Tensor) -> torch.Tensor:
        """The voxels as they are."""
        return voxels

    def as_read(self) -> Reading:
        """The case as if it were read from files, ``(z, y, x)``."""
        sizes, leading = (*self.spacing, 1.0, 1.0)[:3], int(self.channels.overlapping)
        voxels, affine = _zyx(self.stored, 1).numpy(), np.diag([*sizes, 1.0])
        predicted = replace(self.predicted, voxels=voxels, affine=affine)
        labels = [Labels(_zyx(rater.classes, leading), None) for rater in self.labels]
        return Reading(self.case, predicted, labels, self.channels, self.tolerance)


def _zyx(voxels: torch.Tensor, leading: int) -> torch.Tensor:
    """Voxels ``(…, x[, y[, z]])`` as ``(…, z, y, x)``."""
    missing = 3 + leading - voxels.ndim
    volume = voxels.reshape(*voxels.shape, *(1,) * missing)
    return volume.permute(*range(leading), *range(volume.ndim - 1, leading - 1, -1))


def array_reading(
    name: str,
    probs: torch.Tensor,
    raters: Sequence[torch.Tensor],
    masks: Sequence[torch.Tensor | None],
    channels: Channels,
    sizes: tuple[float, ...] | None = None,
    from_logits: bool = False,
) -> ArrayReading:
    """A case of arrays, once they are checked.

    Args:
        name: The name of the case.
        probs: ``(C, *spatial)``, probabilities in any floating dtype or in bytes, or logits.
        raters: The labels by each rater, in every form that `checked_voxels` or, where structures
            overlap, `binary_problems` takes, without the axis of the batch.
        masks: The voxels that count, by each rater; None for all.
        channels: What the channels mean, and the label of voxels that do not count.
        sizes: The size of a voxel along each axis in mm; None if unknown.
        from_logits: Whether logits are given.

    Raises:
        InputError: If input is not a probability or not a label.
    """
    if channels.overlapping and from_logits:
        probs = probs.float().sigmoid()
    stored, labels = without_metadata(probs.detach()), []
    for label, mask in zip(raters, masks, strict=True):
        batch = probs[None], label[None]
        counts = None if mask is None else mask[None]
        if channels.overlapping:
            problems = [*binary_problems(*batch, channels.names, counts, channels.ignore)]
            classes = torch.cat([voxels.labels for voxels in problems])
            counted = problems[0].counted
        else:
            voxels = checked_voxels(*batch, counts, channels.ignore, from_logits)
            stored, classes, counted = voxels.probs[0], voxels.labels[0].long(), voxels.counted
        labels.append(Labels(classes, None if counted is None else counted[0], spacing=sizes))
    predicted = Probabilities(stored, None, Path(name), Path(name))
    return ArrayReading(Case(name, Prediction(name, {})), predicted, labels, channels, 0.0, sizes)


@dataclass(frozen=True)
class ArrayStudy:
    """Cases in memory, each checked when it is read.

    Attributes:
        probs: ``(C, *spatial)`` each.
        labels: Of the same cases; of several raters with these along the first axis.
        masks: Where voxels count; None for all.
        names: Of the cases.
        patients: The patient of each; empty if unknown.
        channels: What the channels mean, and the label of voxels that do not count.
        raters: Their names, if there are several.
        spacing: The size of a voxel of each case in mm; None if unknown.
        from_logits: Whether logits are given in place of probabilities.
        channels_as_given: Whether their order is right though another would agree far better.
    """

    probs: Sequence[torch.Tensor]
    labels: Sequence[torch.Tensor]
    masks: Sequence[torch.Tensor] | None
    names: list[str]
    patients: list[str]
    channels: Channels
    raters: Sequence[str]
    spacing: Sequence[tuple[float, ...]] | None
    from_logits: bool
    channels_as_given: bool

    def read(self, name: str) -> ArrayReading:
        """A case.

        Raises:
            InputError: If it is no probability or no label.
        """
        k = self.names.index(name)
        probs, raters = self.probs[k], self.labels[k] if self.raters else self.labels[k][None]
        mask = self.masks[k][None] if self.masks else None
        by_rater = masks_of_raters(mask, probs.ndim + 1, len(raters))
        masks = [None if of_rater is None else of_rater[0] for of_rater in by_rater]
        sizes = self.spacing[k] if self.spacing else None
        return array_reading(name, probs, [*raters], masks, self.channels, sizes, self.from_logits)

    def each(self, compute: Callable[[Reading], _T]) -> list[_T]:
        """A function of each case.

        Raises:
            InputError: As `read`, or if channels agree far better with the labels in another order; see
                `nacl_monai.predictions.readers.check_order`.
        """
        results, dice = [], []
        for reading in map(self.read, self.names):
            results.append(compute(reading))
            if not self.channels_as_given:
                dice.append(channel_dice(reading.stored, reading.labels[0], self.channels))
        if dice:
            check_order("probs", np.mean(dice, axis=0), self.channels, "channels_as_given=True")
        return results


def array_study(
    probs: Any,
    labels: Any,
    *,
    mask: Any = None,
    ignore_index: int | None = None,
    classes: Sequence[str] = (),
    structures: Sequence[str] = (),
    cases: Sequence[str] = (),
    patients: Any = (),
    spacing: Any = None,
    from_logits: bool = False,
    channels_as_given: bool = False,
) -> ArrayStudy:
    """Arrays in every form that `nacl_monai.audit` takes, as cases.

    Raises:
        InputError: If an array has another form, or there are not as many labels, masks, names of
            classes, cases or patients as there should be.
    """
    raters = labels if isinstance(labels, Mapping) else {}
    _check_forms({"probs": probs, "mask": mask, **(raters or {"labels": labels})})
    names_of_patients = patient_names(patients)
    if raters:
        several, labeled = _cases_of_raters(probs, raters, len(structures))
    else:
        several, labeled = _cases(probs, labels, len(structures))
    if not several:
        raise InputError("probs: hold no case; give a list of cases, (C, *spatial) each")
    if from_logits:
        _check_logits(several)
    channels = _named_channels(len(several[0]), classes, structures, ignore_index)
    masks = None if mask is None else _masks(mask, several)
    for what, arrays in {"labels": labeled, "mask": masks or labeled}.items():
        if len(arrays) != len(several):
            raise InputError(f"{what}: {len(arrays)} for {len(several)} cases; give one for each")
    return ArrayStudy(
        several,
        labeled,
        masks,
        _case_names(cases, len(several), names_of_patients),
        names_of_patients,
        channels,
        list(raters),
        _sizes(spacing, several),
        from_logits,
        channels_as_given,
    )


def _sizes(spacing: Any, several: Sequence[torch.Tensor]) -> Sequence[tuple[float, ...]] | None:
    return None if spacing is None else case_spacings(spacing, len(several), several[0].ndim - 1)


def _check_forms(arrays: Mapping[str, Any]) -> None:
    for name, values in arrays.items():
        if values is None and name != "mask":
            raise InputError(f"{name}: are missing; give arrays of numbers, or tensors")
        check_form(name, values)


def _check_logits(several: Sequence[torch.Tensor]) -> None:
    if any(case.numel() and 0 <= case.min() <= case.max() <= 1 for case in several):
        raise InputError(
            "probs: reach from 0 to 1 at most, as probabilities do; leave out from_logits"
        )


def _named_channels(
    count: int, classes: Sequence[str], structures: Sequence[str], ignored: int | None
) -> Channels:
    """The meaning of the channels: classes, background first, or structures that may overlap."""
    what = "structures" if structures else "classes"
    names = list(structures) or list(classes) or numbered_names(count)
    if len(names) != count:
        raise InputError(f"{what}: {len(names)} names for {count} channels; give one each")
    check_class_names(names, what)
    if (repeated := first_repeated(names)) is not None:
        raise InputError(f"{what}: two are called {repeated!r}; give each a name of its own")
    first = 1 if structures else 0  # the label value of the first channel is 1, or background's 0
    values = {name: (k + first,) for k, name in enumerate(names)}
    return Channels(SIGMOID if structures else SOFTMAX, values, ignored)


def patient_names(names: Any) -> list[str]:
    """Names of patients, as files keep them.

    Args:
        names: One for each case, or nothing.

    Raises:
        InputError: If one is missing.
    """
    missing = [k for k, name in enumerate(names, 1) if pd.isna(name) or not str(name).strip()]
    if missing:
        raise InputError(
            f"patients: that of case number {missing[0]} is missing; give one for each case, or none"
        )
    return list(map(str, names))


def _cases(
    probs: Any, labels: Any, structures: int
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Lists of cases, whatever form they have."""
    probs, labels = on_cpu(probs), on_cpu(labels)
    if isinstance(probs, list) or isinstance(labels, list):
        for case_probs, case_labels in zip(probs, labels, strict=False):  # counted by the caller
            _check_axes(case_probs, case_labels, structures)
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
    if len(shape) < 2:
        raise InputError(f"probs: have the shape {shape}; give (C, *spatial) of each case")
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


def _case_names(cases: Sequence[str], count: int, patients: Sequence[str]) -> list[str]:
    """Names of cases of arrays; numbers by default.

    Args:
        cases: One for each case, or nothing.
        count: The number of cases.
        patients: The patient of each case, or nothing.

    Raises:
        InputError: If there are more or fewer, two are equal, or a spreadsheet would compute one.
    """
    names = list(cases) or [f"case_{k + 1:03d}" for k in range(count)]
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
    first, *rest = ([tuple(label.shape) for label in labels] for _, labels in pairs)
    for name, shapes in zip(list(raters)[1:], rest, strict=True):
        if shapes != first:
            raise InputError(
                f"labels: those of {name!r} have the shapes {shapes}, but those of "
                f"{next(iter(raters))!r} {first}; give all raters' labels alike"
            )
    several = zip(*(labels for _, labels in pairs), strict=True)
    return pairs[0][0], [torch.stack(of_case) for of_case in several]


def _masks(mask: Any, several: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    mask = on_cpu(mask)
    single = not isinstance(mask, list) and (mask.ndim < several[0].ndim or len(several) == 1)
    masks: list[torch.Tensor] = [mask] if single else list(mask)
    for voxels in masks:
        check_mask("mask", voxels)
    return masks


def _is_array(values: Any) -> bool:
    return isinstance(values, np.ndarray) and values.dtype.kind in "fiub"


def check_form(name: str, values: Any) -> None:
    """Refuses iterators, mappings, and masked arrays, whose hidden values nobody would notice."""
    if isinstance(values, (Iterator, Mapping)):
        raise InputError(
            f"{name}: is a {type(values).__name__}; give a list of cases, and their names with cases="
        )
    several = values if isinstance(values, (list, tuple)) else [values]
    odd = [
        value for value in several if not isinstance(value, torch.Tensor) and not _is_array(value)
    ]
    if values is not None and odd:
        raise InputError(
            f"{name}: hold {type(odd[0]).__name__}; give arrays of numbers, or tensors"
        )
    if any(isinstance(value, np.ma.MaskedArray) for value in several):
        raise InputError(
            f"{name}: hides values by a mask of NumPy's own; give plain arrays, and mask= beside them"
        )
