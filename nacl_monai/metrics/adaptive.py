r"""ECE over bins of equal mass instead of equal width.

With the voxels sorted by confidence, and the sums :math:`P(t)` of the confidences and
:math:`H(t)` of the hits among the first :math:`t` of :math:`N`:

.. math::

    \mathrm{adaptive\ ECE} = \frac{1}{N} \sum_{i=1}^{M}
    \left| \Delta_i P - \Delta_i H \right|,
    \qquad \Delta_i F = F\!\left(\tfrac{iN}{M}\right) - F\!\left(\tfrac{(i-1)N}{M}\right)

Voxels of equal confidence are interchangeable: :math:`P` and :math:`H` are linear across them, so
that a bin may hold a fraction of such voxels. The result therefore depends neither on the order
of the voxels nor on how a sort breaks ties, of which a saturated network has millions.

Nobody can keep all confidences of a dataset. There, voxels in the same of many narrow fine bins are
treated as interchangeable; their sums stay exact. The fine bins are equally wide in the logit of the
confidence, which tells 0.9999 from 0.99999 as well as 0.6 from 0.61.

References:
    Measuring Calibration in Deep Learning (Nixon et al., 2019).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from nacl_monai.metrics.binning import check_num_bins
from nacl_monai.metrics.inputs import Voxels
from nacl_monai.metrics.pieces import RegionPieces
from nacl_monai.metrics.regions import selected_voxels
from nacl_monai.metrics.smooth import smooth_ece
from nacl_monai.metrics.sums import VoxelSums
from nacl_monai.metrics.voxels import LabeledVoxels, checked_voxels

FINE_BINS = 1024
#: Before the names of these sums in a file that holds the equal bins as well.
FINE = "fine_"
_LARGEST_LOGIT = 18.0  # of a float32 below 1


@dataclass(frozen=True)
class FineBins(VoxelSums):
    """Voxels in narrow bins of ascending confidence of the predicted class.

    Attributes:
        counts: Voxels per fine bin, int64, ``(..., fine bins)``.
        excess: Sum of their confidences minus the number of hits, float64, same shape.
        errors: Those whose predicted class is wrong, int64, same shape.
    """

    counts: torch.Tensor
    excess: torch.Tensor
    errors: torch.Tensor

    @classmethod
    def collect(cls, pieces: RegionPieces) -> FineBins:
        """The fine bins of each case and region, ``(B, regions, FINE_BINS)``."""
        # The last axis says whether the predicted class is right.
        shape = (pieces.num_pieces, FINE_BINS, 2)
        counts = torch.zeros(shape, dtype=torch.int64, device=pieces.device)
        excess = torch.zeros(shape, dtype=torch.float64, device=pieces.device)
        one = counts.new_ones(1)
        for chunk in pieces.chunks():
            hits = (chunk.prediction == chunk.labels)[0].int()
            index = torch.add(fine_bin_indices(chunk.confidences), chunk.pieces, alpha=FINE_BINS)
            index = torch.add(hits, index, alpha=2)
            counts.view(-1).index_add_(0, index, one.expand_as(index))
            excess.view(-1).index_add_(0, index, chunk.confidences.double() - hits)
        voxels, gaps = pieces.sum_regions(counts), pieces.sum_regions(excess)
        return cls(voxels.sum(-1), gaps.sum(-1), voxels[..., 0])

    @classmethod
    def exact(cls, confidences: torch.Tensor, hits: torch.Tensor) -> FineBins:
        """One fine bin for each distinct confidence.

        Args:
            confidences: Those of the predicted class, ``(N,)``.
            hits: Whether each prediction is correct, bool, ``(N,)``.
        """
        values, index = torch.unique(confidences, return_inverse=True)
        counts = torch.bincount(index, minlength=len(values))
        errors = torch.bincount(index[~hits], minlength=len(values))
        return cls(counts, values.double() * counts - (counts - errors), errors)

    @classmethod
    def of_voxels(cls, voxels: LabeledVoxels, mask: torch.Tensor | None) -> FineBins:
        """One fine bin for each distinct confidence of the voxels in a mask; None for all."""
        keep = ... if mask is None else mask
        confidences, hits = voxels.confidences[keep], (voxels.prediction == voxels.labels)[keep]
        return cls.exact(confidences.flatten(), hits.flatten())

    def adaptive_ece(self, num_bins: int = 15) -> torch.Tensor:
        """ECE over bins of equal mass, ``(...)``, float64; NaN without voxels.

        Args:
            num_bins: The number of bins of equal mass M.

        Raises:
            InputError: If ``num_bins`` is smaller than 1.

        Example:
            >>> confidences = torch.tensor([0.5, 0.6, 0.9, 1.0])
            >>> hits = torch.tensor([True, False, True, True])
            >>> round(FineBins.exact(confidences, hits).adaptive_ece(num_bins=2).item(), 6)
            0.05
        """
        check_num_bins(num_bins)
        *leading, fine_bins = self.counts.shape
        if not fine_bins:
            return self.excess.new_full(leading, torch.nan)
        ends = F.pad(self.counts.cumsum(-1), (1, 0)).double()
        sums = F.pad(self.excess.cumsum(-1), (1, 0))
        steps = torch.linspace(0, 1, num_bins + 1, dtype=torch.float64, device=ends.device)
        edges = steps * ends[..., -1:]
        right = torch.searchsorted(ends, edges).clamp(min=1)
        left_end = ends.gather(-1, right - 1)
        share = (edges - left_end) / self.counts.gather(-1, right - 1).clamp(min=1)
        at_edges = sums.gather(-1, right - 1).lerp(sums.gather(-1, right), share)
        return at_edges.diff(dim=-1).abs().sum(-1) / ends[..., -1]

    def smooth_ece(self) -> torch.Tensor:
        """Smooth ECE, ``(...)``, float64; NaN without voxels. See :mod:`nacl_monai.metrics.smooth`."""
        return smooth_ece(self.counts, self.excess, self.errors)


def fine_bin_indices(confidences: torch.Tensor) -> torch.Tensor:
    """The fine bin of each confidence, int64, same shape.

    Example:
        >>> fine_bin_indices(torch.tensor([0.5, 0.9999, 0.99999, 1.0])).tolist()
        [512, 773, 839, 1023]
    """
    # Softmax may round to slightly more than 1, which has no logit.
    logits = torch.logit(confidences.float().clamp(max=1)).clamp_(-_LARGEST_LOGIT, _LARGEST_LOGIT)
    return ((logits / _LARGEST_LOGIT + 1) * ((FINE_BINS - 1) / 2)).round_().long()


def adaptive_calibration_error(
    probs: Voxels,
    labels: Voxels,
    num_bins: int = 15,
    region: str | Voxels = "foreground",
    *,
    ignore_index: int | None = None,
    from_logits: bool = False,
) -> torch.Tensor:
    """Adaptive ECE of the predicted class, the voxels of the batch pooled.

    It sorts the voxels, and so takes longer than the errors from equal bins.

    Args:
        probs: As in :func:`expected_calibration_error`.
        labels: As there.
        num_bins: The number of bins of equal mass M.
        region: As there.
        ignore_index: As there.
        from_logits: As there.

    Returns:
        The error in [0, 1], 0-d, float64; NaN if the region is empty.

    Raises:
        InputError: If the input is not a probability or not a label, or ``num_bins`` is below 1.

    Example:
        >>> probs = torch.tensor([[[[0.1, 0.4, 0.8]], [[0.9, 0.6, 0.2]]]])
        >>> labels = torch.tensor([[[1, 0, 0]]])
        >>> round(adaptive_calibration_error(probs, labels, 2, "all").item(), 6)
        0.233333
    """
    voxels = checked_voxels(probs, labels, None, ignore_index, from_logits)
    return FineBins.of_voxels(voxels, selected_voxels(region, voxels)).adaptive_ece(num_bins)
