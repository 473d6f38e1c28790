"""The inputs of a loss: settings, logits and labels, and the mean over the voxels that count."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial

import torch
from torch import Tensor

from nacl_monai.errors import InputError, SettingError
from nacl_monai.tensors import (
    check_channels_first,
    check_indices,
    check_outputs,
    check_soft_labels,
    check_tensor,
    valid_soft_labels,
    without_channel,
    without_metadata,
)

#: Of a step so far: whether labels are valid, on their device, and what says so if they are not.
Checks = list[tuple[Tensor, Callable[[], None]]]
_CHECKS: ContextVar[Checks | None] = ContextVar("checks", default=None)


@contextmanager
def checking_later() -> Iterator[Checks]:
    """Within it, losses do not wait for the device to check labels; who enters it asks all together."""
    checks: Checks = []
    token = _CHECKS.set(checks)
    try:
        yield checks
    finally:
        _CHECKS.reset(token)


def require(valid: bool, name: str, value: object, remedy: str) -> None:
    """Refuses the setting ``name`` unless it is valid.

    Raises:
        SettingError: If it is not; the message ends with "pass" and the remedy.
    """
    if not valid:
        raise SettingError(f"{name}: is {value!r}; pass {remedy}")


def check_not_negative(name: str, value: float) -> None:
    """Refuses the setting ``name`` if it is negative.

    Raises:
        SettingError: If it is.
    """
    require(value >= 0, name, value, "0 or more")


def check_option(name: str, options: Collection[str], value: str) -> None:
    """Refuses the setting ``name`` unless its value is one of the options.

    Raises:
        SettingError: If it is not.
    """
    require(value in options, name, value, f"one of {', '.join(options)}")


def check_weights(name: str, weights: Iterable[float]) -> None:
    """Refuses the setting ``name`` if a weight is negative, or all are 0.

    Raises:
        SettingError: If so; what has a negative weight would be unlearned.
    """
    values = list(weights)
    valid = all(weight >= 0 for weight in values) and any(values)
    require(valid, name, values, "weights of 0 or more, not all of them 0")


def convert_inputs(
    logits: Tensor, labels: Tensor, ignore_index: int | None = None
) -> tuple[Tensor, Tensor]:
    """Logits and labels in the shapes and dtypes in which losses are computed.

    The shape alone says which labels they are: only soft and one-hot labels have that of the logits.

    Args:
        logits: ``(B, C, *spatial)``. Half precision becomes float32.
        labels: Class indices, ``(B, 1, *spatial)`` or ``(B, *spatial)``, or the shares of the classes,
            ``(B, C, *spatial)``; any dtype.
        ignore_index: Shares of voxels with this label become 0.

    Returns:
        Logits ``(B, C, *spatial)``; and class indices ``(B, *spatial)``, int64, or shares
        ``(B, C, *spatial)`` in the dtype of the logits (:func:`is_soft` tells).

    Raises:
        InputError: If there are fewer than two classes, or the shapes do not fit each other.
    """
    converted = at_least_float32(logits)
    check_tensor(labels, "labels")
    if labels.shape != logits.shape and not torch.compiler.is_compiling():
        check_channels_first(logits, labels)
    check_outputs(logits)
    if labels.shape != logits.shape:
        return converted, without_channel(labels, logits).long()
    return converted, shares_without_ignored(
        without_metadata(labels).to(converted.dtype), ignore_index
    )


def shares_without_ignored(shares: Tensor, ignore_index: int | None) -> Tensor:
    """Shares ``(B, C, *spatial)`` of the classes, 0 where a voxel is of the class to be ignored."""
    if ignore_index is None or not 0 <= ignore_index < shares.shape[1]:
        return shares
    return shares * (shares[:, ignore_index] < 0.5).unsqueeze(1)


def at_least_float32(logits: Tensor) -> Tensor:
    """Logits without metadata, in float32 if they are in half precision.

    Raises:
        InputError: If they are the outputs of a deeply supervised network.
    """
    if isinstance(logits, (list, tuple)):
        raise InputError(
            f"logits: are a list of {len(logits)} outputs; wrap the loss in DeepSupervisionLoss, which "
            "weights them"
        )
    check_tensor(logits, "logits")
    logits = without_metadata(logits)
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def check_inputs(logits: Tensor, labels: Tensor, ignore_index: int | None) -> tuple[Tensor, Tensor]:
    """Like :func:`convert_inputs`, and checks the values of the labels.

    The check of values waits for the device, but within :func:`checking_later`. In a compiled graph
    the device itself checks instead, and raises its own RuntimeError.

    Raises:
        InputError: If the shapes do not fit, or a label is neither a class nor ``ignore_index``, or soft
            labels do not sum to 1.
    """
    converted, checked = convert_inputs(logits, labels, ignore_index)
    return converted, check_values(checked, labels, converted, ignore_index)


def check_values(
    checked: Tensor, labels: Tensor, logits: Tensor, ignore_index: int | None
) -> Tensor:
    """Refuses labels whose values do not fit; ``checked`` are the same from :func:`convert_inputs`.

    Returns:
        ``checked``; if they are checked later, with 0 in place of an index that is no class, which a
        GPU does not survive.

    Raises:
        InputError: As :func:`check_inputs`.
    """
    labels, soft = without_metadata(labels), is_soft(checked)
    refuse = (
        partial(check_soft_labels, labels, ignore_index)
        if soft
        else partial(check_indices, labels, logits.shape[1], ignore_index)
    )
    compiling = torch.compiler.is_compiling()
    checks = None if compiling else _CHECKS.get()  # which Dynamo cannot trace
    if checks is None and not compiling:
        refuse()
        return checked
    fine = _valid(checked, labels, logits, ignore_index)
    if compiling:
        problem = "do not sum to 1" if soft else "hold a value that is not a class"
        torch._assert_async(fine.all(), f"labels: {problem}")
    elif checks is not None:
        checks.append((fine.all(), refuse))
    return checked if soft or compiling else checked.where(fine, 0)


def _valid(checked: Tensor, labels: Tensor, logits: Tensor, ignore_index: int | None) -> Tensor:
    """Where soft labels sum to 1, or labels are classes."""
    if is_soft(checked):
        return valid_soft_labels(labels, ignore_index)
    counted = counted_voxels(checked, ignore_index)
    counted = checked if counted is None else checked.where(counted, 0)
    whole = checked == without_channel(labels, logits)
    return (counted >= 0) & (counted < logits.shape[1]) & whole


def is_soft(labels: Tensor) -> bool:
    """Whether labels from :func:`convert_inputs` are the shares of the classes."""
    return labels.is_floating_point()


def counted_voxels(labels: Tensor, ignore_index: int | None) -> Tensor | None:
    """The voxels that are not ignored, ``(B, *spatial)``, of labels from :func:`convert_inputs`.

    None if all count.
    """
    if ignore_index is None:
        return None
    return (labels != 0).any(1) if is_soft(labels) else labels != ignore_index


def counted_mask(labels: Tensor, ignore_index: int | None) -> Tensor:
    """Like :func:`counted_voxels`, as ``(B, 1, *spatial)``, and all True if all count."""
    counted = counted_voxels(labels, ignore_index)
    if counted is None:
        counted = torch.ones_like(labels[:, 0] if is_soft(labels) else labels, dtype=torch.bool)
    return counted.unsqueeze(1)


def memberships(labels: Tensor, num_classes: int, ignore_index: int | None) -> Tensor:
    """The membership of each voxel in each class, ``(B, C, *spatial)``.

    Boolean for class indices, and the shares themselves for soft labels; an ignored voxel belongs to
    none.
    """
    return labels if is_soft(labels) else one_hot(labels.unsqueeze(1), num_classes, ignore_index)


def one_hot(labels: Tensor, num_classes: int, ignore_index: int | None) -> Tensor:
    """Label maps ``(B, 1, *spatial)`` as boolean ``(B, C, *spatial)``; other values are in none."""
    classes = torch.arange(num_classes, device=labels.device)
    members = labels == classes.view(1, -1, *[1] * (labels.ndim - 2))
    if ignore_index is not None and 0 <= ignore_index < num_classes:
        members = members & (labels != ignore_index)
    return members


def split_image(labels: Tensor, ndim: int) -> tuple[Tensor, Tensor]:
    """Class indices ``(B, 1, *spatial)`` and the image that is stored in further channels.

    Args:
        labels: ``(B, 1 + M, *spatial)``.
        ndim: The number of axes of the logits.

    Raises:
        InputError: If there is no further channel, or if the channels are those of one-hot labels.
    """
    if labels.ndim != ndim or labels.shape[1] < 2:
        raise InputError(
            f"labels: have the shape {tuple(labels.shape)}, but prior 'bilateral' needs the image; "
            "pass (batch, 1 + image channels, *spatial): the class indices, then the image"
        )
    if torch.compiler.is_compiling() or not labels.numel():
        return labels[:, :1], labels[:, 1:]
    alike = valid_soft_labels(without_metadata(labels)).all()
    if (later := _CHECKS.get()) is not None:
        later.append((~alike, _refuse_one_hot))
    elif alike:
        _refuse_one_hot()
    return labels[:, :1], labels[:, 1:]


def _refuse_one_hot() -> None:
    raise InputError(
        "labels: sum to 1 over the channels of every voxel, as one-hot and soft labels do, but "
        "prior 'bilateral' needs class indices, then the image; use nacl_loss(…, image=image)"
    )


def voxel_mean(values: Tensor, labels: Tensor, ignore_index: int | None) -> Tensor:
    """The mean of ``values`` over channels and over the voxels that are not ignored.

    Args:
        values: ``(B, K, *spatial)``.
        labels: From :func:`convert_inputs`.
        ignore_index: Voxels with this label are ignored.
    """
    counted = counted_voxels(labels, ignore_index)
    return values.mean() if counted is None else masked_mean(values, counted.unsqueeze(1))


def masked_mean(values: Tensor, counted: Tensor) -> Tensor:
    """The mean of ``values`` over channels and over the voxels of a mask ``(B, 1, *spatial)``.

    It is 0, with zero gradient, if there is none: a patch without annotation must not end a training
    with NaN, as the mean of nothing would.
    """
    total = torch.where(counted, values, 0).sum()
    return total / (counted.sum() * values.shape[1]).clamp_min(1)
