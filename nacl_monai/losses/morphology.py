"""A penalty by the morphology of the labels, a part of SDC.

References:
    - We Care Each Pixel: Calibrating on Medical Segmentation Model (Liang et al., 2025), which applies
      it to labels before a calibration loss, https://arxiv.org/abs/2503.05107
    - Image Analysis and Mathematical Morphology (Serra, 1982)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch.nn import functional as F

from nacl_monai.losses.composed import Penalty
from nacl_monai.losses.neighborhood import check_neighborhood, member_proportions
from nacl_monai.losses.settings import check_option
from nacl_monai.losses.voxels import check_inputs, counted_mask, memberships, voxel_mean


def morphology_penalty(
    logits: torch.Tensor,
    labels: torch.Tensor,
    *,
    morphology: str = "gradient",
    kernel_size: int = 3,
    ignore_index: int | None = None,
) -> torch.Tensor:
    r"""Computes how far probabilities are from the local mean of the labels' morphology.

    .. math::

        \frac{1}{K} \sum_k \left| \hat{p}_j^k - \frac{\bar{m}_j^k}{\sum_i \bar{m}_j^i} \right|, \quad
        \text{averaged over voxels } j,

    where :math:`\bar{m}^k` is the mean over a window of what an operation with a window of 3 voxels per
    axis makes of the mask of class :math:`k`: its ``erosion``, ``dilation``, ``opening`` or ``closing``,
    its ``inner`` or ``outer`` boundary, or its ``gradient``, which is both. Where no class has any of
    it, as far from borders in the gradient, the second term is 0 and so is the slope of the penalty.

    Args:
        logits: ``(B, C, *spatial)``, 2-D or 3-D.
        labels: Class indices, ``(B, 1, *spatial)`` or ``(B, *spatial)``, any dtype; or one-hot or soft
            labels, ``(B, C, *spatial)``, whose dilation is the maximum over the window.
        morphology: The operation.
        kernel_size: The extent of the mean's window along each axis, odd.
        ignore_index: Voxels with this label are ignored, also as neighbors.

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
    proportions = member_proportions(shapes, kernel_size, "mean", 1.0, "valid", dtype=logits.dtype)
    return voxel_mean((logits.softmax(1) - proportions).abs(), labels, ignore_index)


def dilate(members: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
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


def erode(members: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    """The smallest membership among a voxel and its neighbors; arguments are those of :func:`dilate`.

    Example:
        >>> members = torch.tensor([[[[0.0, 1.0, 1.0, 1.0, 1.0]]]])
        >>> erode(members, torch.ones_like(members)).tolist()
        [[[[0.0, 0.0, 1.0, 1.0, 1.0]]]]
    """
    # Nothing is subtracted from 1 and back, which would round shares of a class.
    held = members.where(counted > 0, 1)
    return counted * -_largest(-held)


def _largest(values: torch.Tensor) -> torch.Tensor:
    """The largest value among a voxel and its neighbors, of which there are none outside the image."""
    pool = F.max_pool2d if values.ndim == 4 else F.max_pool3d
    return pool(values, kernel_size=3, stride=1, padding=1)


def _opening(members: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    return dilate(erode(members, counted), counted)


def _closing(members: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    return erode(dilate(members, counted), counted)


def _inner(members: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    return members - erode(members, counted)


def _outer(members: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    return dilate(members, counted) - members


def _gradient(members: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    return dilate(members, counted) - erode(members, counted)


# By the names of the paper, of which "inner" and "outer" are its internal and external boundary.
OPERATIONS: Mapping[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "erosion": erode,
    "dilation": dilate,
    "opening": _opening,
    "closing": _closing,
    "inner": _inner,
    "outer": _outer,
    "gradient": _gradient,
}


def _check_morphology(morphology: str, kernel_size: int) -> None:
    check_option("morphology", OPERATIONS, morphology)
    check_neighborhood(kernel_size, "mean", 1.0, "valid")


class MorphologyPenalty(Penalty):
    """The penalty by morphology as a module, see :func:`morphology_penalty`.

    Args:
        weight: What the penalty is multiplied with, 0 or more.
        morphology: What is done to the labels.
        kernel_size: The extent of the mean's window along each axis, odd.
        ignore_index: Voxels with this label are ignored, also as neighbors.

    Shape:
        logits ``(B, C, *spatial)``; labels ``(B, 1, *spatial)`` or ``(B, *spatial)``, or soft ones
        ``(B, C, *spatial)``; a scalar out.

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

    def value(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The mean penalty over classes and voxels."""
        return morphology_penalty(logits, labels, **self.settings)
