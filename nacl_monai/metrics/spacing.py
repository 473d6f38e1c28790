"""The size of a voxel: given, read from MONAI's metadata, or 1 if distances are in voxels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.data.meta_tensor import MetaTensor

from nacl_monai.errors import InputError

Spacing = Sequence[float]


def case_spacings(
    spacing: Spacing | Sequence[Spacing] | str | None,
    batch: int,
    dims: int,
    image: torch.Tensor | None = None,
) -> list[tuple[float, ...]]:
    """One spacing per case.

    Args:
        spacing: Sizes along each axis, one set for all cases or one per case; "pixdim" reads those
            of ``image``; None is 1 along each axis.
        batch: The number of cases.
        dims: The number of spatial axes.
        image: A ``MetaTensor``, ``(B, C, *spatial)``, which knows its spacing.

    Raises:
        InputError: If the numbers do not fit the axes and cases, are not positive, or are unknown.
    """
    if spacing is None:
        return [(1.0,) * dims] * batch
    if isinstance(spacing, str):
        return _from_metadata(spacing, batch, dims, image)
    values = torch.as_tensor(spacing, dtype=torch.float64)
    if values.shape not in {(dims,), (batch, dims)} or not (values > 0).all():
        raise InputError(
            f"spacing: is {spacing}; give {dims} positive numbers, for all cases or each"
        )
    return [tuple(case.tolist()) for case in values.expand(batch, dims)]


def _from_metadata(
    spacing: str, batch: int, dims: int, image: torch.Tensor | None
) -> list[tuple[float, ...]]:
    if spacing != "pixdim":
        raise InputError(f"spacing: is {spacing!r}; give numbers, None or 'pixdim'")
    if not isinstance(image, MetaTensor):
        raise InputError(
            "spacing: 'pixdim' needs labels with metadata (a MetaTensor); or give numbers"
        )
    cases = image.pixdim if image.is_batch else [image.pixdim] * batch
    return [tuple(float(size) for size in case[:dims]) for case in cases]
