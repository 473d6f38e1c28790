"""Signed distance calibration (SDC).

References:
    - We Care Each Pixel: Calibrating on Medical Segmentation Model (Liang et al., 2025), which applies
      the morphology to labels before a calibration loss, https://arxiv.org/abs/2503.05107, and its code,
      https://github.com/EagleAdelaide/SDC-Loss
    - Image Analysis and Mathematical Morphology (Serra, 1982)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from nacl_monai.errors import InputError
from nacl_monai.losses.base import ComposedLoss, Penalty
from nacl_monai.losses.cross_entropy import CrossEntropyLoss, cross_entropy
from nacl_monai.losses.inputs import (
    check_inputs,
    check_not_negative,
    check_option,
    counted_mask,
    is_soft,
    memberships,
    voxel_mean,
)
from nacl_monai.losses.neighborhood import check_neighborhood, member_sums, proportions_of
from nacl_monai.words import in_our_words


@in_our_words
def sdc_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    morphology: str = "gradient",
    kernel_size: int = 3,
    morphology_weight: float = 0.1,
    distance_weight: float = 0.001,
    class_weights: Sequence[float] | None = None,
    ignore_index: int | None = None,
) -> Tensor:
    r"""Computes cross-entropy plus two penalties: by the labels' morphology, and by signed distance.

    .. math::

        \mathcal{L} = \mathcal{L}_{CE} + \alpha \mathcal{P}_{morphology} + \lambda \mathcal{P}_{distance}

    Args:
        labels: Class indices, ``(B, 1, *spatial)`` or ``(B, *spatial)``, any dtype; or one-hot labels,
            ``(B, C, *spatial)``. Soft labels have no border to which a distance could be measured.
        morphology: What is done to the labels, see :func:`morphology_penalty`.
        kernel_size: The extent of its window along each axis, odd.
        morphology_weight: :math:`\alpha \ge 0`.
        distance_weight: :math:`\lambda \ge 0`. The published 0.1 is that of a penalty that is divided by
            100; here both are one factor.

    Raises:
        InputError: If a setting, shapes or label values do not fit, or labels are soft.

    Note:
        MONAI and torch have no counterpart. See :func:`distance_penalty` for the sign, in which this
        differs from the published code.

    Example:
        >>> logits = torch.zeros(1, 2, 8, 8, requires_grad=True)
        >>> loss = sdc_loss(logits, (torch.arange(8) < 4).expand(1, 1, 8, 8))
        >>> loss.detach()
        tensor(0.7188)
        >>> loss.backward()
    """
    _check(morphology_weight, distance_weight)
    by_morphology = morphology_penalty(
        logits, labels, morphology=morphology, kernel_size=kernel_size, ignore_index=ignore_index
    )
    by_distance = distance_penalty(logits, labels, ignore_index=ignore_index)
    entropy = cross_entropy(logits, labels, class_weights=class_weights, ignore_index=ignore_index)
    return entropy + morphology_weight * by_morphology + distance_weight * by_distance


def _check(morphology_weight: float, distance_weight: float) -> None:
    check_not_negative("morphology_weight", morphology_weight)
    check_not_negative("distance_weight", distance_weight)


class SDCLoss(ComposedLoss):
    """Cross-entropy with :class:`MorphologyPenalty` and :class:`DistancePenalty`, see :func:`sdc_loss`.

    Raises:
        InputError: If a setting, shapes or label values do not fit, or labels are soft.

    Example:
        >>> loss = SDCLoss()
        >>> logits = torch.zeros(1, 2, 8, 8, requires_grad=True)
        >>> loss(logits, (torch.arange(8) < 4).expand(1, 1, 8, 8)).backward()
        >>> loss.latest_terms
        {'cross_entropy': tensor(0.6931), 'penalty': tensor(0.0250), 'penalty_2': tensor(0.0006)}
    """

    def __init__(
        self,
        *,
        morphology: str = "gradient",
        kernel_size: int = 3,
        morphology_weight: float = 0.1,
        distance_weight: float = 0.001,
        class_weights: Sequence[float] | None = None,
        ignore_index: int | None = None,
    ) -> None:
        _check(morphology_weight, distance_weight)
        by_morphology = MorphologyPenalty(
            weight=morphology_weight,
            morphology=morphology,
            kernel_size=kernel_size,
            ignore_index=ignore_index,
        )
        by_distance = DistancePenalty(weight=distance_weight, ignore_index=ignore_index)
        base = CrossEntropyLoss(class_weights=class_weights, ignore_index=ignore_index)
        super().__init__(base, [by_morphology, by_distance])


@in_our_words
def morphology_penalty(
    logits: Tensor,
    labels: Tensor,
    *,
    morphology: str = "gradient",
    kernel_size: int = 3,
    ignore_index: int | None = None,
) -> Tensor:
    r"""Computes how far probabilities are from the local mean of the labels' morphology.

    .. math::

        \frac{1}{K} \sum_k \left| \hat{p}_j^k - \frac{\bar{m}_j^k}{\sum_i \bar{m}_j^i} \right|, \quad
        \text{averaged over voxels } j,

    where :math:`\bar{m}^k` is the mean over a window of what an operation with a window of 3 voxels per
    axis makes of the mask of class :math:`k`: its ``erosion``, ``dilation``, ``opening`` or ``closing``,
    its ``inner`` or ``outer`` boundary, or its ``gradient``, which is both. Where no class has any of
    it, as far from borders in the gradient, the second term is 0 and so is the slope of the penalty. The
    dilation of soft labels is the maximum over the window.

    Args:
        morphology: The operation.
        kernel_size: The extent of the mean's window along each axis, odd.

    Returns:
        A scalar between 0 and 1.

    Raises:
        InputError: If a setting, shapes or label values do not fit.

    Example:
        >>> logits = torch.zeros(1, 2, 8, 8, requires_grad=True)
        >>> penalty = morphology_penalty(logits, (torch.arange(8) < 4).expand(1, 1, 8, 8))
        >>> penalty.detach()  # both are 1/2 in four columns, and 1/2 and 0 in the others
        tensor(0.2500)
        >>> penalty.backward()
    """
    _check_morphology(morphology, kernel_size)
    logits, labels = check_inputs(logits, labels, ignore_index)
    members = memberships(labels, logits.shape[1], ignore_index).to(logits.dtype)
    counted = counted_mask(labels, ignore_index).to(logits.dtype)
    shapes = OPERATIONS[morphology](members, counted)
    # Proportions among what the operation has left: they sum to 1, or to 0 where it has left nothing.
    sums = member_sums(shapes, kernel_size, "mean", 1.0, "valid", dtype=logits.dtype)
    proportions = proportions_of(sums, logits.dtype)
    return voxel_mean((logits.softmax(1) - proportions).abs(), labels, ignore_index)


def dilate(members: Tensor, counted: Tensor) -> Tensor:
    """The largest membership among a voxel and its neighbors, and 0 where a voxel does not count.

    Args:
        members: To what extent each voxel belongs to each class, ``(B, C, *spatial)``, in [0, 1]; 0
            where a voxel does not count.
        counted: The voxels that count, ``(B, 1, *spatial)``, 1 or 0 in the same dtype. Others are not
            neighbors, and neither is what is outside the image.

    Example:
        >>> members = torch.tensor([[[[0.0, 0.0, 1.0, 0.0, 0.0]]]])
        >>> dilate(members, torch.ones_like(members)).tolist()
        [[[[0.0, 1.0, 1.0, 1.0, 0.0]]]]
    """
    return counted * _largest(members)


def erode(members: Tensor, counted: Tensor) -> Tensor:
    """The smallest membership among a voxel and its neighbors; arguments are those of :func:`dilate`.

    Example:
        >>> members = torch.tensor([[[[0.0, 1.0, 1.0, 1.0, 1.0]]]])
        >>> erode(members, torch.ones_like(members)).tolist()
        [[[[0.0, 0.0, 1.0, 1.0, 1.0]]]]
    """
    # Nothing is subtracted from 1 and back, which would round shares of a class.
    held = members.where(counted > 0, 1)
    return counted * -_largest(-held)


def _largest(values: Tensor) -> Tensor:
    """The largest value among a voxel and its neighbors, of which there are none outside the image."""
    pool = F.max_pool2d if values.ndim == 4 else F.max_pool3d
    return pool(values, kernel_size=3, stride=1, padding=1)


# By the names of the paper, of which "inner" and "outer" are its internal and external boundary.
OPERATIONS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "erosion": erode,
    "dilation": dilate,
    "opening": lambda members, counted: dilate(erode(members, counted), counted),
    "closing": lambda members, counted: erode(dilate(members, counted), counted),
    "inner": lambda members, counted: members - erode(members, counted),
    "outer": lambda members, counted: dilate(members, counted) - members,
    "gradient": lambda members, counted: dilate(members, counted) - erode(members, counted),
}


def _check_morphology(morphology: str, kernel_size: int) -> None:
    check_option("morphology", OPERATIONS, morphology)
    check_neighborhood(kernel_size, "mean", 1.0, "valid")


class MorphologyPenalty(Penalty):
    """The penalty by morphology as a module, see :func:`morphology_penalty`.

    Raises:
        InputError: If a setting, shapes or label values do not fit.

    Example:
        >>> logits = torch.zeros(1, 4, 8, 8, requires_grad=True)
        >>> MorphologyPenalty(morphology="closing")(logits, torch.ones(1, 1, 8, 8)).backward()
    """

    def __init__(
        self,
        *,
        weight: float = 0.1,
        morphology: str = "gradient",
        kernel_size: int = 3,
        ignore_index: int | None = None,
    ) -> None:
        _check_morphology(morphology, kernel_size)
        super().__init__(
            weight, morphology=morphology, kernel_size=kernel_size, ignore_index=ignore_index
        )

    def value(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The mean penalty over classes and voxels."""
        return morphology_penalty(logits, labels, **self.settings)


@in_our_words
def distance_penalty(logits: Tensor, labels: Tensor, *, ignore_index: int | None = None) -> Tensor:
    r"""Computes how far probabilities are from the signed distance to the border of each class.

    .. math::

        \frac{1}{K} \sum_k \left| (2 \hat{p}_j^k - 1) - d_j^k \right|, \quad
        \text{averaged over voxels } j,

    where :math:`d^k` is the distance to the border of class :math:`k`, positive inside, divided by its
    largest absolute value in the image, so that it is in [-1, 1]. Distances are in voxels.

    Args:
        ignore_index: Voxels with this label are ignored; no distance is measured to them.

    Returns:
        A scalar between 0 and 2.

    Raises:
        InputError: If shapes or label values do not fit, or labels are soft.

    Note:
        In the published code the distance is positive outside, against :math:`2 \hat{p} - 1`, so that it
        is least for probabilities of 0 inside the class and of 1 outside.

    Example:
        >>> logits = torch.zeros(1, 2, 8, 8, requires_grad=True)
        >>> penalty = distance_penalty(logits, (torch.arange(8) < 4).expand(1, 1, 8, 8))
        >>> penalty.detach()
        tensor(0.6250)
        >>> penalty.backward()
    """
    logits, labels = check_inputs(logits, labels, ignore_index)
    members = memberships(labels, logits.shape[1], ignore_index)
    if is_soft(labels):
        members = _borders_of(members)
    distances = signed_distance(members, counted_mask(labels, ignore_index)).to(logits.dtype)
    return voxel_mean((2 * logits.softmax(1) - 1 - distances).abs(), labels, ignore_index)


# Opaque to torch.compile, since neither scipy nor cuCIM can be a part of its graph.
@torch.library.custom_op("nacl_monai::signed_distance", mutates_args=())
def signed_distance(members: Tensor, counted: Tensor) -> Tensor:
    """Computes how far inside a class a voxel is, from 1, deepest, to -1, farthest outside.

    Inside, it is the distance to the next voxel of another class, and outside, minus the distance to the
    next voxel of the class, in voxels, divided by the largest of both in the image. It is 1 everywhere
    where all voxels are of the class, and -1 where none is.

    Args:
        members: Whether each voxel belongs to each class, ``(B, C, *spatial)``, boolean, 2-D or 3-D.
        counted: The voxels that count, ``(B, 1, *spatial)``, boolean. The others are of no class.

    Returns:
        float32, ``(B, C, *spatial)``; 0 where a voxel does not count.

    Example:
        >>> members = torch.tensor([[[[True, True, False, False, False]]]])
        >>> signed_distance(members, torch.ones_like(members)).mul(3).tolist()
        [[[[2.0, 1.0, -1.0, -2.0, -3.0]]]]
    """
    rest = counted & ~members
    inside, outside = (_distance_to(voxels) for voxels in (rest, members))
    distance = torch.where(members, inside, -outside)
    axes = tuple(range(2, members.ndim))
    distance = distance / torch.where(counted, distance, 0).abs().amax(
        axes, keepdim=True
    ).clamp_min(1)
    found = [voxels.any(dim=-1).flatten(2).any(-1) for voxels in (members, rest)]
    mixed = (found[0] & found[1]).view(*members.shape[:2], *[1] * len(axes))
    sign = members.to(torch.float32) * 2 - 1
    return torch.where(counted, torch.where(mixed, distance.to(torch.float32), sign), 0)


@signed_distance.register_fake
def _(members: Tensor, counted: Tensor) -> Tensor:  # noqa: ARG001
    return members.new_empty(members.shape, dtype=torch.float32)


def _distance_to(voxels: Tensor) -> Tensor:
    """The distance of every voxel to the next one in ``(B, C, *spatial)``; undefined where none is."""
    from monai.transforms.utils import distance_transform_edt  # noqa: PLC0415 - takes seconds

    distances = distance_transform_edt(~voxels.flatten(0, 1), float64_distances=True)
    return torch.as_tensor(distances, device=voxels.device).view(voxels.shape)


def _borders_of(shares: Tensor) -> Tensor:
    """One-hot labels as booleans.

    Raises:
        InputError: If a voxel belongs to several classes.
    """
    whole = (shares - shares.round()).abs() <= 1e-3
    if torch.compiler.is_compiling():
        torch._assert_async(whole.all(), "labels: are soft")
    elif not whole.all():
        raise InputError(
            f"labels: are soft, {shares[~whole][0].item():.4g} of a class in a voxel, and have no "
            "border to measure distances to; pass class indices or one-hot labels"
        )
    return shares > 0.5


class DistancePenalty(Penalty):
    """The penalty by signed distance as a module, see :func:`distance_penalty`.

    Raises:
        InputError: If the weight is negative, shapes or label values do not fit, or labels are soft.

    Example:
        >>> logits = torch.zeros(1, 4, 8, 8, requires_grad=True)
        >>> DistancePenalty(weight=0.001)(logits, torch.ones(1, 1, 8, 8)).backward()
    """

    def __init__(self, *, weight: float = 0.001, ignore_index: int | None = None) -> None:
        super().__init__(weight, ignore_index=ignore_index)

    def value(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The mean penalty over classes and voxels."""
        return distance_penalty(logits, labels, **self.settings)
