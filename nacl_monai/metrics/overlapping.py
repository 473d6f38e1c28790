"""Structures that overlap, one channel each: as many problems with two classes.

A sigmoid gives each structure a probability of its own, and any number of structures may contain a
voxel. None of them competes with another, so each is calibrated or not by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import torch

from nacl_monai.errors import InputError
from nacl_monai.metrics.inputs import dequantized, rounded_to_one, rounded_to_zero, without_ignored
from nacl_monai.metrics.voxels import LabeledVoxels, aligned
from nacl_monai.tensors import check_unit_interval, check_voxels, is_label, without_metadata

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
    counted = None if mask is None else aligned("mask", mask, probs).bool()
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
