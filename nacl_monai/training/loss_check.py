"""Checks before the first batch that a loss from elsewhere reads logits and labels as they are given.

A loss that takes logits for probabilities, or class indices for one-hot labels, returns a number all the
same. A property that all losses of a softmax share tells them apart.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from copy import deepcopy
from inspect import signature
from math import isfinite, prod

import ignite.distributed as idist
import torch
from torch import nn

from nacl_monai.errors import SettingError
from nacl_monai.losses import ForeignLoss
from nacl_monai.losses.base import (
    FORMS,
    FunctionModule,
    SegmentationLoss,
    as_segmentation_loss,
    needs_image,
)

_LIBRARIES = ("monai", "torch")
#: Arguments by which MONAI's losses take class indices and logits.
_CONVENTIONS = ("to_onehot_y", "softmax", "use_softmax")
_TOLERANCE = 1e-3
_ALTERNATIVE = "choose one of the menu, or one that takes ignore_index"


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
        ignore_index: The label of voxels that nobody labeled; no loss may depend on their logits.

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
            print(f"warning: loss: {_name(loss)} {warning}; right if it means to", file=sys.stderr)
    if ignore_index is not None and not needs_image(getattr(loss_function, "loss", loss_function)):
        probe.check_ignored(as_segmentation_loss(loss_function), ignore_index)


class _FaultError(Exception):
    """What a loss does that it must not."""


def _foreign(module: nn.Module) -> Iterator[ForeignLoss]:
    """The losses from elsewhere in a loss, however deep in losses of this package."""
    if isinstance(module, ForeignLoss):
        yield module
    elif isinstance(module, FunctionModule):
        for child in module.children():
            yield from _foreign(child)


def _is_of_library(loss: nn.Module) -> bool:
    return type(loss).__module__.partition(".")[0] in _LIBRARIES


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
        """What one's own loss does when all logits grow alike; empty if nothing.

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
        if _is_of_library(loss.loss):
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
                f"loss: depends on voxels that nobody labeled, ignore_index {ignore_index}; "
                f"{_ALTERNATIVE}"
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
        return _number(found)

    def remedy(self, loss: ForeignLoss) -> str:
        """What to write instead."""
        absent = [name for name in _CONVENTIONS if _lacks(loss.loss, name)]
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


def _number(found: object) -> float:
    """What a loss returns as a number.

    Raises:
        _FaultError: If it is not one finite number with a gradient.
    """
    if not isinstance(found, torch.Tensor) or found.numel() != 1:
        shape = getattr(found, "shape", type(found).__name__)
        raise _FaultError(f"returns {shape} instead of one number")
    value = float(found.detach())
    if not (isfinite(value) and found.requires_grad):
        raise _FaultError(f"is {value:g}, no finite number with a gradient")
    return value


def _lacks(loss: nn.Module, name: str) -> bool:
    """Whether a loss takes the argument ``name``, and neither it nor a part of it has it."""
    return name in signature(type(loss)).parameters and not any(
        getattr(part, name, False) for part in loss.modules()
    )
