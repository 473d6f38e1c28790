r"""The 95 % Hausdorff distance, with no free score for a structure that was missed.

.. math::

    \mathrm{HD}_{95}(A, B) = \max\bigl(q_{95}\{d(a, \partial B) : a \in \partial A\},\;
    q_{95}\{d(b, \partial A) : b \in \partial B\}\bigr)

MONAI's ``compute_hausdorff_distance`` measures it. What it leaves open, NaN or infinity where a
mask is empty, is settled here as the BraTS challenge does: a structure that the ground truth has
and the prediction lacks scores the diagonal of the volume. One that the ground truth lacks has no
distance; it is NaN and stays out of the mean.
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
from nacl_monai.metrics.inputs import plain
from nacl_monai.metrics.spacing import Spacing, case_spacings


def hausdorff_distance(
    prediction: torch.Tensor,
    label: torch.Tensor,
    spacing: Spacing | Sequence[Spacing] | None = None,
    percentile: float = 95.0,
) -> torch.Tensor:
    r"""HD95 of each structure of each case, ``(B, C)``.

    Args:
        prediction: One binary mask per structure, ``(B, C, *spatial)``; they may overlap.
        label: The ground truth, same shape.
        spacing: Size of a voxel along each axis, one for all cases or one per case; None measures
            in voxels, as the paper does.
        percentile: Of the surface distances; 100 is the Hausdorff distance itself.

    Returns:
        Distances in voxels, or in the unit of ``spacing``; NaN where the label is empty; the
        diagonal of the volume, :math:`\sqrt{\sum_a (n_a s_a)^2}`, where only the prediction is.

    Raises:
        InputError: For shapes that disagree or masks that are not binary.

    Example:
        Found two voxels off; missed; not there:

        >>> label = torch.tensor([[[[1, 0, 0, 0]], [[1, 0, 0, 0]], [[0, 0, 0, 0]]]])
        >>> prediction = torch.tensor([[[[0, 0, 1, 0]], [[0, 0, 0, 0]], [[1, 0, 0, 0]]]])
        >>> hausdorff_distance(prediction, label)
        tensor([[2.0000, 4.1231,    nan]])
    """
    if prediction.shape != label.shape or label.ndim < 4:
        raise InputError(
            f"prediction and label must have one shape (batch, structures, *spatial), got "
            f"{tuple(prediction.shape)} and {tuple(label.shape)}"
        )
    prediction, label = plain(prediction), plain(label)
    for name, mask in (("prediction", prediction), ("label", label)):
        if not ((mask == 0) | (mask == 1)).all():
            raise InputError(f"{name} must hold one mask of 0 and 1 per structure")

    batch, structures, *shape = label.shape
    spacings = case_spacings(spacing, batch, len(shape))
    in_label = label.flatten(2).bool().any(-1)
    found = in_label & prediction.flatten(2).bool().any(-1)
    sizes = torch.tensor(spacings, dtype=torch.float64) * torch.tensor(shape, dtype=torch.float64)
    diagonal = sizes.norm(dim=1)[:, None].expand(batch, structures).to(label.device)
    distances = torch.where(in_label, diagonal.float(), torch.nan)
    if found.any():
        distances[found] = compute_hausdorff_distance(
            prediction[found][:, None],
            label[found][:, None],
            include_background=True,
            percentile=percentile,
            spacing=[spacings[case] for case in found.nonzero()[:, 0].tolist()],
        )[:, 0]
    return distances


class BoundedHausdorffMetric(HausdorffDistanceMetric):
    """MONAI's metric with the distances of :func:`hausdorff_distance`.

    Args:
        include_background: Whether the first of the channels counts; True for overlapping structures
            (:func:`structure_masks`), which have no background.
        percentile: Of the surface distances.
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
        self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **_: Any
    ) -> torch.Tensor:
        if y is None:
            raise InputError("a distance needs a ground truth")
        spacing = case_spacings(self.spacing, len(y), y.ndim - 2, y)
        first = 0 if self.include_background else 1
        return hausdorff_distance(y_pred[:, first:], y[:, first:], spacing, self.rank)
