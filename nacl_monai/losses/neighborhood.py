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
from numbers import Integral
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from nacl_monai.errors import InputError, SettingError
from nacl_monai.losses.inputs import check_option, one_hot, require, shares_without_ignored
from nacl_monai.tensors import check_outputs, check_soft_labels, has_metadata, without_metadata
from nacl_monai.words import in_our_words

Number = TypeVar("Number", int, float)
#: One for all axes, or one for each.
PerAxis: TypeAlias = Number | Sequence[Number]
#: Standard deviations of a Gaussian in a window, to either side of its center.
_REACH = 3
#: In voxels; below, the neighbors along an axis weigh nothing.
LEAST_SIGMA = 0.1


@in_our_words
def neighborhood_proportions(
    labels: Tensor,
    num_classes: int | None,
    kernel_size: PerAxis[int] = 3,
    prior: str = "mean",
    sigma: PerAxis[float] = 1.0,
    border: str = "valid",
    *,
    include_center: bool = True,
    ignore_index: int | None = None,
    image: Tensor | None = None,
    intensity_sigma: float = 0.1,
    width_mm: float | None = None,
    spacing: Sequence[float] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    r"""Computes the proportion of each class among a voxel and its neighbors (equation 2).

    .. math::

        \tau_j^k = \frac{\sum_{i \in \mathcal{N}(j)} w_{ij} \, [y_i = k]}
                        {\sum_{i \in \mathcal{N}(j)} w_{ij}}

    where :math:`\mathcal{N}(j)` is the window of ``kernel_size`` voxels per axis around :math:`j`,
    itself included unless ``include_center`` is False. The priors differ in the weights:

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
        include_center: Whether the voxel itself is one of its neighbors, as in the authors' code; the
            paper's equation 6 sums over :math:`i \ne j`.
        ignore_index: Voxels with this label, or without shares, are ignored as neighbors.
        image: ``(B, M, *spatial)``, needed by ``"bilateral"`` only.
        intensity_sigma: :math:`\sigma_I`, in the image's units; the default suits [0, 1].
        width_mm: Standard deviation of the weights along each axis, in mm, in place of ``kernel_size``
            and ``sigma``, see :func:`window_of_width`.
        spacing: Size of a voxel along each axis, in mm; None for that of the labels, a ``MetaTensor``.
        dtype: Floating-point dtype of the result.

    Returns:
        :math:`\tau`, ``(B, K, *spatial)``. It sums to 1 over the classes at every voxel, or to 0
        where all that counts in the window is ignored.

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
    settings = border, image, intensity_sigma, dtype, include_center
    return proportions_of(member_sums(members, kernel_size, prior, sigma, *settings), dtype)


def window_in_voxels(
    labels: Tensor,
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
    sizes = label_spacing(labels, axes) if spacing is None else spacing
    return window_of_width(prior, width_mm, sizes)


def member_sums(
    members: Tensor,
    kernel_size: PerAxis[int],
    prior: str,
    sigma: PerAxis[float],
    border: str,
    image: Tensor | None = None,
    intensity_sigma: float = 0.1,
    dtype: torch.dtype = torch.float32,
    include_center: bool = True,
) -> Tensor:
    """The sums above the fraction line of :func:`neighborhood_proportions`, ``(B, K, *spatial)``.

    Members are from :func:`memberships`. Counts are whole numbers, in as few bytes as hold the window's.
    """
    check_neighborhood(kernel_size, prior, sigma, border, intensity_sigma)
    axes = members.ndim - 2
    sizes, sigmas = _per_axis("kernel_size", kernel_size, axes), _per_axis("sigma", sigma, axes)
    window = Window(sizes, sigmas, BORDERS[border], intensity_sigma, image, dtype, include_center)
    return PRIORS[prior](members, window)


def proportions_of(sums: Tensor, dtype: torch.dtype) -> Tensor:
    """The proportions of the classes, of :func:`member_sums`."""
    total = sums.sum(1, keepdim=True, dtype=sums.dtype).to(dtype)
    return sums.to(dtype) / total.clamp_min(torch.finfo(dtype).tiny)


def mixed_windows(sums: Tensor) -> Tensor:
    """The voxels whose window holds several classes: no proportion is 1, ``(B, 1, *spatial)``."""
    if sums.is_floating_point():  # in which a small weight vanishes beside a large one
        return (sums > 0).sum(1, keepdim=True, dtype=torch.int16) > 1
    return sums.amax(1, keepdim=True) < sums.sum(1, keepdim=True, dtype=sums.dtype)


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
    wide = len(sigmas) > 0 and all(value >= 0.1 for value in sigmas)
    require(wide, "sigma", sigma, "0.1 voxels or more")
    require(intensity_sigma > 0, "intensity_sigma", intensity_sigma, "a positive number")


def _per_axis(name: str, value: PerAxis[Number], axes: int) -> Sequence[Number]:
    if not isinstance(value, Sequence):
        return [value] * axes
    if len(value) != axes:
        raise InputError(f"{name}: is {list(value)}, for {len(value)} axes; the labels have {axes}")
    return value


def _members(labels: Tensor, num_classes: int | None, ignore_index: int | None) -> Tensor:
    if num_classes is not None:
        return one_hot(_with_channel(labels), num_classes, ignore_index)
    check_outputs(labels, "labels")
    shares = without_metadata(labels)
    check_soft_labels(shares, ignore_index)
    return shares_without_ignored(shares, ignore_index)


def _with_channel(labels: Tensor) -> Tensor:
    labels = without_metadata(labels)
    if labels.ndim == 3 or (labels.ndim == 4 and labels.shape[1] != 1):
        return labels.unsqueeze(1)
    if labels.ndim in (4, 5) and labels.shape[1] == 1:
        return labels
    raise InputError(
        f"labels: have the shape {tuple(labels.shape)}; pass (batch, 1, *spatial) or "
        "(batch, *spatial) in 2-D or 3-D"
    )


def check_width(width_mm: float | None, spacing: Sequence[float] | None = None) -> None:
    """Refuses a wrong width or spacing, and a spacing alone, which would change nothing.

    Raises:
        SettingError: If either is not positive, or there is only a spacing.
    """
    valid = width_mm is None or 0 < width_mm < math.inf
    require(valid, "width_mm", width_mm, "a positive number of mm")
    if width_mm is None and spacing is not None:
        raise SettingError(
            f"spacing: is {list(spacing)}, and has no effect without width_mm; pass both, or "
            "kernel_size and sigma for each axis"
        )
    if spacing is not None and not all(0 < size < math.inf for size in spacing):
        raise SettingError(
            f"spacing: is {list(spacing)}; pass positive numbers of mm, one per axis"
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
    check_width(width_mm, spacing)
    sigma = [width_mm / float(size) for size in spacing]
    return [extent_of(prior, width) for width in sigma], [
        max(width, LEAST_SIGMA) for width in sigma
    ]


def extent_of(prior: str, sigma: float) -> int:
    """The odd number of voxels of a window along an axis, for a standard deviation in voxels."""
    if prior == "mean":
        return 1 + 2 * round((math.sqrt(12 * sigma**2 + 1) - 1) / 2)
    return 1 if sigma < LEAST_SIGMA else 1 + 2 * math.ceil(_REACH * sigma)


def label_spacing(labels: Tensor, axes: int) -> list[float]:
    """Size of a voxel along each spatial axis of a batch of labels, in mm.

    Args:
        labels: A ``MetaTensor``, of one image or of a batch.
        axes: How many of its axes are spatial.

    Raises:
        InputError: If it is not a ``MetaTensor``, or if the labels of a batch differ in their spacing.
    """
    if not has_metadata(labels):
        raise InputError(
            "labels: do not know the size of their voxels; pass spacing beside width_mm, in mm"
        )
    from monai.data.utils import affine_to_spacing  # noqa: PLC0415 - loaded where there are metadata

    affines = labels.affine.reshape(-1, *labels.affine.shape[-2:])
    spacings = torch.stack([torch.as_tensor(affine_to_spacing(affine, axes)) for affine in affines])
    if not torch.allclose(spacings, spacings[:1], rtol=1e-2):
        raise InputError(
            f"labels: have voxels of {spacings[0].tolist()} mm and of others in one batch; resample "
            "them, or pass kernel_size and sigma"
        )
    return [float(size) for size in spacings[0]]


def _pad_with_zeros(x: Tensor, axis: int, radius: int) -> Tensor:
    return F.pad(x, [0, 0] * (x.ndim - 1 - axis) + [radius, radius])


def _pad_with_border(x: Tensor, axis: int, radius: int) -> Tensor:
    length = x.shape[axis]
    nearest = torch.arange(-radius, length + radius, device=x.device).clamp(0, length - 1)
    return x.index_select(axis, nearest)


Pad = Callable[[Tensor, int, int], Tensor]
BORDERS: Mapping[str, Pad] = {"valid": _pad_with_zeros, "replicate": _pad_with_border}


@dataclass(frozen=True)
class Window:
    """Everything that decides the weights, see :func:`neighborhood_proportions`.

    Attributes:
        kernel_size: The extent along each spatial axis.
        sigma: Standard deviation along each spatial axis, in voxels.
        pad: What is outside the image.
        intensity_sigma: Standard deviation of the image's differences.
        image: The image of the bilateral weights.
        dtype: In which sums are computed.
        include_center: Whether the center is in the sum.
    """

    kernel_size: Sequence[int]
    sigma: Sequence[float]
    pad: Pad
    intensity_sigma: float
    image: Tensor | None
    dtype: torch.dtype
    include_center: bool

    @property
    def radii(self) -> Sequence[int]:
        """Voxels to either side of the center, along each axis."""
        return [size // 2 for size in self.kernel_size]

    @property
    def is_alike(self) -> bool:
        """Whether all axes are weighted alike, as sums are then rounded."""
        return all(value == self.sigma[0] for value in self.sigma) and all(
            size == self.kernel_size[0] for size in self.kernel_size
        )

    def gaussian_taps(self) -> Sequence[Sequence[float]]:
        """The weights of the voxels 1, 2, … away along each axis; the center weighs 1."""
        return [
            [math.exp(-(step**2) / (2 * sigma**2)) for step in range(1, radius + 1)]
            for radius, sigma in zip(self.radii, self.sigma, strict=True)
        ]


def _count(members: Tensor, window: Window) -> Tensor:
    """Members in each window, in the smallest integers that hold the window's size; or their shares.

    Bytes rather than floats make the prior several times cheaper than the cross-entropy beside it.
    """
    size = math.prod(window.kernel_size)
    smallest = torch.uint8 if size < 2**8 else torch.int16 if size < 2**15 else torch.int32
    members = members.to(window.dtype if members.is_floating_point() else smallest)
    taps = [[1] * radius for radius in window.radii]
    neighbors = _neighbor_sum(members, taps, window.pad)
    return members + neighbors if window.include_center else neighbors


def _svls_sum(members: Tensor, window: Window) -> Tensor:
    """Members weighted by a Gaussian whose center weighs as much as all its neighbors."""
    members = members.to(window.dtype)
    taps = window.gaussian_taps()
    neighbors = _neighbor_sum(members, taps, window.pad)
    if not window.include_center:
        return neighbors
    # The weight of all neighbors: the product over axes, without the 1 of the center.
    logs = [math.log1p(2 * sum(along)) for along in taps]
    center = math.expm1(len(logs) * logs[0] if window.is_alike else sum(logs))
    return neighbors.add_(members, alpha=center)


def _blurred_sum(members: Tensor, window: Window) -> Tensor:
    """Members weighted by an ordinary Gaussian, whose center weighs 1."""
    members = members.to(window.dtype)
    neighbors = _neighbor_sum(members, window.gaussian_taps(), window.pad)
    return members + neighbors if window.include_center else neighbors


def _neighbor_sum(x: Tensor, taps: Sequence[Sequence[float]], pad: Pad) -> Tensor:
    """Sum over the window except its center, axis by axis; tap i of an axis weighs voxels i + 1 away.

    Leaving the center out from the start, instead of subtracting it at the end, keeps a narrow
    Gaussian exact. With :math:`a_d` the sum along axis :math:`d` without the center,
    :math:`n_d = n_{d-1} + a_d(x + n_{d-1})`.
    """
    first, *rest = [axis for axis, along in enumerate(taps, 2) if along]
    neighbors = _axis_sum(x, first, taps[first - 2], pad)
    for axis in rest:
        neighbors = neighbors + _axis_sum(x + neighbors, axis, taps[axis - 2], pad)
    return neighbors


def _axis_sum(x: Tensor, axis: int, taps: Sequence[float], pad: Pad) -> Tensor:
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


def _bilateral_sum(members: Tensor, window: Window) -> Tensor:
    """One shifted copy at a time, so that memory does not grow with the window."""
    members, image = members.to(window.dtype), _guide(members, window)
    radii, spatial = window.radii, members.shape[2:]
    padded_members, padded_image = members, image
    for axis, radius in enumerate(radii, 2):
        padded_members = window.pad(padded_members, axis, radius)
        padded_image = window.pad(padded_image, axis, radius)

    total = torch.zeros_like(members)
    for corner in itertools.product(*map(range, window.kernel_size)):
        if not window.include_center and [*corner] == [*radii]:
            continue
        slices = (
            slice(None),
            slice(None),
            *(slice(start, start + size) for start, size in zip(corner, spatial, strict=True)),
        )
        distance = _exponent(corner, window)
        difference = (padded_image[slices] - image).square().mean(1, keepdim=True)
        weight = torch.exp(difference.div_(-2 * window.intensity_sigma**2).sub_(distance))
        total.addcmul_(weight, padded_members[slices])
    return total


def _exponent(corner: Sequence[int], window: Window) -> float:
    """Half the squared distance of a neighbor to the center, in standard deviations."""
    steps = [start - radius for start, radius in zip(corner, window.radii, strict=True)]
    if window.is_alike:
        return sum(step**2 for step in steps) / (2 * window.sigma[0] ** 2)
    return sum(step**2 / (2 * sigma**2) for step, sigma in zip(steps, window.sigma, strict=True))


def _guide(members: Tensor, window: Window) -> Tensor:
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


PRIORS: Mapping[str, Callable[[Tensor, Window], Tensor]] = {
    "mean": _count,
    "gaussian": _svls_sum,
    "blur": _blurred_sum,
    "bilateral": _bilateral_sum,
}
IMAGE_PRIORS = frozenset({"bilateral"})
