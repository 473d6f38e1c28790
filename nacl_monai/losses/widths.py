r"""The width of a prior in mm, and the window of voxels that has it.

Two raters who outline one structure are some mm apart, whatever the voxels. A width in mm is the
standard deviation of the weights along an axis: :math:`\sigma` of a Gaussian, and
:math:`\sqrt{(k^2 - 1) / 12}` voxels of a mean over :math:`k`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from monai.data.meta_tensor import MetaTensor
from monai.data.utils import affine_to_spacing

from nacl_monai.errors import InputError, SettingError
from nacl_monai.losses.settings import require

#: A window holds so many standard deviations of a Gaussian to either side of its center.
REACH = 3
#: In voxels; below, the neighbors along an axis weigh nothing.
LEAST_SIGMA = 0.1


def check_width(width_mm: float | None, spacing: Sequence[float] | None = None) -> None:
    """Refuses a width that is none, and a spacing without any, which would change nothing.

    Raises:
        SettingError: If the width is not positive, or there is only a spacing.
    """
    valid = width_mm is None or 0 < width_mm < math.inf
    require(valid, "width_mm", width_mm, "a positive number of mm")
    if width_mm is None and spacing is not None:
        raise SettingError(
            f"spacing: is {list(spacing)}, and has no effect without width_mm; pass both, or "
            "kernel_size and sigma for each axis"
        )


def window_of_width(
    prior: str, width_mm: float, spacing: Sequence[float]
) -> tuple[list[int], list[float]]:
    """The extent of the window and the standard deviation of its weights, along each axis in voxels.

    Args:
        prior: As in :func:`neighborhood_proportions`.
        width_mm: The standard deviation in mm.
        spacing: Size of a voxel along each axis, in mm.

    Raises:
        SettingError: If width or spacing are not positive, or if the window would be a single voxel.

    Example:
        >>> window_of_width("blur", 1.5, spacing=(1.0, 3.0))
        ([11, 5], [1.5, 0.5])
        >>> window_of_width("mean", 1.5, spacing=(1.0, 3.0))[0]
        [5, 1]
    """
    kernel_size, sigma = unresolved_window(prior, width_mm, spacing)
    if max(kernel_size) < 3:
        raise SettingError(
            f"width_mm: is {width_mm:g}, less than the prior {prior!r} resolves in voxels of "
            f"{' × '.join(f'{size:g}' for size in spacing)} mm; pass a larger one, or train on smaller "
            "voxels"
        )
    return kernel_size, sigma


def unresolved_window(
    prior: str, width_mm: float, spacing: Sequence[float]
) -> tuple[list[int], list[float]]:
    """:func:`window_of_width`, which may be a single voxel.

    Raises:
        SettingError: If width or spacing are not positive.
    """
    check_width(width_mm)
    if not all(0 < size < math.inf for size in spacing):
        raise SettingError(
            f"spacing: is {list(spacing)}; pass positive numbers of mm, one per axis"
        )
    sigma = [width_mm / float(size) for size in spacing]
    return [extent_of(prior, one) for one in sigma], [max(one, LEAST_SIGMA) for one in sigma]


def extent_of(prior: str, sigma: float) -> int:
    """The odd number of voxels of a window along an axis, for a standard deviation in voxels."""
    if prior == "mean":
        return 1 + 2 * round((math.sqrt(12 * sigma**2 + 1) - 1) / 2)
    return 1 if sigma < LEAST_SIGMA else 1 + 2 * math.ceil(REACH * sigma)


def spacing_of(labels: torch.Tensor, axes: int) -> list[float]:
    """Size of a voxel along each spatial axis of a batch of labels, in mm.

    Args:
        labels: A ``MetaTensor``, of one image or of a batch.
        axes: How many of its axes are spatial.

    Raises:
        InputError: If it is not a ``MetaTensor``, or if the labels of a batch differ in their spacing.
    """
    if not isinstance(labels, MetaTensor):
        raise InputError(
            "labels: do not know the size of their voxels; pass spacing beside width_mm, in mm"
        )
    affines = labels.affine.reshape(-1, *labels.affine.shape[-2:])
    spacings = torch.stack([torch.as_tensor(affine_to_spacing(one, axes)) for one in affines])
    if not torch.allclose(spacings, spacings[:1], rtol=1e-2):
        raise InputError(
            f"labels: have voxels of {spacings[0].tolist()} mm and of others in one batch; resample "
            "them, or pass kernel_size and sigma"
        )
    return [float(size) for size in spacings[0]]
