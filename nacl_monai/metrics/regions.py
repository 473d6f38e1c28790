"""The voxels over which a metric is computed, by name."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from nacl_monai.errors import InputError
from nacl_monai.metrics.inputs import predicted_classes, without_channel
from nacl_monai.metrics.spacing import Spacing, case_spacings

REGIONS = ("all", "foreground", "union", "boundary")


def region_mask(
    region: str,
    labels: torch.Tensor,
    prediction: torch.Tensor | None = None,
    *,
    width: float = 3.0,
    spacing: Spacing | Sequence[Spacing] | None = None,
) -> torch.Tensor:
    """The voxels of a region, ``(B, *spatial)``, boolean.

    ========== =====================================================================
    all        every voxel
    foreground ground truth is not background (the paper, section 4.1.2)
    union      ground truth or prediction is not background (the paper, section 4.2.8)
    boundary   a band of ``width`` voxels on both sides of the ground truth's boundaries
    ========== =====================================================================

    Args:
        region: One of the names above.
        labels: Class indices of the ground truth, ``(B, *spatial)``; background is 0.
        prediction: Predicted class indices, ``(B, *spatial)``; only "union" needs them.
        width: Of the boundary band. A voxel is in the band if it lies closer than this to a voxel
            that touches another label, so that the two voxels at a boundary always belong to it
            and ``width=3`` takes three voxels on each side. In voxels, or in the unit of
            ``spacing``. The border of the image is no boundary.
        spacing: Size of a voxel along each axis, one for all cases or one per case; None measures
            the width in voxels.

    Raises:
        InputError: For an unknown name, a width that is not positive, a missing prediction.

    Example:
        >>> labels = torch.tensor([[[0, 0, 0, 0, 1, 1, 1, 1]]])
        >>> region_mask("boundary", labels, width=2).int().tolist()
        [[[0, 0, 1, 1, 1, 1, 0, 0]]]
    """
    if region == "all":
        return torch.ones_like(labels, dtype=torch.bool)
    if region == "foreground":
        return labels != 0
    if region == "union":
        if prediction is None:
            raise InputError("region 'union' needs the prediction")
        return (labels != 0) | (prediction != 0)
    if region == "boundary":
        return _boundary_band(labels, width, spacing)
    raise InputError(f"unknown region '{region}': choose one of {', '.join(REGIONS)}, or a mask")


def selected_voxels(
    region: str | torch.Tensor, probs: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor | None:
    """The mask of a region given by name or as a mask, for checked input; None for all voxels."""
    if isinstance(region, torch.Tensor):
        return without_channel("mask", region, probs).bool()
    if region == "all":
        return None
    prediction = predicted_classes(probs) if region == "union" else None
    return region_mask(region, labels, prediction)


def _boundary_band(
    labels: torch.Tensor, width: float, spacing: Spacing | Sequence[Spacing] | None
) -> torch.Tensor:
    if not width > 0:
        raise InputError(f"the width of the boundary band must be positive, got {width}")
    touching = _touches_other_label(labels)
    band = torch.zeros_like(touching)
    for case, sizes in enumerate(case_spacings(spacing, len(labels), labels.ndim - 1)):
        box = _bounding_box(touching[case], [int(width / size) + 1 for size in sizes])
        if box is not None:
            band[case][box] = _dilated(touching[case][box], width, sizes)
    return band


def _dilated(mask: torch.Tensor, width: float, sizes: Spacing) -> torch.Tensor:
    """The voxels closer than ``width`` to the mask.

    Axis by axis the least squared distance over the few steps that the width allows: exact, and for
    bands of some voxels many times as fast as a distance transform.
    """
    squared = torch.where(mask, 0.0, torch.inf)
    for axis, (length, size) in enumerate(zip(mask.shape, sizes, strict=True)):
        nearest = squared.clone()
        for step in range(1, min(math.ceil(width / size), length)):
            inner = length - step
            for here, there in ((0, step), (step, 0)):
                through = squared.narrow(axis, there, inner) + (step * size) ** 2
                target = nearest.narrow(axis, here, inner)
                torch.minimum(target, through, out=target)
        squared = nearest
    return squared < width**2


def _touches_other_label(labels: torch.Tensor) -> torch.Tensor:
    """Voxels with a face neighbor of another label."""
    touching = torch.zeros_like(labels, dtype=torch.bool)
    for axis in range(1, labels.ndim):
        last = labels.shape[axis] - 1
        step = labels.narrow(axis, 0, last) != labels.narrow(axis, 1, last)
        touching.narrow(axis, 0, last).logical_or_(step)
        touching.narrow(axis, 1, last).logical_or_(step)
    return touching


def _bounding_box(mask: torch.Tensor, margin: Sequence[int]) -> tuple[slice, ...] | None:
    """Where the mask is true, with a margin: a distance transform of all of a CT takes seconds."""
    where = mask.nonzero()
    if not len(where):
        return None
    low, high = where.amin(0).tolist(), where.amax(0).tolist()
    return tuple(
        slice(max(0, first - extra), last + 1 + extra)
        for first, last, extra in zip(low, high, margin, strict=True)
    )
