r"""The prior :math:`\tau`: the share of each class in the neighborhood of a voxel.

References:
    - Neighbor-Aware Calibration of Segmentation Networks with Penalty-Based Constraints
      (Murugesan et al., 2024), sections 3.2, 3.3 and 4.2.4, https://arxiv.org/abs/2401.14487
    - Spatially Varying Label Smoothing: Capturing Uncertainty from Expert Annotations
      (Islam and Glocker, 2021), https://arxiv.org/abs/2104.05788
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import TypeAlias, TypeVar

import torch

from nacl_monai.errors import InputError
from nacl_monai.losses.settings import check_option, require
from nacl_monai.losses.voxels import one_hot, without_ignored
from nacl_monai.losses.widths import check_width, spacing_of, window_of_width
from nacl_monai.losses.windows import BORDERS, PRIORS, Window
from nacl_monai.tensors import check_outputs, check_soft_labels, without_metadata

Number = TypeVar("Number", int, float)
#: One for all axes, or one for each.
PerAxis: TypeAlias = Number | Sequence[Number]


def neighborhood_proportions(
    labels: torch.Tensor,
    num_classes: int | None,
    kernel_size: PerAxis[int] = 3,
    prior: str = "mean",
    sigma: PerAxis[float] = 1.0,
    border: str = "valid",
    *,
    ignore_index: int | None = None,
    image: torch.Tensor | None = None,
    intensity_sigma: float = 0.1,
    width_mm: float | None = None,
    spacing: Sequence[float] | None = None,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    r"""Computes the proportion of each class among a voxel and its neighbors (equation 2).

    .. math::

        \tau_j^k = \frac{\sum_{i \in \mathcal{N}(j)} w_{ij} \, [y_i = k]}
                        {\sum_{i \in \mathcal{N}(j)} w_{ij}}

    where :math:`\mathcal{N}(j)` is the window of ``kernel_size`` voxels per axis around :math:`j`,
    itself included. The priors differ in the weights:

    - ``mean``: :math:`w_{ij} = 1`. It is computed in whole numbers and therefore exact.
    - ``gaussian``: the kernel of SVLS, :math:`w_{ij} = \exp(-\|i - j\|^2 / 2\sigma^2)` for the
      neighbors and their sum over the full window for :math:`i = j`. Thus the center weighs as
      much as all its neighbors together, whatever the kernel size.
    - ``blur``: an ordinary Gaussian, :math:`w_{ij} = \exp(-\|i - j\|^2 / 2\sigma^2)` for the center,
      too. Give it a window that holds it, :math:`6\sigma` wide.
    - ``bilateral``: :math:`w_{ij} = \exp(-\|i - j\|^2 / 2\sigma^2 - d_{ij}^2 / 2\sigma_I^2)`, where
      :math:`d_{ij}^2` is the squared difference of the image's intensities at :math:`i` and
      :math:`j`, averaged over its channels. On a constant image it is a Gaussian and, if ``sigma``
      is infinite as well, ``mean``.

    Args:
        labels: Class indices, ``(B, 1, *spatial)`` or ``(B, *spatial)``, 2-D or 3-D. Four axes, the
            second of length 1, are read as ``(B, 1, H, W)``. Or the shares of the classes,
            ``(B, K, *spatial)``, of which :math:`\tau` is the weighted mean.
        num_classes: The number of classes :math:`K`; None says that labels are shares.
        kernel_size: The window's extent along each axis, odd; one for all axes, or one for each.
        prior: ``"mean"``, ``"gaussian"``, ``"blur"`` or ``"bilateral"``.
        sigma: Standard deviation of the Gaussian weights in voxels, one for all axes or one for each;
            unused by ``"mean"``.
        border: What is outside the image. ``"valid"``: nothing, the proportion is among voxels
            that exist. ``"replicate"``: copies of the border, as SVLS was published.
        ignore_index: Voxels with this label, or without shares, are ignored as neighbors.
        image: ``(B, M, *spatial)``, needed by ``"bilateral"`` only.
        intensity_sigma: :math:`\sigma_I`, in the image's units; the default suits [0, 1].
        width_mm: Standard deviation of the weights along each axis, in mm, in place of ``kernel_size``
            and ``sigma``, see :func:`window_of_width`.
        spacing: Size of a voxel along each axis, in mm; None for that of the labels, a ``MetaTensor``.
        dtype: Floating-point dtype of the result.

    Returns:
        :math:`\tau`, ``(B, K, *spatial)``. It sums to 1 over the classes at every voxel, or to 0
        where the whole window is ignored.

    Raises:
        InputError: If a setting or a shape cannot be used, or shares do not sum to 1.

    Note:
        MONAI's ``NACLLoss`` pads with zeros, so that its proportions add up to 4/9 in the corner of
        an image; its ``"gaussian"`` is an ordinary Gaussian truncated at 4 sigma, without SVLS's
        center, and disregards ``kernel_size``; an even ``kernel_size`` shifts its window by half a
        voxel.

    Example:
        >>> labels = torch.tensor([[[[0, 0, 1], [0, 0, 1], [0, 0, 1]]]])
        >>> neighborhood_proportions(labels, num_classes=2)[0, 1]
        tensor([[0.0000, 0.3333, 0.5000],
                [0.0000, 0.3333, 0.5000],
                [0.0000, 0.3333, 0.5000]])
    """
    members = _members(labels, num_classes, ignore_index)
    axes = members.ndim - 2
    kernel_size, sigma = window_in_voxels(
        labels, axes, prior, kernel_size, sigma, width_mm, spacing
    )
    return member_proportions(
        members, kernel_size, prior, sigma, border, image, intensity_sigma, dtype
    )


def window_in_voxels(
    labels: torch.Tensor,
    axes: int,
    prior: str,
    kernel_size: PerAxis[int],
    sigma: PerAxis[float],
    width_mm: float | None,
    spacing: Sequence[float] | None,
) -> tuple[PerAxis[int], PerAxis[float]]:
    """The extent and the standard deviation as they are given, or those of a width in mm.

    Arguments are those of :func:`neighborhood_proportions`; ``axes`` of the labels are spatial.

    Raises:
        InputError: If width or spacing cannot be used.
    """
    check_width(width_mm, spacing)
    if width_mm is None:
        return kernel_size, sigma
    sizes = spacing_of(labels, axes) if spacing is None else spacing
    return window_of_width(prior, width_mm, sizes)


def member_proportions(
    members: torch.Tensor,
    kernel_size: PerAxis[int],
    prior: str,
    sigma: PerAxis[float],
    border: str,
    image: torch.Tensor | None = None,
    intensity_sigma: float = 0.1,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """:func:`neighborhood_proportions` of ``(B, K, *spatial)`` from :func:`voxels.memberships`."""
    check_neighborhood(kernel_size, prior, sigma, border, intensity_sigma)
    axes = members.ndim - 2
    sizes, sigmas = _per_axis("kernel_size", kernel_size, axes), _per_axis("sigma", sigma, axes)
    window = Window(sizes, sigmas, BORDERS[border], intensity_sigma, image, dtype)
    weighted = PRIORS[prior](members, window)
    total = weighted.sum(1, keepdim=True, dtype=dtype)
    return weighted / total.clamp_min(torch.finfo(dtype).tiny)


def check_neighborhood(
    kernel_size: PerAxis[int],
    prior: str,
    sigma: PerAxis[float],
    border: str,
    intensity_sigma: float = 1.0,
) -> None:
    """Refuses settings that define no neighborhood, before any data is read.

    Raises:
        InputError: If one of them cannot be used.
    """
    sizes = list(kernel_size) if isinstance(kernel_size, Sequence) else [kernel_size]
    odd = all(isinstance(size, Integral) and size >= 1 and size % 2 == 1 for size in sizes)
    wider = odd and any(size >= 3 for size in sizes)
    require(wider, "kernel_size", kernel_size, "an odd number, 3 or more")
    check_option("prior", PRIORS, prior)
    check_option("border", BORDERS, border)
    # Below a tenth of a voxel the weight of a neighbor vanishes in float32.
    sigmas = list(sigma) if isinstance(sigma, Sequence) else [sigma]
    wide = len(sigmas) > 0 and all(one >= 0.1 for one in sigmas)
    require(wide, "sigma", sigma, "0.1 voxels or more")
    require(intensity_sigma > 0, "intensity_sigma", intensity_sigma, "a positive number")


def _per_axis(name: str, value: PerAxis[Number], axes: int) -> Sequence[Number]:
    if not isinstance(value, Sequence):
        return [value] * axes
    if len(value) != axes:
        raise InputError(f"{name}: is {list(value)}, for {len(value)} axes; the labels have {axes}")
    return value


def _members(
    labels: torch.Tensor, num_classes: int | None, ignore_index: int | None
) -> torch.Tensor:
    if num_classes is not None:
        return one_hot(_with_channel(labels), num_classes, ignore_index)
    check_outputs(labels, "labels")
    shares = without_metadata(labels)
    check_soft_labels(shares, ignore_index)
    return without_ignored(shares, ignore_index)


def _with_channel(labels: torch.Tensor) -> torch.Tensor:
    labels = without_metadata(labels)
    if labels.ndim == 3 or (labels.ndim == 4 and labels.shape[1] != 1):
        return labels.unsqueeze(1)
    if labels.ndim in (4, 5) and labels.shape[1] == 1:
        return labels
    raise InputError(
        f"labels: have the shape {tuple(labels.shape)}; pass (batch, 1, *spatial) or "
        "(batch, *spatial) in 2-D or 3-D"
    )
