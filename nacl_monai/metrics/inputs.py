"""Brings probabilities and labels of every form to one: tensors with a batch axis."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import distance_transform_edt

from nacl_monai.errors import InputError
from nacl_monai.tensors import is_label

#: Probabilities, labels or masks as users have them.
Voxels = torch.Tensor | npt.NDArray[Any]

_BYTES = 255


def as_tensor(voxels: Any) -> Any:
    """A NumPy array, or each of a list, as a tensor on its memory; anything else as it is."""
    if isinstance(voxels, (list, tuple)):
        return [as_tensor(one) for one in voxels]
    return torch.as_tensor(native(voxels)) if isinstance(voxels, np.ndarray) else voxels


def native(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """An array as torch takes it: the machine's bytes, 64 bits at most, no axis backward."""
    dtype = array.dtype.newbyteorder("=")
    array = np.asarray(array, dtype=np.float64 if dtype == np.longdouble else dtype)
    return array.copy() if min(array.strides, default=0) < 0 else array


def batched(
    probs: torch.Tensor, voxels: torch.Tensor, ignoring: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """A single case without batch axis with one; a batch as it is.

    Probabilities ``(C, *spatial)`` are a single case if only so they fit labels ``(*spatial)``,
    ``(1, *spatial)`` or ``(C, *spatial)``. Where both readings fit, the first axis is the batch.

    Args:
        probs: Probabilities or logits.
        voxels: Labels or a mask.
        ignoring: Whether a voxel of one-hot labels may be of no class.

    Example:
        >>> probs, labels = batched(torch.rand(3, 8, 8, 4), torch.zeros(8, 8, 4))
        >>> tuple(probs.shape), tuple(labels.shape)
        ((1, 3, 8, 8, 4), (1, 8, 8, 4))
    """
    batch, _, *spatial = probs.shape
    fits_batch = voxels.shape in ((batch, *spatial), (batch, 1, *spatial))
    if voxels.shape == probs.shape:  # one-hot in either reading
        first, second = (_one_per_voxel(voxels, axis, ignoring) for axis in (0, 1))
        fits_batch = second or not first
        single = True
    else:
        single = voxels.shape in (probs.shape[1:], (1, *probs.shape[1:]))
    return (probs[None], voxels[None]) if single and not fits_batch else (probs, voxels)


def _one_per_voxel(labels: torch.Tensor, axis: int, ignoring: bool) -> bool:
    classes = labels.sum(axis)
    return bool(((classes == 1) | (ignoring & (classes == 0))).all())


def dequantized(probs: torch.Tensor) -> tuple[torch.Tensor, float | None]:
    """Probabilities that were stored in a byte as numbers again, and how far off 1 they may sum.

    A byte holds ``round(255 p)``, so that each of C classes may be off by 1/510, and their sum by C/510.
    For any other dtype the second is None: what rounds it is known.

    Example:
        >>> dequantized(torch.tensor([[0], [51], [204]], dtype=torch.uint8))[0].T
        tensor([[0.0000, 0.2000, 0.8000]])
    """
    if probs.dtype != torch.uint8:
        return probs, None
    return probs.float() / _BYTES, probs.shape[1] / (2 * _BYTES) + 1e-5


def rounded_to_zero(dtype: torch.dtype, step: float | None = None) -> float:
    """What a stored probability of 0 counts as where its logarithm is needed.

    It is half of the smallest number that the dtype holds: 1/510 of a byte, 3e-8 of float16; and 1e-38,
    the smallest normal number of float32, of any other. For numbers that were stored in coarser steps
    than the dtype's it is half a step.

    Example:
        >>> rounded_to_zero(torch.float16) == 2**-25
        True
    """
    if dtype == torch.uint8:
        return 1 / (2 * _BYTES)
    if step is not None:
        return step / 2
    kind = torch.finfo(dtype)
    return max(kind.smallest_normal * kind.eps / 2, torch.finfo(torch.float32).tiny)


def rounded_to_one(dtype: torch.dtype, step: float | None = None) -> float:
    """How far below 1 a stored probability of 1 counts where the logarithm of the rest is needed.

    It is half of the distance to the next smaller number: 1/510 of a byte, 2e-4 of float16, 3e-8 of
    float32; and half of a coarser step.

    Example:
        >>> rounded_to_one(torch.float16) == 2**-12
        True
    """
    if dtype == torch.uint8:
        return 1 / (2 * _BYTES)
    return max(torch.finfo(dtype).eps / 4, (step or 0) / 2)


def softmax(logits: torch.Tensor) -> torch.Tensor:
    """Probabilities of logits ``(B, C, *spatial)``, in single precision at least."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(1)


def class_indices(
    labels: torch.Tensor, probs: torch.Tensor, ignore_index: int | None = None
) -> torch.Tensor:
    """One-hot labels ``(B, C, *spatial)`` as class indices ``(B, *spatial)``; others as they are.

    Args:
        labels: In either form.
        probs: The probabilities that they belong to.
        ignore_index: If given, a voxel may be of no class, and gets this label.

    Raises:
        InputError: If labels have a channel per class, but a voxel not exactly one class.
    """
    if labels.shape != probs.shape:
        return labels
    binary, classes = ((labels == 0) | (labels == 1)).all(), labels.sum(1)
    if ignore_index is not None and binary and ((classes == 0) | (classes == 1)).all():
        return labels.long().max(1).indices.where(classes == 1, ignore_index)
    if not (binary and (classes == 1).all()):
        raise InputError(
            "labels: have a channel per class, but are not one-hot; a voxel has 1 in one channel and 0 "
            "in all others"
        )
    return labels.long().max(1).indices


def without_ignored(
    labels: torch.Tensor, ignore_index: int | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Labels in which ignored voxels have the label of the nearest other one, and which are no such.

    Thus there is no boundary where the labels merely end. A case without any label is background.

    Args:
        labels: Class indices ``(B, *spatial)``.
        ignore_index: The label of the voxels that do not count; None if all count.

    Returns:
        Labels, and the voxels that count, ``(B, *spatial)``, boolean; None if all count.

    Example:
        >>> labels, counted = without_ignored(torch.tensor([[[1, 255, 2]]]), ignore_index=255)
        >>> labels.tolist()[0][0] in ([1, 1, 2], [1, 2, 2]), counted.tolist()
        (True, [[[True, False, True]]])
    """
    if ignore_index is None:
        return labels, None
    counted = ~is_label(labels, ignore_index)
    if counted.all():
        return labels, None
    filled = [_filled(*case) for case in zip(labels, counted, strict=True)]
    return torch.stack(filled), counted


def _filled(labels: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    if not counted.any():
        return torch.zeros_like(labels)
    nearest = distance_transform_edt(
        ~counted.cpu().numpy(), return_distances=False, return_indices=True
    )
    return labels[tuple(torch.from_numpy(axis).long().to(labels.device) for axis in nearest)]
