"""Checked voxels, from which every metric starts, of probabilities and labels in every form.

Structures that overlap have one channel each, and are as many problems with two classes: a sigmoid gives
each structure a probability of its own, and any number of structures may contain a voxel. They do not
compete, so each is calibrated or not by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy
import torch

from nacl_monai.errors import InputError
from nacl_monai.tensors import (
    check_channels_first,
    check_indices,
    check_outputs,
    check_probabilities,
    check_tensor,
    check_unit_interval,
    check_voxels,
    is_label,
    top1,
    without_channel,
    without_metadata,
)

#: Probabilities, labels or masks as users have them.
Voxels = torch.Tensor | npt.NDArray[Any]

_BYTES = 255


def as_tensor(voxels: Any) -> Any:
    """A NumPy array, or each of a list, as a tensor on its memory; anything else as it is."""
    if isinstance(voxels, (list, tuple)):
        return [as_tensor(case) for case in voxels]
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
    For any other dtype the second is None, since its rounding is known.

    Example:
        >>> dequantized(torch.tensor([[0], [51], [204]], dtype=torch.uint8))[0].T
        tensor([[0.0000, 0.2000, 0.8000]])
    """
    if probs.dtype != torch.uint8:
        return probs, None
    return as_floats(probs), probs.shape[1] / (2 * _BYTES) + 1e-5


def as_floats(probs: torch.Tensor) -> torch.Tensor:
    """Probabilities that may be stored in bytes as numbers, see `dequantized`."""
    return probs.float().div_(_BYTES) if probs.dtype == torch.uint8 else probs


def rounded_to_zero(dtype: torch.dtype, step: float | None = None) -> float:
    """The value of a stored probability of 0 in a logarithm.

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
    nearest = scipy.ndimage.distance_transform_edt(
        ~counted.cpu().numpy(), return_distances=False, return_indices=True
    )
    return labels[tuple(torch.from_numpy(axis).long().to(labels.device) for axis in nearest)]


@dataclass(frozen=True)
class LabeledVoxels:
    """Voxels with their labels, and the largest probability of each, which is found once.

    Attributes:
        probs: Probabilities ``(B, C, *spatial)``, which may be stored in bytes (`as_floats`), or logits
            where only their order matters.
        labels: Class indices ``(B, *spatial)``.
        counted: The voxels that count, ``(B, *spatial)``, boolean; None if all count.
        least: What a probability of 0 counts as in a logarithm, ``(C,)``; None for `rounded_to_zero` of
            the dtype of the probabilities.
    """

    probs: torch.Tensor
    labels: torch.Tensor
    counted: torch.Tensor | None = None
    least: torch.Tensor | None = None

    @cached_property
    def top1(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The largest probability of each voxel as it is stored, and the class, ``(B, *spatial)``."""
        return top1(self.probs)

    def within(self, mask: torch.Tensor | None) -> torch.Tensor | None:
        """Those of the voxels in a mask that count; None for all voxels."""
        if mask is None or self.counted is None:
            return self.counted if mask is None else mask
        return mask & self.counted

    @property
    def confidences(self) -> torch.Tensor:
        """The largest probability of each voxel, ``(B, *spatial)``."""
        return as_floats(self.top1[0])

    @property
    def prediction(self) -> torch.Tensor:
        """The most probable class of each voxel, ``(B, *spatial)``; the first one if several tie."""
        return self.top1[1]


def checked_voxels(
    probs: Voxels,
    labels: Voxels,
    mask: Voxels | None = None,
    ignore_index: int | None = None,
    from_logits: bool = False,
    step: float | None = None,
) -> LabeledVoxels:
    """Probabilities ``(B, C, *spatial)`` and labels ``(B, *spatial)`` that can be trusted.

    Both are without gradient and metadata, on the device of the probabilities. NumPy arrays, one-hot
    labels, a single case without batch axis and probabilities in a byte are taken too
    (:mod:`nacl_monai.metrics.voxels`).

    Args:
        probs: Probabilities after softmax, any floating dtype, or uint8 for ``round(255 p)``.
        labels: Class indices, ``(B, 1, *spatial)`` or ``(B, *spatial)``, any integer or float
            dtype that holds whole numbers; or one-hot, ``(B, C, *spatial)``.
        mask: The voxels that count, shaped like the labels without a channel per class.
        ignore_index: Voxels with this label do not count; in one-hot labels, those without a class.
        from_logits: Whether logits are given in place of probabilities.
        step: The step between stored probabilities, where the dtype does not say.

    Raises:
        InputError: If the probabilities are logits, NaN or do not sum to 1, if the shapes disagree,
            or if a label is not a class of the network.
    """
    ignoring, name = ignore_index is not None, "logits" if from_logits else "probs"
    outputs, label_maps = as_tensor(probs), as_tensor(labels)
    check_tensor(outputs, name)
    check_tensor(label_maps, "labels")
    probs, labels = batched(outputs.detach(), label_maps.detach(), ignoring)
    check_channels_first(probs, labels, name)
    check_outputs(probs, name)
    probs = softmax(without_metadata(probs)) if from_logits else without_metadata(probs)
    if probs.dtype == torch.uint8:
        for plane in torch.split(probs, 1, 2):
            check_probabilities(*dequantized(plane))
    else:
        check_probabilities(probs)
    least = torch.full((probs.shape[1],), rounded_to_zero(probs.dtype, step), device=probs.device)
    labels = aligned("labels", class_indices(labels, probs, ignore_index), probs)
    labels, labeled = without_ignored(labels, ignore_index)
    check_indices(labels, probs.shape[1])
    voxels = LabeledVoxels(probs, labels, labeled, least)
    if mask is None:
        return voxels
    return replace(voxels, counted=voxels.within(binary_mask("mask", mask, probs)))


def aligned(name: str, tensor: Voxels, outputs: torch.Tensor) -> torch.Tensor:
    """Labels or a mask as ``(B, *spatial)``, without metadata, on the device of ``outputs``.

    A mask of a single case may lack the batch axis.

    Raises:
        InputError: If the shape is neither ``(B, 1, *spatial)`` nor ``(B, *spatial)``.
    """
    voxels: torch.Tensor = as_tensor(tensor).detach()
    if len(outputs) == 1 and voxels.shape == outputs.shape[2:]:
        voxels = voxels[None]
    return without_channel(voxels, outputs, name).to(outputs.device)


def binary_mask(name: str, mask: Voxels, outputs: torch.Tensor) -> torch.Tensor:
    """The voxels that count, ``(B, *spatial)``, as `aligned`: NaN and −1 would count as inside.

    Raises:
        InputError: If the shape is wrong, or the mask holds other numbers than 0 and 1.
    """
    voxels = aligned(name, mask, outputs)
    check_mask(name, voxels)
    return voxels.bool()


def check_mask(name: str, voxels: torch.Tensor) -> None:
    """Refuses a mask that holds other numbers than 0 and 1.

    Raises:
        InputError: If it does.
    """
    if voxels.dtype != torch.bool and ((voxels != 0) & (voxels != 1)).any():
        raise InputError(
            f"{name}: holds other numbers than 0 and 1; give 1, or true, where voxels count"
        )


def of_classes(indices: torch.Tensor, classes: Sequence[int]) -> torch.Tensor:
    """The mask of class indices that are among some classes."""
    return reduce(torch.logical_or, (indices == index for index in classes))


#: The two classes of each problem.
OUTSIDE_INSIDE = ("outside", "inside")


def structure_regions(regions: Iterable[str], structures: Sequence[str]) -> tuple[str, ...]:
    """The names of all regions of all structures; the regions themselves without structures.

    Example:
        >>> structure_regions(["all", "foreground"], ["WT", "TC"])
        ('all_WT', 'foreground_WT', 'all_TC', 'foreground_TC')
    """
    regions = tuple(regions)
    if not structures:
        return regions
    return tuple(f"{region}_{structure}" for structure in structures for region in regions)


def binary_problems(
    probs: torch.Tensor,
    masks: torch.Tensor,
    structures: Sequence[str],
    mask: torch.Tensor | None = None,
    ignore_index: int | None = None,
    step: float | None = None,
) -> Iterator[LabeledVoxels]:
    """The problem of each structure: probabilities outside and inside, and the label, 1 inside.

    A probability of exactly 0.5 predicts outside.

    Args:
        probs: Probabilities after sigmoid, ``(B, structures, *spatial)``. Those in half precision are
            computed with in single precision; uint8 is ``round(255 p)``.
        masks: 0 and 1, same shape.
        structures: Names of the channels.
        mask: The voxels that count, ``(B, 1, *spatial)`` or ``(B, *spatial)``.
        ignore_index: A voxel with this value in any mask does not count.
        step: The step between stored probabilities, where the dtype does not say.

    Yields:
        ``(B, 2, *spatial)`` and ``(B, *spatial)``.

    Raises:
        InputError: If the shapes disagree, a value is not a probability, or a mask is not binary.
    """
    if probs.shape != masks.shape or probs.ndim < 3 or probs.shape[1] != len(structures):
        raise InputError(
            f"probs: have the shape {tuple(probs.shape)} and labels {tuple(masks.shape)}; pass (batch, "
            f"structures, *spatial) for both, with {len(structures)} structures "
            f"({', '.join(structures)})"
        )
    check_voxels(probs, "probs")
    probs, masks = without_metadata(probs.detach()), without_metadata(masks.detach())
    stored = probs.dtype
    probs, _ = dequantized(probs)
    check_unit_interval(probs, activation="sigmoid")
    ends = [rounded(stored, step) for rounded in (rounded_to_one, rounded_to_zero)]
    least = torch.tensor(ends, device=probs.device)
    ignored = _ignored(masks, ignore_index)
    if not ((masks == 0) | (masks == 1) | ignored).all():
        raise InputError("labels: hold other values; give one mask of 0 and 1 per structure")
    counted = None if mask is None else binary_mask("mask", mask, probs)
    for channel in range(len(structures)):
        inside = probs[:, channel].to(torch.promote_types(probs.dtype, torch.float32))
        both = torch.stack([1 - inside, inside], 1)
        label = masks[:, channel].long().where(~ignored[:, channel], -1)
        label, labeled = without_ignored(label, None if ignore_index is None else -1)
        voxels = LabeledVoxels(both, label, labeled, least)
        yield replace(voxels, counted=voxels.within(counted))


def _ignored(masks: torch.Tensor, ignore_index: int | None) -> torch.Tensor:
    """The voxels that do not count for any structure, of the shape of the masks."""
    if ignore_index is None:
        return torch.zeros_like(masks, dtype=torch.bool)
    return is_label(masks, ignore_index).any(1, keepdim=True).expand_as(masks)
