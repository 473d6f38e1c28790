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

Over a dataset, whose confidences nobody can keep, confidences that lie in one of many narrow cells
form such a group; their sum stays exact. The cells are equally wide in the logit of the confidence,
which tells 0.9999 from 0.99999 as well as 0.6 from 0.61.

References:
    Measuring Calibration in Deep Learning (Nixon et al., 2019).
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from nacl_monai.errors import InputError
from nacl_monai.metrics.inputs import checked
from nacl_monai.metrics.pieces import RegionPieces
from nacl_monai.metrics.regions import selected_voxels

CELLS = 1024
_LARGEST_LOGIT = 18.0  # of a float32 below 1


def equal_mass_errors(counts: torch.Tensor, excess: torch.Tensor, num_bins: int) -> torch.Tensor:
    """Adaptive ECE from groups of interchangeable voxels, in ascending order of confidence.

    Args:
        counts: Voxels of each group, ``(..., groups)``.
        excess: Sum of their confidences minus the number of hits, float64, same shape.
        num_bins: The number of bins of equal mass.

    Returns:
        ``(...)``, float64; NaN without voxels.
    """
    if num_bins < 1:
        raise InputError(f"num_bins must be at least 1, got {num_bins}")
    ends = F.pad(counts.cumsum(-1), (1, 0)).double()
    sums = F.pad(excess.cumsum(-1), (1, 0))
    steps = torch.linspace(0, 1, num_bins + 1, dtype=torch.float64, device=counts.device)
    edges = steps * ends[..., -1:]
    right = torch.searchsorted(ends, edges).clamp(1, counts.shape[-1])
    left_end = ends.gather(-1, right - 1)
    share = (edges - left_end) / counts.gather(-1, right - 1).clamp(min=1)
    at_edges = sums.gather(-1, right - 1).lerp(sums.gather(-1, right), share.clamp(max=1))
    return at_edges.diff(dim=-1).abs().sum(-1) / ends[..., -1]


def adaptive_error(confidences: torch.Tensor, hits: torch.Tensor, num_bins: int = 15) -> float:
    """Adaptive ECE of confidences and whether each was right, both ``(N,)``; NaN if N is 0.

    Example:
        >>> confidences = torch.tensor([0.5, 0.6, 0.9, 1.0])
        >>> hits = torch.tensor([True, False, True, True])
        >>> round(adaptive_error(confidences, hits, num_bins=2), 6)
        0.05
    """
    if not len(confidences):
        return torch.nan
    values, group = torch.unique(confidences, return_inverse=True)
    counts = torch.bincount(group)
    excess = values.double() * counts - torch.bincount(group[hits], minlength=len(values))
    return equal_mass_errors(counts, excess, num_bins).item()


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


def region_cells(pieces: RegionPieces) -> tuple[torch.Tensor, torch.Tensor]:
    """The predicted class in narrow cells of confidence, per case and region.

    Returns:
        Voxels int64, and excess of confidence over hits float64: ``(B, regions, CELLS)`` each, as
        :func:`equal_mass_errors` takes them.
    """
    size = pieces.number * CELLS
    counts = torch.zeros(size, dtype=torch.int64, device=pieces.device)
    excess = torch.zeros(size, dtype=torch.float64, device=pieces.device)
    for probs, truth, piece in pieces.steps():
        confidences, prediction = probs.max(0)
        logits = torch.logit(confidences.float()).clamp_(-_LARGEST_LOGIT, _LARGEST_LOGIT)
        cells = ((logits / _LARGEST_LOGIT + 1) * ((CELLS - 1) / 2)).round_().long()
        cells += piece * CELLS
        counts += torch.bincount(cells, minlength=size)
        excess += torch.bincount(cells, confidences - (prediction == truth[0]).double(), size)
    shape = (pieces.number, CELLS)
    return pieces.by_region(counts.view(shape)), pieces.by_region(excess.view(shape))
