r"""The 95 % Hausdorff distance, with no free score for a structure that was missed.

.. math::

    \mathrm{HD}_{95}(A, B) = \max\bigl(q_{95}\{d(a, \partial B) : a \in \partial A\},\;
    q_{95}\{d(b, \partial A) : b \in \partial B\}\bigr)

MONAI's ``compute_hausdorff_distance`` measures it, and returns NaN or infinity where a mask is empty.
Here, as in the BraTS challenge, a structure that the label has and the prediction lacks scores the
diagonal of the volume. A structure that the label lacks has no distance; it is NaN and stays out of the
mean. A volume of one slice is measured in its plane; in 3-D, MONAI's erosion makes each of its voxels
surface.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.metrics.hausdorff_distance import (
    HausdorffDistanceMetric,
    compute_hausdorff_distance,
)

from nacl_monai.errors import InputError
from nacl_monai.metrics.gathering import GatheredTogether
from nacl_monai.metrics.spacing import Spacing, case_spacings
from nacl_monai.tensors import check_voxels, without_channel, without_metadata


def hausdorff_distance(
    prediction: torch.Tensor,
    label: torch.Tensor,
    spacing: Spacing | Sequence[Spacing] | None = None,
    percentile: float = 95.0,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    r"""HD95 of each structure of each case, ``(B, C)``.

    Args:
        prediction: One binary mask per structure, ``(B, C, *spatial)``; they may overlap.
        label: The label's masks, same shape.
        spacing: Size of a voxel along each axis, one for all cases or one per case; None measures
            in voxels, as the paper does.
        percentile: Which percentile of the surface distances; 100 is the Hausdorff distance itself.
        mask: The voxels that count, ``(B, 1, *spatial)`` or ``(B, *spatial)``; structures end where
            it ends.

    Returns:
        Distances in voxels, or in the unit of ``spacing``; NaN where the label is empty; the
        diagonal of the volume, :math:`\sqrt{\sum_a (n_a s_a)^2}`, where only the prediction is empty.

    Raises:
        InputError: If the shapes disagree, if there is no voxel, or if a mask is not binary.

    Example:
        A structure two voxels off, one that is missed, and one that is absent:

        >>> label = torch.tensor([[[[1, 0, 0, 0]], [[1, 0, 0, 0]], [[0, 0, 0, 0]]]])
        >>> prediction = torch.tensor([[[[0, 0, 1, 0]], [[0, 0, 0, 0]], [[1, 0, 0, 0]]]])
        >>> hausdorff_distance(prediction, label)
        tensor([[2.0000, 4.1231,    nan]])
    """
    if prediction.shape != label.shape or label.ndim < 4:
        raise InputError(
            f"prediction and label: have the shapes {tuple(prediction.shape)} and "
            f"{tuple(label.shape)}; give both one shape (batch, structures, *spatial)"
        )
    check_voxels(label, "prediction and label")
    prediction, label = (without_metadata(one.detach()) for one in (prediction, label))
    _check_binary("prediction", prediction)
    _check_binary("label", label)
    if mask is not None:
        counted = without_channel(mask, label, "mask").bool().unsqueeze(1)
        prediction, label = prediction * counted, label * counted

    batch, structures, *shape = label.shape
    spacings = case_spacings(spacing, batch, len(shape))
    in_label = label.flatten(2).bool().any(-1)
    in_both = in_label & prediction.flatten(2).bool().any(-1)
    sizes = torch.tensor(spacings, dtype=torch.float64) * torch.tensor(shape, dtype=torch.float64)
    diagonal = sizes.norm(dim=1)[:, None].expand(batch, structures).to(label.device)
    distances = torch.where(in_label, diagonal.float(), torch.nan)
    if in_both.any():
        axes = _extended(shape)
        extended = [shape[axis] for axis in axes]
        distances[in_both] = compute_hausdorff_distance(
            prediction[in_both].reshape(-1, 1, *extended),
            label[in_both].reshape(-1, 1, *extended),
            include_background=True,
            percentile=percentile,
            spacing=[
                [spacings[case][axis] for axis in axes] for case in in_both.nonzero()[:, 0].tolist()
            ],
        )[:, 0]
    return distances


def _extended(shape: Sequence[int]) -> list[int]:
    """The axes that are longer than one voxel; two at least, of which any may be short."""
    flat = [axis for axis, size in enumerate(shape) if size == 1][: len(shape) - 2]
    return [axis for axis in range(len(shape)) if axis not in flat]


def _check_binary(name: str, masks: torch.Tensor) -> None:
    if not ((masks == 0) | (masks == 1)).all():
        raise InputError(f"{name}: holds other values; give one mask of 0 and 1 per structure")


class BoundedHausdorffMetric(GatheredTogether, HausdorffDistanceMetric):
    """MONAI's metric with the distances of :func:`hausdorff_distance`.

    Args:
        include_background: Whether the first channel counts; True for overlapping structures
            (:func:`structure_masks`), which have no background.
        percentile: Which percentile of the surface distances.
        spacing: Size of a voxel along each axis; "pixdim" reads that of each case from the labels'
            metadata; None measures in voxels, as the paper does.
        reduction: As in MONAI, e.g. "mean", "mean_batch", "none"; NaN is left out.
        get_not_nans: As in MONAI.
    """

    def __init__(
        self,
        include_background: bool = False,
        percentile: float = 95.0,
        spacing: Spacing | str | None = None,
        reduction: str = "mean",
        get_not_nans: bool = False,
    ) -> None:
        super().__init__(
            include_background=include_background,
            percentile=percentile,
            reduction=reduction,
            get_not_nans=get_not_nans,
        )
        self.spacing = spacing
        self.rank = percentile

    def _compute_tensor(
        self,
        y_pred: torch.Tensor,
        y: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        **_: Any,
    ) -> torch.Tensor:
        if y is None:
            raise InputError("label: is missing; a distance needs one")
        if not len(y):
            return hausdorff_distance(y_pred, y)
        spacing = case_spacings(self.spacing, len(y), y.ndim - 2, y)
        first = 0 if self.include_background else 1
        return hausdorff_distance(y_pred[:, first:], y[:, first:], spacing, self.rank, mask)
