"""The one check of logits, probabilities and labels, for losses and metrics alike.

Outputs of a network are ``(B, C, *spatial)``, labels are class indices ``(B, 1, *spatial)`` or
``(B, *spatial)``. Anything else ends in one line that says what it is and what to do.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeGuard

import numpy as np
import numpy.typing as npt
import torch

from nacl_monai.errors import InputError

if TYPE_CHECKING:
    from monai.data.meta_tensor import MetaTensor

Floats = npt.NDArray[np.float64]
# How many classes a byte tells apart, and how many voxels a block has.
_BYTE, _BLOCK = 256, 2**15
# Labels that stay as they are.
_NARROW = (torch.uint8, torch.int16)
# Softmax rounds each probability once, so that the sum is off by about one unit in the last place.
_SUM_TOLERANCE = {torch.float16: 1e-2, torch.bfloat16: 1e-2}


def has_metadata(tensor: torch.Tensor) -> TypeGuard[MetaTensor]:
    """Whether it is a ``MetaTensor``; MONAI, which takes seconds to import, is not asked."""
    return hasattr(tensor, "as_tensor") and hasattr(tensor, "affine")


def without_metadata(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor without MONAI's metadata, which slows each operation; gradients flow through."""
    return tensor.as_tensor() if has_metadata(tensor) else tensor


def keep_freed_memory() -> bool:
    """Lets glibc keep the large buffers that this process frees, instead of returning them.

    The system would clear every page of the same buffers again in the next step, which takes a tenth
    of a training on a CPU, and more of an audit of large volumes. Values do not change.

    Returns:
        Whether the C library took the settings; only glibc knows them.
    """
    trim_threshold, mmap_threshold, largest = -1, -3, 2**31 - 1  # from glibc's malloc.h
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(mmap_threshold, largest) and mallopt(trim_threshold, largest))


def top1(values: torch.Tensor, axis: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest value of each voxel, and its class, the first of equal ones.

    On a CPU a running maximum over blocks that stay in its cache is three to six times as fast as
    ``values.max(axis)``, and a class takes a byte where a byte is enough.

    Args:
        values: Probabilities or logits without NaN.
        axis: That of the classes.

    Example:
        >>> top1(torch.tensor([[0.2, 0.4, 0.4]]))
        (tensor([0.4000]), tensor([1], dtype=torch.uint8))
    """
    index = torch.uint8 if values.shape[axis] <= _BYTE else torch.int32
    if type(values) is not torch.Tensor or values.device.type != "cpu":
        found = values.max(axis)
        return found.values, found.indices.to(index)
    planes = values.detach().movedim(axis, 0)
    largest = torch.empty_like(planes[0], memory_format=torch.contiguous_format)
    classes = torch.zeros(largest.shape, dtype=index)
    flat, most, first = planes.flatten(1), largest.view(-1), classes.view(-1).numpy()
    half = values.dtype in _SUM_TOLERANCE  # which NumPy compares slowly, or not at all
    for start in range(0, first.size, _BLOCK):
        block = slice(start, start + _BLOCK)
        high, *rest = (flat[:, block].float() if half else flat[:, block]).numpy()
        for k, plane in enumerate(rest, 1):
            larger = (plane > high).astype(first.dtype)
            np.maximum(first[block], larger * first.dtype.type(k), out=first[block])
            high = np.maximum(high, plane)
        most[block] = torch.from_numpy(high)
    return largest, classes


def check_tensor(value: object, name: str) -> None:
    """Refuses what is no tensor, as a dictionary of outputs or a generator.

    Raises:
        InputError: If it is none; the message says how to make one of it.
    """
    if isinstance(value, torch.Tensor):
        return
    kind, remedy = type(value).__name__, "a tensor"
    if isinstance(value, Mapping):
        remedy = f"the tensor in it, as {name}[{next(iter(value), 'logits')!r}]"
    elif hasattr(value, "__array__"):
        remedy = f"torch.as_tensor({name})"
    elif hasattr(value, "__next__"):
        remedy = "one batch after the other"
    raise InputError(f"{name}: are a {kind}, not a tensor; pass {remedy}")


def check_channels_first(outputs: torch.Tensor, labels: torch.Tensor, name: str = "logits") -> None:
    """Refuses outputs whose last axis has the classes, which labels tell.

    Raises:
        InputError: If labels ``(B, *spatial)`` or ``(B, 1, *spatial)`` fit outputs ``(B, *spatial, C)``
            and no outputs ``(B, C, *spatial)``.
    """
    first, last = ((outputs.shape[0], *axes) for axes in (outputs.shape[2:], outputs.shape[1:-1]))
    forms = [(*size[:1], *channel, *size[1:]) for size in (last, first) for channel in ((), (1,))]
    if outputs.ndim > 3 and labels.shape in forms[:2] and labels.shape not in forms[2:]:
        raise InputError(
            f"{name}: have the shape {tuple(outputs.shape)} and labels {tuple(labels.shape)}, so that "
            f"the classes are last; pass {name}.movedim(-1, 1)"
        )


def check_outputs(outputs: torch.Tensor, name: str = "logits") -> None:
    """Refuses outputs that are not ``(B, C, *spatial)`` with two or more classes and a voxel.

    Raises:
        InputError: If the shape is another, or if the batch is empty.
    """
    if outputs.ndim > 2 and outputs.shape[1] == 1:
        other = f"torch.zeros_like({name})" if name == "logits" else f"1 - {name}"
        raise InputError(
            f"{name}: have the shape {tuple(outputs.shape)}, one channel, as of a sigmoid; pass at "
            f"least 2 classes, background first: torch.cat([{other}, {name}], 1)"
        )
    if outputs.ndim < 3 or outputs.shape[1] < 2:
        raise InputError(
            f"{name}: have the shape {tuple(outputs.shape)}; "
            "pass (batch, classes, *spatial) with at least 2 classes"
        )
    check_voxels(outputs, name)


def check_voxels(outputs: torch.Tensor, name: str = "logits") -> None:
    """Refuses a batch without a voxel, over which no mean is defined.

    Raises:
        InputError: If an axis has the length 0.
    """
    if 0 in outputs.shape:
        raise InputError(
            f"{name}: have the shape {tuple(outputs.shape)}, without a voxel; leave empty batches out"
        )


def without_channel(
    labels: torch.Tensor, outputs: torch.Tensor, name: str = "labels"
) -> torch.Tensor:
    """Labels or a mask as ``(B, *spatial)``, without the channel of length 1 if there is one.

    Args:
        labels: ``(B, 1, *spatial)`` or ``(B, *spatial)``.
        outputs: The outputs that they belong to, ``(B, C, *spatial)``.
        name: The argument that the message names.

    Raises:
        InputError: If the shape is neither of the two.
    """
    batch, _, *spatial = outputs.shape
    # A tuple, not a set: sizes in a set would make torch.compile compile anew for each of them.
    if labels.shape not in ((batch, 1, *spatial), (batch, *spatial)):
        raise InputError(
            f"{name}: have the shape {tuple(labels.shape)}, which does not fit outputs of shape "
            f"{tuple(outputs.shape)}; pass {(batch, 1, *spatial)} or {(batch, *spatial)}"
            + (", class indices instead of one-hot" if labels.shape == outputs.shape else "")
        )
    return without_metadata(labels).reshape(batch, *spatial)


def is_label(labels: torch.Tensor, value: int) -> torch.Tensor:
    """Whether labels of any shape and dtype are a class index, or the ignored one; boolean.

    Example:
        >>> is_label(torch.tensor([0.0, 0.4]), 0).tolist()
        [True, False]
    """
    # In bytes, 156 would equal an ignore_index of -100.
    exact = labels if labels.is_floating_point() else labels.long()
    return exact == value


def check_indices(labels: torch.Tensor, num_classes: int, ignore_index: int | None = None) -> None:
    """Refuses labels that are not class indices.

    Args:
        labels: Any shape and any integer or float dtype.
        num_classes: The number of classes; 0 to ``num_classes - 1`` are allowed.
        ignore_index: One more value that is allowed.

    Raises:
        InputError: If a label is neither of these, or is not a whole number.
    """
    if not labels.numel():
        return
    if labels.is_floating_point():
        _check_whole(labels)
    elif labels.dtype not in _NARROW:
        labels = labels.long()
    counted = labels if ignore_index is None else labels.where(~is_label(labels, ignore_index), 0)
    narrow = (
        counted.dtype in _NARROW
    )  # of which torch finds both bounds together at a tenth of the pace
    bounds = (counted.amin(), counted.amax()) if narrow else counted.aminmax()
    for value in torch.stack(bounds).tolist():
        if not 0 <= value < num_classes:
            raise InputError(
                f"labels: hold {value:g}, but there are {num_classes} classes (0 to "
                f"{num_classes - 1}); map the labels to classes, or ignore this one where the loss "
                f"can: ignore_index={value:g}"
            )


def _check_whole(labels: torch.Tensor) -> None:
    broken = labels != labels.round()  # true for NaN as well
    if broken.any():
        raise InputError(
            f"labels: hold {labels[broken][0].item():g}, which is not a class index; "
            "resample labels with mode 'nearest'"
        )


def check_soft_labels(labels: torch.Tensor, ignore_index: int | None = None) -> None:
    """Refuses labels with a channel per class that are not shares of the classes.

    Args:
        labels: One-hot or soft, ``(B, C, *spatial)``, of any dtype.
        ignore_index: As in :func:`valid_soft_labels`.

    Raises:
        InputError: If a voxel's shares are negative, NaN, do not sum to 1, or are ignored in part.
    """
    fine = valid_soft_labels(labels, ignore_index)
    if not fine.all():
        first = labels.movedim(1, -1)[~fine][0].tolist()
        raise InputError(
            f"labels: have a channel per class, which hold {', '.join(f'{x:.4g}' for x in first)} in a "
            "voxel; one-hot and soft labels are 0 or more and sum to 1"
            + ("" if ignore_index is None else ", or are all 0, or all of the class to be ignored")
        )


def valid_soft_labels(labels: torch.Tensor, ignore_index: int | None = None) -> torch.Tensor:
    """Whether the shares of the classes are 0 or more and sum to 1, ``(B, *spatial)``, boolean.

    Args:
        labels: One-hot or soft, ``(B, C, *spatial)``, of any dtype.
        ignore_index: If given, a voxel may have no shares at all, as the one-hot form of a label that is
            no class has; and this class has all of a voxel or nothing.
    """
    shares = labels.to(torch.promote_types(labels.dtype, torch.float32))
    total, tolerance = shares.sum(1), sum_tolerance(labels.dtype)
    valid = (total - 1).abs() <= tolerance
    if ignore_index is not None:
        valid |= total == 0
        if 0 <= ignore_index < labels.shape[1]:
            of_ignored = shares[:, ignore_index]
            valid &= (of_ignored == 0) | (of_ignored >= 1 - tolerance)
    return valid & (shares >= 0).all(1)


def sum_tolerance(dtype: torch.dtype) -> float:
    """How far off 1 the rounding of a dtype may take the sum over a voxel's classes."""
    return _SUM_TOLERANCE.get(dtype, 1e-3)


def check_probabilities(probs: torch.Tensor, tolerance: float | None = None) -> None:
    """Refuses what is not an output of a softmax.

    Args:
        probs: Probabilities ``(B, C, *spatial)``.
        tolerance: How far the sum over the classes of a voxel may be from 1; by default as far as the
            rounding of the dtype takes it.

    Raises:
        InputError: If a value is NaN or outside [0, 1], or if the classes of a voxel do not sum to 1.
    """
    check_outputs(probs, "probs")
    tolerance = sum_tolerance(probs.dtype) if tolerance is None else tolerance
    check_unit_interval(probs, tolerance)
    # On a CPU plane by plane, so that there is no other map of all voxels.
    planes = torch.split(probs, 1, 2) if probs.device.type == "cpu" else [probs]
    bounds = torch.stack([torch.stack(torch.aminmax(plane.sum(1) - 1)) for plane in planes])
    off = bounds.abs().max().item()
    if off > tolerance:
        raise InputError(
            f"probs: the sum over a voxel's classes is off 1 by {off:.4g}; use softmax, not sigmoid"
        )


def check_unit_interval(
    probs: torch.Tensor, tolerance: float = 0.0, activation: str = "softmax"
) -> None:
    """Refuses values that are not probabilities, whatever they sum to.

    Args:
        probs: Any shape.
        tolerance: How far above 1 rounding may take them.
        activation: What makes probabilities of logits, for the message.

    Raises:
        InputError: If a value is not a floating-point number, NaN, or outside [0, 1].
    """
    if not probs.is_floating_point():
        raise InputError(
            f"probs: are {probs.dtype}; pass the floating-point output of {activation}"
        )
    low, high = (bound.item() for bound in torch.aminmax(probs))
    if math.isnan(low):  # aminmax returns NaN for both bounds
        raise InputError("probs: hold NaN; look for the case and the layer that made it")
    if low < 0 or high > 1 + tolerance:
        raise InputError(
            f"probs: reach from {low:.4g} to {high:.4g}, beyond [0, 1]; apply {activation} to logits "
            "first"
        )
