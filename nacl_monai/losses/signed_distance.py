"""A penalty by the signed distance to the border of each class, a part of SDC.

References:
    We Care Each Pixel: Calibrating on Medical Segmentation Model (Liang et al., 2025),
    https://arxiv.org/abs/2503.05107
"""

from __future__ import annotations

import torch
from monai.transforms.utils import distance_transform_edt

from nacl_monai.errors import InputError
from nacl_monai.losses.composed import Penalty
from nacl_monai.losses.voxels import (
    check_inputs,
    counted_mask,
    is_soft,
    memberships,
    voxel_mean,
)


def distance_penalty(
    logits: torch.Tensor, labels: torch.Tensor, *, ignore_index: int | None = None
) -> torch.Tensor:
    r"""Computes how far probabilities are from the signed distance to the border of each class.

    .. math::

        \frac{1}{K} \sum_k \left| (2 \hat{p}_j^k - 1) - d_j^k \right|, \quad
        \text{averaged over voxels } j,

    where :math:`d^k` is the distance to the border of class :math:`k`, positive inside, divided by its
    largest absolute value in the image, so that it is in [-1, 1]. Distances are in voxels.

    Args:
        logits: ``(B, C, *spatial)``, 2-D or 3-D.
        labels: Class indices, ``(B, 1, *spatial)`` or ``(B, *spatial)``, any dtype; or one-hot labels,
            ``(B, C, *spatial)``.
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
def signed_distance(members: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
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
    others = counted & ~members
    inside, outside = (_distance_to(voxels) for voxels in (others, members))
    distance = torch.where(members, inside, -outside)
    axes = tuple(range(2, members.ndim))
    distance = distance / torch.where(counted, distance, 0).abs().amax(
        axes, keepdim=True
    ).clamp_min(1)
    found = [voxels.any(dim=-1).flatten(2).any(-1) for voxels in (members, others)]
    mixed = (found[0] & found[1]).view(*members.shape[:2], *[1] * len(axes))
    sign = members.to(torch.float32) * 2 - 1
    return torch.where(counted, torch.where(mixed, distance.to(torch.float32), sign), 0)


@signed_distance.register_fake
def _(members: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:  # noqa: ARG001
    return members.new_empty(members.shape, dtype=torch.float32)


def _distance_to(voxels: torch.Tensor) -> torch.Tensor:
    """The distance of every voxel to the next one in ``(B, C, *spatial)``; undefined where none is."""
    found = distance_transform_edt(~voxels.flatten(0, 1), float64_distances=True)
    return torch.as_tensor(found, device=voxels.device).view(voxels.shape)


def _borders_of(shares: torch.Tensor) -> torch.Tensor:
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

    Args:
        weight: What the penalty is multiplied with, 0 or more.
        ignore_index: Voxels with this label are ignored; no distance is measured to them.

    Shape:
        logits ``(B, C, *spatial)``; labels ``(B, 1, *spatial)`` or ``(B, *spatial)``, or one-hot ones
        ``(B, C, *spatial)``; a scalar out.

    Raises:
        InputError: If the weight is negative, shapes or label values do not fit, or labels are soft.

    Example:
        >>> logits = torch.zeros(1, 4, 8, 8, requires_grad=True)
        >>> DistancePenalty(weight=0.001)(logits, torch.ones(1, 1, 8, 8)).backward()
    """

    def __init__(self, *, weight: float = 0.001, ignore_index: int | None = None) -> None:
        super().__init__(weight, ignore_index=ignore_index)

    def value(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The mean penalty over classes and voxels."""
        return distance_penalty(logits, labels, **self.settings)
