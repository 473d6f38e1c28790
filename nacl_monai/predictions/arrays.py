"""Arrays of cases, NumPy or torch, as audits and promises take them: form and names are checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from nacl_monai.differences import first_repeated
from nacl_monai.errors import InputError, check_no_formula
from nacl_monai.metrics.voxels import Voxels, as_tensor, batched, check_mask
from nacl_monai.predictions.channels import Channels, class_names
from nacl_monai.predictions.checks import channel_dice, check_order
from nacl_monai.predictions.labels import Labels
from nacl_monai.predictions.options import SIGMOID, SOFTMAX
from nacl_monai.runs import check_class_names
from nacl_monai.tensors import without_metadata

Cases = Voxels | Sequence[Voxels]


def on_cpu(voxels: Any) -> Any:
    """`as_tensor` without gradient, on the CPU."""
    voxels = as_tensor(voxels)
    if isinstance(voxels, list):
        return [on_cpu(case) for case in voxels]
    return voxels.detach().cpu() if isinstance(voxels, torch.Tensor) else voxels


@dataclass(frozen=True)
class ArrayStudy:
    """Cases in memory; the metric checks whether they are probabilities and labels.

    Attributes:
        probs: ``(C, *spatial)`` each.
        labels: Of the same cases; of several raters with these along the first axis.
        masks: Where voxels count; None for all.
        names: Of the cases.
        patients: The patient of each; empty if unknown.
        channels: What the channels mean.
        raters: Their names, if there are several.
        ignore_index: The label of voxels that do not count.
        from_logits: Whether logits are given in place of probabilities.
    """

    probs: Sequence[torch.Tensor]
    labels: Sequence[torch.Tensor]
    masks: Sequence[torch.Tensor] | None
    names: list[str]
    patients: list[str]
    channels: Channels
    raters: Sequence[str]
    ignore_index: int | None
    from_logits: bool

    def each(self) -> Iterator[tuple[torch.Tensor, list[Labels]]]:
        """Each case, in which the largest value decides, and its labels by each rater, as of files.

        Logits of structures that may overlap become their sigmoid.
        """
        sigmoid = self.channels.overlapping and self.from_logits
        masks: Sequence[torch.Tensor | None] = self.masks or [None] * len(self.probs)
        for case, label, mask in zip(self.probs, self.labels, masks, strict=True):
            probs = without_metadata(case.sigmoid() if sigmoid else case)
            several = without_metadata(label if self.raters else label[None])
            counts = torch.ones(probs.shape[1:]) if mask is None else without_metadata(mask)
            by_rater = (
                counts.bool().reshape(-1, *probs.shape[1:]).expand(len(several), *probs.shape[1:])
            )
            yield (
                probs,
                [self._labels(probs, *pair) for pair in zip(several, by_rater, strict=True)],
            )

    def _labels(self, probs: torch.Tensor, labels: torch.Tensor, counted: torch.Tensor) -> Labels:
        """Labels that the metric has taken, in whatever form."""
        if labels.shape == probs.shape and not self.channels.overlapping:  # one-hot
            counted = counted & labels.bool().any(0)
            labels = labels.long().argmax(0)
        elif not self.channels.overlapping:
            labels = labels.long().reshape(counted.shape)
        if self.ignore_index is not None:
            known = labels != self.ignore_index
            counted = counted & known.reshape(-1, *counted.shape).all(0)
        return Labels(labels, counted)

    def check_order(self) -> None:
        """Refuses channels that agree far better with the labels in another order.

        Raises:
            InputError: If they do; see `nacl_monai.predictions.checks.check_order`.
        """
        dice = [channel_dice(probs, first, self.channels) for probs, (first, *_) in self.each()]
        check_order("probs", np.mean(dice, axis=0), self.channels, "channels_as_given=True")


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
    from_logits: bool = False,
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
    channels = _named_channels(len(several[0]), classes, structures)
    masks = None if mask is None else _masks(mask, several)
    for what, arrays in {"labels": labeled, "mask": masks or labeled}.items():
        if len(arrays) != len(several):
            raise InputError(f"{what}: {len(arrays)} for {len(several)} cases; give one for each")
    return ArrayStudy(
        several,
        labeled,
        masks,
        case_names(cases, len(several), names_of_patients),
        names_of_patients,
        channels,
        list(raters),
        ignore_index,
        from_logits,
    )


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


def _named_channels(count: int, classes: Sequence[str], structures: Sequence[str]) -> Channels:
    """The meaning of the channels: classes, background first, or structures that may overlap."""
    what = "structures" if structures else "classes"
    names = list(structures) or list(classes) or class_names(count)
    if len(names) != count:
        raise InputError(f"{what}: {len(names)} names for {count} channels; give one each")
    check_class_names(names, what)
    if (repeated := first_repeated(names)) is not None:
        raise InputError(f"{what}: two are called {repeated!r}; give each a name of its own")
    first = 1 if structures else 0  # the label value of the first channel is 1, or background's 0
    values = {name: (k + first,) for k, name in enumerate(names)}
    return Channels(SIGMOID if structures else SOFTMAX, values)


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
        for case_probs, case_labels in zip(
            probs, labels, strict=False
        ):  # their number is checked by the metric
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


def case_names(cases: Sequence[str], count: int, patients: Sequence[str]) -> list[str]:
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
