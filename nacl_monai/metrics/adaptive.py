r"""ECE over bins of equal mass instead of equal width.

With the voxels sorted by confidence, and the sums :math:`P(t)` of the confidences and
:math:`H(t)` of the hits among the first :math:`t` of :math:`N`:

.. math::

    \mathrm{adaptive\ ECE} = \frac{1}{N} \sum_{i=1}^{M}
    \left| \Delta_i P - \Delta_i H \right|,
    \qquad \Delta_i F = F\!\left(\tfrac{iN}{M}\right) - F\!\left(\tfrac{(i-1)N}{M}\right)

Voxels of equal confidence are interchangeable: :math:`P` and :math:`H` are linear across them, so
that a bin may hold a fraction of such a group. The result therefore depends neither on the order
of the voxels nor on how a sort breaks ties, of which a saturated network has millions.

References:
    Measuring Calibration in Deep Learning (Nixon et al., 2019).
"""

from __future__ import annotations

from typing import Any

import torch
from monai.metrics.metric import CumulativeIterationMetric

from nacl_monai.errors import InputError
from nacl_monai.metrics.inputs import checked
from nacl_monai.metrics.regions import selected_voxels


def adaptive_error(confidences: torch.Tensor, hits: torch.Tensor, num_bins: int = 15) -> float:
    """Adaptive ECE of confidences and whether each was right, both ``(N,)``; NaN if N is 0.

    Example:
        >>> confidences = torch.tensor([0.5, 0.6, 0.9, 1.0])
        >>> hits = torch.tensor([True, False, True, True])
        >>> round(adaptive_error(confidences, hits, num_bins=2), 6)
        0.05
    """
    if num_bins < 1:
        raise InputError(f"num_bins must be at least 1, got {num_bins}")
    if not len(confidences):
        return torch.nan
    values, group = torch.unique(confidences, return_inverse=True)
    sizes = torch.bincount(group)
    excess = values.double() * sizes - torch.bincount(group[hits], minlength=len(values))
    start = sizes.new_zeros(1)
    ends = torch.cat([start, sizes.cumsum(0)]).double()
    sums = torch.cat([start.double(), excess.cumsum(0)])

    edges = torch.linspace(0, ends[-1].item(), num_bins + 1, dtype=torch.float64).to(ends)
    right = torch.searchsorted(ends, edges).clamp(1, len(values))
    share = (edges - ends[right - 1]) / sizes[right - 1]
    at_edges = sums[right - 1].lerp(sums[right], share.clamp(max=1))
    return (at_edges.diff().abs().sum() / ends[-1]).item()


def adaptive_calibration_error(
    probs: torch.Tensor,
    labels: torch.Tensor,
    num_bins: int = 15,
    region: str | torch.Tensor = "foreground",
) -> float:
    """Adaptive ECE of the predicted class, the voxels of the batch pooled.

    Arguments, result and errors as in :func:`expected_calibration_error`. It sorts the voxels, and
    so takes longer than the errors from bins.
    """
    probs, labels = checked(probs, labels)
    mask = selected_voxels(region, probs, labels)
    confidences, prediction = probs.max(1)
    keep = ... if mask is None else mask
    hits = (prediction == labels)[keep]
    return adaptive_error(confidences[keep].flatten(), hits.flatten(), num_bins)


class AdaptiveCalibrationMetric(CumulativeIterationMetric):
    """Adaptive ECE of each volume, and its mean over those whose region is not empty.

    There is no pooled value: equal mass over a data set would need every confidence of it.

    Args:
        num_bins: The number of bins of equal mass.
        region: A name that :func:`region_mask` knows.
    """

    def __init__(self, num_bins: int = 15, region: str = "foreground") -> None:
        super().__init__()
        self.num_bins = num_bins
        self.region = region

    def _compute_tensor(
        self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **_: Any
    ) -> torch.Tensor:
        if y is None:
            raise InputError("a calibration metric needs labels")
        errors = [
            adaptive_calibration_error(probs[None], labels[None], self.num_bins, self.region)
            for probs, labels in zip(y_pred, y, strict=True)
        ]
        return torch.tensor(errors, dtype=torch.float64, device=y_pred.device)[:, None]

    def aggregate(self) -> torch.Tensor:
        """The mean over the volumes, a scalar; NaN if every region is empty."""
        errors: torch.Tensor = self.get_buffer()  # type: ignore[no-untyped-call]
        return errors.nanmean()
