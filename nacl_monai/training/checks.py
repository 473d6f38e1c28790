"""Checks before the first batch: of the loss, of the network's classes, and of the sets of cases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from inspect import signature
from itertools import chain
from math import isfinite, prod
from pathlib import Path

import ignite.distributed as idist
import torch
from torch import nn

from nacl_monai.data import CachedVolumes, LabeledCase
from nacl_monai.data.cases import image_files
from nacl_monai.data.check import check_label_classes, check_structures
from nacl_monai.errors import InputError, SettingError, print_line
from nacl_monai.files import read_object
from nacl_monai.losses import ForeignLoss
from nacl_monai.losses.base import (
    FORMS,
    FunctionModule,
    SegmentationLoss,
    as_segmentation_loss,
    needs_image,
)
from nacl_monai.progress import progress_bar
from nacl_monai.runs import RunFolder
from nacl_monai.training.run_folder import recorded_checksum, recorded_file

_LIBRARIES = ("monai", "torch")
#: Arguments by which MONAI's losses take class indices and logits.
_CONVENTIONS = ("to_onehot_y", "softmax", "use_softmax")
_TOLERANCE = 1e-3
_ALTERNATIVE = "choose one of the menu, or one that takes ignore_index"
_REMEDY = "train anew: --restart True"
# Sets whose cases shape the weights, or choose among them.
_SEEN = ("train", "val")


def check_loss(
    loss_function: nn.Module,
    classes: Sequence[str],
    spatial_size: Sequence[int],
    ignore_index: int | None = None,
) -> None:
    """Refuses a loss that is not a loss of logits and class indices; its state stays as it is.

    Losses of this package have their own checks. Any other must return a finite scalar with a gradient
    for logits ``(2, C, *spatial_size)`` and int64 labels ``(2, 1, *spatial_size)``, and a smaller one
    for logits that are right than for logits that are wrong. One of MONAI's or torch's must not change
    when all logits of a voxel grow by the same number, since softmax does not; one's own may, as where
    it bounds the logits themselves, with a warning.

    Args:
        loss_function: The training's loss.
        classes: Names of all classes.
        spatial_size: Height and width (and depth) of what the network sees.
        ignore_index: The label of unlabeled voxels; no loss may depend on their logits.

    Raises:
        SettingError: If a loss does not behave like this.
    """
    probe = _Probe(len(classes), spatial_size)
    for loss in _foreign(loss_function):
        try:
            warning = probe.check(loss)
        except _FaultError as fault:
            raise SettingError(f"loss: {_name(loss)} {fault}; {probe.remedy(loss)}") from None
        if warning and idist.get_rank() == 0:
            print_line("warning", f"loss: {_name(loss)} {warning}; right if it means to")
    if ignore_index is not None and not needs_image(getattr(loss_function, "loss", loss_function)):
        probe.check_ignored(as_segmentation_loss(loss_function), ignore_index)


class _FaultError(Exception):
    """The fault of a loss."""


def _foreign(module: nn.Module) -> Iterator[ForeignLoss]:
    """The losses from elsewhere in a loss, however deep in losses of this package."""
    if isinstance(module, ForeignLoss):
        yield module
    elif isinstance(module, FunctionModule):
        for child in module.children():
            yield from _foreign(child)


def _name(loss: ForeignLoss) -> str:
    return f"{type(loss.loss).__module__}.{type(loss.loss).__qualname__}"


class _Probe:
    """Logits whose loss is known to be small, large or the same, and the labels of two images."""

    def __init__(self, classes: int, spatial_size: Sequence[int]) -> None:
        # Thin stripes, since a loss may look only at the middle of structures.
        stripes = torch.arange(2 * prod(spatial_size)) // 3 % classes
        self.labels = stripes.view(2, 1, *spatial_size).to(torch.uint8)
        indices = torch.arange(classes).view(1, -1, *[1] * len(spatial_size))
        self.right, self.wrong = (
            6.0 * (indices == (self.labels + shift) % classes) for shift in (0, 1)
        )
        self.plain = torch.sin(torch.arange(self.right.numel())).view(self.right.shape)

    def check(self, loss: ForeignLoss) -> str:
        """The fault of a user's loss when all logits grow alike; empty without one.

        Raises:
            _FaultError: If a loss fails, returns no finite number with a gradient, or does not tell
                right from wrong logits, or if a library's changes when all logits grow alike.
        """
        loss = deepcopy(loss)
        with torch.random.fork_rng(devices=()):
            right, wrong, plain, shifted = (
                self._value(loss, logits)
                for logits in (self.right, self.wrong, self.plain, self.plain + 3)
            )
        if not wrong - right > _TOLERANCE * (abs(right) + abs(wrong)):
            raise _FaultError(
                f"is {right:.4g} if all voxels are right, {wrong:.4g} if all are wrong"
            )
        if abs(shifted - plain) <= _TOLERANCE * (1 + abs(plain)):
            return ""
        text = f"is {plain:.4g}, but {shifted:.4g} when all logits grow by 3, unlike softmax"
        if type(loss.loss).__module__.partition(".")[0] in _LIBRARIES:
            raise _FaultError(text)
        return text

    def check_ignored(self, loss: SegmentationLoss, ignore_index: int) -> None:
        """Refuses a loss that depends on the logits of half of the voxels, which are to be ignored.

        Raises:
            SettingError: If it does, or fails.
        """
        labels, changed = self.labels.clone(), self.plain.clone()
        half = labels.shape[-1] // 2
        labels[..., :half] = ignore_index
        changed[..., :half] += self.right[..., :half]
        loss = deepcopy(loss)
        try:
            plain, other = (self._value(loss, logits, labels) for logits in (self.plain, changed))
        except _FaultError as fault:
            raise SettingError(f"loss: {fault}; {_ALTERNATIVE}") from None
        if abs(other - plain) > _TOLERANCE * (1 + abs(plain)):
            raise SettingError(
                f"loss: depends on unlabeled voxels, ignore_index {ignore_index}; {_ALTERNATIVE}"
            )

    def _value(
        self, loss: SegmentationLoss, logits: torch.Tensor, labels: torch.Tensor | None = None
    ) -> float:
        labels = self.labels if labels is None else labels
        logits = logits.clone().requires_grad_()
        try:
            terms = list(loss.terms(logits, labels).values())
            found = terms[0] if len(terms) == 1 else torch.stack(terms).sum()
        except Exception as error:  # whatever somebody's code may raise
            cause = str(error).strip().partition("\n")[0]
            raise _FaultError(
                f"fails on logits {tuple(logits.shape)} and labels {tuple(labels.shape)} "
                f"({type(error).__name__}: {cause:.120})"
            ) from error
        if not isinstance(found, torch.Tensor) or found.numel() != 1:
            shape = getattr(found, "shape", type(found).__name__)
            raise _FaultError(f"returns {shape} instead of one number")
        value = float(found.detach())
        if not (isfinite(value) and found.requires_grad):
            raise _FaultError(f"is {value:g}, no finite number with a gradient")
        return value

    def remedy(self, loss: ForeignLoss) -> str:
        """The advice on what to write instead."""
        absent = [
            name
            for name in _CONVENTIONS
            if name in signature(type(loss.loss)).parameters
            and not any(getattr(part, name, False) for part in loss.loss.modules())
        ]
        if absent:
            return f"give it {' and '.join(f'{name}: true' for name in absent)}"
        form = next((form for form in FORMS if self._passes(ForeignLoss(loss.loss, form))), None)
        if form is None:
            return "choose another, or write a module that takes logits and class indices"
        whole = {
            "_target_": "nacl_monai.losses.ForeignLoss",
            "loss": {"_target_": _name(loss)},
            "labels": form,
        }
        return f'give it labels as {form}: --loss "{whole}"'

    def _passes(self, loss: ForeignLoss) -> bool:
        try:
            self.check(loss)
        except _FaultError:
            return False
        return True


@torch.no_grad()
def check_classes(
    network: nn.Module,
    in_channels: int,
    classes: Sequence[str],
    label_values: Sequence[Sequence[int]],
    structures: Mapping[str, Sequence[int]],
    spatial_size: Sequence[int],
) -> None:
    """Checks what is declared of the classes, and a network's channels by the logits of one empty image.

    The network's state stays as it is.

    Args:
        network: A network that takes images of this size, see `nacl_monai.networks.check_input_size`.
        in_channels: Channels of an image.
        classes: Names of all classes, background first.
        label_values: For each class, the values on disk that become it.
        structures: For each structure, the indices of its classes.
        spatial_size: Height and width of a slice, or height, width and depth of a patch.

    Raises:
        SettingError: If the network's channels or the label values differ in number from the classes,
            or if a structure, of which the evaluation asks later, is of a class that is not there.
    """
    check_label_classes(classes, label_values)
    check_structures(classes, structures)
    training = network.training
    image = torch.zeros(1, in_channels, *spatial_size, device=next(network.parameters()).device)
    channels = network.eval()(image).shape[1]
    network.train(training)
    if channels != len(classes):
        raise SettingError(
            f"network_def: returns {channels} channels, but there are {len(classes)} classes "
            f"({', '.join(classes)}); set its out_channels to their number"
        )


def check_labels(volumes: CachedVolumes, classes: Sequence[str]) -> None:
    """Checks that every class occurs in the training labels.

    Args:
        volumes: All training volumes.
        classes: Names of all classes, background first.

    Raises:
        InputError: If a class occurs in none of them, so that nothing could be learned of it.
    """
    present = set(map(int, chain.from_iterable(volumes.classes)))
    absent = [name for index, name in enumerate(classes) if index not in present]
    if absent:
        raise InputError(
            f"classes: {', '.join(absent)} in none of the {len(volumes)} training labels; remove it "
            "from classes, label_values and structures, or train on cases that show it"
        )


def check_sets(checkpoint: str | Path, split: Mapping[str, Sequence[LabeledCase]]) -> None:
    """Refuses a split in which a case that a training saw is in another set than then.

    Such a case would be tested, or calibrated on, though the network knows it. Cases that no training
    saw may be in any set, and those that one saw may be missing.

    Args:
        checkpoint: The run's ``model.pt``, with ``data.json`` beside it. Without that file nobody knows
            what the training saw, and nothing is refused.
        split: The cases of every set, as they are now.

    Raises:
        InputError: If a case of the training or validation set is in another one, or if ``data.json``
            is damaged.
    """
    folder = RunFolder(Path(checkpoint).parent)
    trained = _recorded_sets(folder)
    now = {case["case"]: part for part, cases in split.items() for case in cases}
    for part in _SEEN:
        for case in trained.get(part, {}):
            if now.get(case, part) != part:
                raise InputError(
                    f"{folder.path}: was trained with case {case} in the set {part!r}, which is in "
                    f"{now[case]!r} now; put the split back, or {_REMEDY}"
                )


def check_files(checkpoint: str | Path, cases: Sequence[LabeledCase]) -> None:
    """Refuses a case whose files are not those that the run recorded, byte by byte.

    Numbers of other files would pass for the run's. Only files whose size or time of change differs
    from the record are read.

    Args:
        checkpoint: The run's ``model.pt``, with ``data.json`` beside it. Without that file nobody knows
            the files, and nothing is refused.
        cases: The cases of one set; some may be missing in the run's record.

    Raises:
        InputError: If a file has other bytes, or if ``data.json`` is damaged.
    """
    folder = RunFolder(Path(checkpoint).parent)
    if idist.get_rank() != 0 or not folder.data.is_file():
        return
    records = {
        case: files for part in _recorded_sets(folder).values() for case, files in part.items()
    }
    known = [case for case in cases if case["case"] in records]
    for case in progress_bar(known, description="Comparing data", unit="case"):
        changed = _changed_file(case, records[case["case"]])
        if changed:
            raise InputError(
                f"{changed}: has other bytes than {folder.data} recorded; put it back, evaluate a copy "
                f"of the run without {folder.data.name}, or {_REMEDY}"
            )


def _changed_file(case: LabeledCase, records: Sequence[str]) -> str | None:
    """The first file of a case that is not the recorded one; None if all are."""
    files = [*image_files(case), case["label"]]
    if len(files) != len(records):
        return files[0]
    for file, record in zip(files, records, strict=True):
        if recorded_checksum(recorded_file(Path(file), record)) != recorded_checksum(record):
            return file
    return None


def _recorded_sets(folder: RunFolder) -> dict[str, dict[str, list[str]]]:
    """The records of the files of every set and case of ``data.json``, the label's last; else empty."""
    sets = read_object(folder.data, _REMEDY) if folder.data.is_file() else {}
    try:
        return {
            part: {case: [str(file) for file in files.values()] for case, files in cases.items()}
            for part, cases in sets.items()
        }
    except AttributeError as error:
        raise InputError(f"{folder.data}: is damaged; {_REMEDY}") from error
