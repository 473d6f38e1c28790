r"""The prior :math:`\tau`: the share of each class in the neighborhood of a voxel.

References:
    - Neighbor-Aware Calibration of Segmentation Networks with Penalty-Based Constraints
      (Murugesan et al., 2024), sections 3.2, 3.3 and 4.2.4, https://arxiv.org/abs/2401.14487
    - Spatially Varying Label Smoothing: Capturing Uncertainty from Expert Annotations
      (Islam and Glocker, 2021), https://arxiv.org/abs/2104.05788
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from nacl_monai.errors import InputError
from nacl_monai.losses.settings import check_option, require
from nacl_monai.losses.voxels import one_hot, without_ignored
from nacl_monai.tensors import check_outputs, check_soft_labels, without_metadata


def neighborhood_proportions(
    labels: torch.Tensor,
    num_classes: int | None,
    kernel_size: int = 3,
    prior: str = "mean",
    sigma: float = 1.0,
    border: str = "valid",
    *,
    ignore_index: int | None = None,
    image: torch.Tensor | None = None,
    intensity_sigma: float = 0.1,
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
    - ``bilateral``: :math:`w_{ij} = \exp(-\|i - j\|^2 / 2\sigma^2 - d_{ij}^2 / 2\sigma_I^2)`, where
      :math:`d_{ij}^2` is the squared difference of the image's intensities at :math:`i` and
      :math:`j`, averaged over its channels. On a constant image it is a Gaussian and, if ``sigma``
      is infinite as well, ``mean``.

    Args:
        labels: Class indices, ``(B, 1, *spatial)`` or ``(B, *spatial)``, 2-D or 3-D. Four axes, the
            second of length 1, are read as ``(B, 1, H, W)``. Or the shares of the classes,
            ``(B, K, *spatial)``, of which :math:`\tau` is the weighted mean.
        num_classes: The number of classes :math:`K`; None says that labels are shares.
        kernel_size: The window's extent along each axis, odd.
        prior: ``"mean"``, ``"gaussian"`` or ``"bilateral"``.
        sigma: Standard deviation of the Gaussian weights in voxels; unused by ``"mean"``.
        border: What lies outside the image. ``"valid"``: nothing, the proportion is among voxels
            that exist. ``"replicate"``: copies of the border, as SVLS was published.
        ignore_index: Voxels with this label, or without shares, are ignored as neighbors.
        image: ``(B, M, *spatial)``, needed by ``"bilateral"`` only.
        intensity_sigma: :math:`\sigma_I`, in the image's units; the default suits [0, 1].
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
    return member_proportions(
        members, kernel_size, prior, sigma, border, image, intensity_sigma, dtype
    )


def member_proportions(
    members: torch.Tensor,
    kernel_size: int,
    prior: str,
    sigma: float,
    border: str,
    image: torch.Tensor | None = None,
    intensity_sigma: float = 0.1,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """:func:`neighborhood_proportions` of ``(B, K, *spatial)`` from :func:`voxels.memberships`."""
    check_neighborhood(kernel_size, prior, sigma, border, intensity_sigma)
    window = _Window(kernel_size, sigma, BORDERS[border], intensity_sigma, image, dtype)
    weighted = PRIORS[prior](members, window)
    total = weighted.sum(1, keepdim=True, dtype=dtype)
    return weighted / total.clamp_min(torch.finfo(dtype).tiny)


def check_neighborhood(
    kernel_size: int, prior: str, sigma: float, border: str, intensity_sigma: float = 1.0
) -> None:
    """Refuses settings that define no neighborhood, before any data is read.

    Raises:
        InputError: If one of them cannot be used.
    """
    odd = kernel_size >= 3 and kernel_size % 2 == 1
    require(odd, "kernel_size", kernel_size, "an odd number, 3 or more")
    check_option("prior", PRIORS, prior)
    check_option("border", BORDERS, border)
    # Below a tenth of a voxel the weight of a neighbor vanishes in float32.
    require(sigma >= 0.1, "sigma", sigma, "0.1 voxels or more")
    require(intensity_sigma > 0, "intensity_sigma", intensity_sigma, "a positive number")


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


def _pad_with_zeros(x: torch.Tensor, axis: int, radius: int) -> torch.Tensor:
    return F.pad(x, [0, 0] * (x.ndim - 1 - axis) + [radius, radius])


def _pad_with_border(x: torch.Tensor, axis: int, radius: int) -> torch.Tensor:
    length = x.shape[axis]
    nearest = torch.arange(-radius, length + radius, device=x.device).clamp(0, length - 1)
    return x.index_select(axis, nearest)


Pad = Callable[[torch.Tensor, int, int], torch.Tensor]
BORDERS: Mapping[str, Pad] = {"valid": _pad_with_zeros, "replicate": _pad_with_border}


@dataclass(frozen=True)
class _Window:
    """Everything that decides the weights, see :func:`neighborhood_proportions`."""

    kernel_size: int
    sigma: float
    pad: Pad
    intensity_sigma: float
    image: torch.Tensor | None
    dtype: torch.dtype

    @property
    def radius(self) -> int:
        return self.kernel_size // 2


def _count(members: torch.Tensor, window: _Window) -> torch.Tensor:
    """Members in each window, in the smallest integers that hold the window's size; or their shares.

    Bytes rather than floats make the prior several times cheaper than the cross-entropy beside it.
    """
    size = window.kernel_size ** (members.ndim - 2)
    smallest = torch.uint8 if size < 2**8 else torch.int16 if size < 2**15 else torch.int32
    members = members.to(window.dtype if members.is_floating_point() else smallest)
    return members + _neighbor_sum(members, [1] * window.radius, window.pad)


def _svls_sum(members: torch.Tensor, window: _Window) -> torch.Tensor:
    """Members weighted by a Gaussian whose center weighs as much as all its neighbors."""
    members = members.to(window.dtype)
    steps = range(1, window.radius + 1)
    taps = [math.exp(-(step**2) / (2 * window.sigma**2)) for step in steps]
    # The weight of all neighbors: the product over axes, without the 1 of the center.
    center = math.expm1((members.ndim - 2) * math.log1p(2 * sum(taps)))
    return _neighbor_sum(members, taps, window.pad).add_(members, alpha=center)


def _neighbor_sum(x: torch.Tensor, taps: Sequence[float], pad: Pad) -> torch.Tensor:
    """Sum over the window except its center, axis by axis; tap i weighs the voxels i + 1 away.

    Leaving the center out from the start, instead of subtracting it at the end, keeps a narrow
    Gaussian exact. With :math:`a_d` the sum along axis :math:`d` without the center,
    :math:`n_d = n_{d-1} + a_d(x + n_{d-1})`.
    """
    neighbors = _axis_sum(x, 2, taps, pad)
    for axis in range(3, x.ndim):
        neighbors = neighbors + _axis_sum(x + neighbors, axis, taps, pad)
    return neighbors


def _axis_sum(x: torch.Tensor, axis: int, taps: Sequence[float], pad: Pad) -> torch.Tensor:
    radius, length = len(taps), x.shape[axis]
    padded = pad(x, axis, radius)
    nearest, *further = (
        padded.narrow(axis, radius - step, length) + padded.narrow(axis, radius + step, length)
        for step in range(1, radius + 1)
    )
    total = nearest.mul_(taps[0])
    for pair, tap in zip(further, taps[1:], strict=True):
        total.add_(pair, alpha=tap)
    return total


def _bilateral_sum(members: torch.Tensor, window: _Window) -> torch.Tensor:
    """One shifted copy at a time, so that memory does not grow with the window."""
    members, image = members.to(window.dtype), _guide(members, window)
    radius, spatial = window.radius, members.shape[2:]
    padded_members, padded_image = members, image
    for axis in range(2, members.ndim):
        padded_members = window.pad(padded_members, axis, radius)
        padded_image = window.pad(padded_image, axis, radius)

    total = torch.zeros_like(members)
    for corner in itertools.product(range(window.kernel_size), repeat=len(spatial)):
        slices = (
            slice(None),
            slice(None),
            *(slice(start, start + size) for start, size in zip(corner, spatial, strict=True)),
        )
        distance = sum((start - radius) ** 2 for start in corner) / (2 * window.sigma**2)
        difference = (padded_image[slices] - image).square().mean(1, keepdim=True)
        weight = torch.exp(difference.div_(-2 * window.intensity_sigma**2).sub_(distance))
        total.addcmul_(weight, padded_members[slices])
    return total


def _guide(members: torch.Tensor, window: _Window) -> torch.Tensor:
    image = window.image
    if image is None:
        raise InputError("image: is missing; pass one, by which prior 'bilateral' weighs neighbors")
    if image.shape[:1] != members.shape[:1] or image.shape[2:] != members.shape[2:]:
        batch, _, *spatial = members.shape
        fitting = ", ".join(map(str, (batch, "channels", *spatial)))
        raise InputError(
            f"image: has the shape {tuple(image.shape)}; pass ({fitting}), as the labels have it"
        )
    return without_metadata(image).to(window.dtype)


PRIORS: Mapping[str, Callable[[torch.Tensor, _Window], torch.Tensor]] = {
    "mean": _count,
    "gaussian": _svls_sum,
    "bilateral": _bilateral_sum,
}
IMAGE_PRIORS = frozenset({"bilateral"})
