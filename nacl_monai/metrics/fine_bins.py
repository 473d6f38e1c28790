r"""Voxels in many narrow bins of confidence: adaptive ECE, smooth ECE and selective prediction.

**Adaptive ECE** has bins of equal mass instead of equal width.

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

**Smooth ECE** has a kernel in place of bins, as wide as the error is large.

With the confidence :math:`c_v` of each of :math:`N` voxels, and :math:`h_v` = 1 where it is predicted
rightly, the error at the width :math:`\sigma` is

.. math::

    \mathrm{smECE}_\sigma =
    \int_0^1 \Big| \frac{1}{N} \sum_v K_\sigma(t, c_v) (c_v - h_v) \Big| dt, \qquad
    K_\sigma(t, c) = \sum_k \varphi_\sigma(t - c - 2k) + \varphi_\sigma(t + c - 2k)

where :math:`K_\sigma` is the Gaussian :math:`\varphi_\sigma`, reflected at 0 and at 1. It falls as the
kernel widens, and smooth ECE is the one number for which

.. math::

    \mathrm{smECE} = \mathrm{smECE}_\sigma = \sigma.

No bins are to be chosen, and voxels that move a little change it a little, whereas a voxel that crosses
the edge of a bin may change ECE by any amount.

The residuals :math:`c - h` are a sum of cosine waves, whose images at both ends are those waves again.

**Selective prediction** asks how well confidence tells right voxels from wrong ones.

A reader who looks only at the :math:`k` most confident of :math:`N` voxels meets :math:`E(k)` errors:
the coverage is :math:`k/N`, the selective risk :math:`E(k)/k`. The area under that curve is small if
there are few errors and if they are among the least confident voxels:

.. math::

    \mathrm{AURC} = \frac{1}{N} \sum_{k=1}^{N} \frac{E(k)}{k}

AUROC of errors asks only for the order: the probability that a right voxel is more confident than a
wrong one, where equal confidence counts one half.

Voxels of equal confidence are interchangeable: the errors among them are spread evenly. Hence both
numbers follow from the voxels and errors at each confidence, for which a dataset keeps the fine
bins.

References:
    Measuring Calibration in Deep Learning (Nixon et al., 2019).
    Smooth ECE: Principled Reliability Diagrams via Kernel Smoothing (Błasiok and Nakkiran, 2023),
    https://arxiv.org/abs/2309.12236. Their package relplot 1.0.3 halves the width ten times, down to
    0.001, and gives what is exactly at an end of its grid no mirror image, so that it differs where
    confidences saturate; here the root is found to 1e-7, down to :data:`NARROWEST`.
    Selective Classification for Deep Neural Networks (Geifman and El-Yaniv, 2017).
    Overcoming Common Flaws in the Evaluation of Selective Classification Systems (Traub et al., 2024),
    for what AURC mixes: the rate of the errors and their order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import scipy
import torch
from torch.nn import functional as F

from nacl_monai.metrics.bins import CalibrationBins, VoxelSums
from nacl_monai.metrics.regions import RegionPieces, selected_voxels
from nacl_monai.metrics.sums_file import Faults, SparseArray
from nacl_monai.metrics.voxels import LabeledVoxels, Voxels, checked_voxels
from nacl_monai.runs import check_num_bins
from nacl_monai.tensors import Floats
from nacl_monai.words import in_our_words

#: The narrowest kernel. A smaller error is known to this number only.
NARROWEST = 1e-4
_STEPS_PER_WIDTH = 32

FINE_BINS = 1024
_LARGEST_LOGIT = 18.0  # of a float32 below 1


def smooth_ece(counts: torch.Tensor, excess: torch.Tensor, errors: torch.Tensor) -> torch.Tensor:
    """Smooth ECE of voxels in fine bins, each of which is at the mean confidence of its voxels.

    Args:
        counts: Voxels per fine bin, ``(..., M)``.
        excess: Sum of their confidences minus the number of hits, same shape.
        errors: Those whose predicted class is wrong, same shape.

    Returns:
        The error in [0, 1], ``(...)``, float64; NaN without voxels.

    Example:
        Always certain, and right in three of four voxels:

        >>> counts, errors = torch.tensor([4]), torch.tensor([1])
        >>> round(smooth_ece(counts, torch.tensor([1.0]), errors).item(), 6)
        0.25
    """
    shape = (math.prod(counts.shape[:-1]), counts.shape[-1])
    histograms = (sums.reshape(shape).cpu().double().numpy() for sums in (counts, excess, errors))
    values = [_of_histogram(*histogram) for histogram in zip(*histograms, strict=True)]
    return torch.tensor(values, dtype=torch.float64, device=counts.device).view(counts.shape[:-1])


def _of_histogram(counts: Floats, excess: Floats, errors: Floats) -> float:
    filled = counts > 0
    if not filled.any():
        return math.nan
    counts, excess, errors = counts[filled], excess[filled], errors[filled]
    # A confidence is 1 + (its excess) where the prediction is right, and its excess where it is wrong.
    return _fixed_point(1 + (excess - errors) / counts, excess / counts.sum())


def _fixed_point(places: Floats, residuals: Floats) -> float:
    """The width that is equal to the error at this width.

    It is at least the size of the sum of the residuals, which no kernel changes, and at most the sum
    of their sizes, which smoothing can only lessen. From there the width is halved until the error is
    larger, since only narrow kernels need a fine grid.
    """
    lowest = max(abs(residuals.sum()), NARROWEST)
    width = np.abs(residuals).sum()
    if width <= lowest:
        return float(width)
    while width > lowest:
        narrower = max(width / 2, lowest)
        waves = _waves(places, residuals, 2 ** math.ceil(math.log2(_STEPS_PER_WIDTH / narrower)))
        surplus = _surplus(narrower, waves)
        if surplus > 0:  # on the coarser grid before, it was off by much less than a thousandth
            return float(
                scipy.optimize.brentq(_surplus, narrower, 1.001 * width, args=(waves,), xtol=1e-7)
            )
        width = narrower
    return float(width + surplus)


def _waves(places: Floats, residuals: Floats, steps: int) -> Floats:
    """The cosine waves that make up the residuals, on a grid of ``steps + 1`` points.

    A residual is shared between the two nearest points, so that its place is kept.
    """
    position = places.clip(0, 1) * steps
    left = np.minimum(position.astype(np.int64), steps - 1)
    share = position - left
    masses = np.bincount(left, residuals * (1 - share), steps + 1)
    masses += np.bincount(left + 1, residuals * share, steps + 1)
    masses[[0, -1]] *= 2  # the mirror images of the ends are on them
    return np.asarray(scipy.fft.dct(masses, type=1))


def _surplus(width: float, waves: Floats) -> float:
    """The error at a width, less the width. A reflected Gaussian damps each wave by itself."""
    steps = len(waves) - 1
    damping = np.exp(-((width * math.pi * np.arange(steps + 1)) ** 2) / 2)
    density = steps * scipy.fft.idct(damping * waves, type=1)
    return float(scipy.integrate.trapezoid(np.abs(density), dx=1 / steps)) - width


def aurc(counts: torch.Tensor, errors: torch.Tensor) -> torch.Tensor:
    """Area under the risk–coverage curve, ``(...)``, float64; NaN without voxels.

    Args:
        counts: Voxels at each confidence, ascending, ``(..., M)``.
        errors: The wrong ones among them, same shape.

    Example:
        >>> aurc(torch.tensor([1, 1]), torch.tensor([1, 0])).item()  # (0/1 + 1/2) / 2
        0.25
    """
    if not counts.shape[-1]:
        return counts.new_full(counts.shape[:-1], torch.nan, dtype=torch.float64)
    counts, errors = (sums.flip(-1).double() for sums in (counts, errors))
    ends = counts.cumsum(-1)
    starts, errors_before = ends - counts, errors.cumsum(-1) - errors
    # Among the n voxels after the first s, the k-th has met e₀ + (k − s)·e/n errors, so that the sum of
    # E(k)/k is (e₀ − s·e/n)·(1/(s + 1) + … + 1/(s + n)) + e, and digamma adds up the fractions.
    rates = errors / counts.clamp(min=1)
    fractions = torch.digamma(ends + 1) - torch.digamma(starts + 1)
    sums = (errors_before - starts * rates) * fractions + errors
    return sums.sum(-1) / ends[..., -1]


def error_auroc(counts: torch.Tensor, errors: torch.Tensor) -> torch.Tensor:
    """AUROC of the errors, ``(...)``, float64; NaN where all voxels are right, or all are wrong.

    Args:
        counts: Voxels at each confidence, ascending, ``(..., M)``.
        errors: The wrong ones among them, same shape.

    Example:
        >>> error_auroc(torch.tensor([2, 2]), torch.tensor([1, 0])).item()  # of 1·3 pairs, ½ ties
        0.8333333333333334
    """
    errors = errors.double()
    hits = counts.double() - errors
    below = F.pad(errors.cumsum(-1), (1, 0))[..., :-1]
    ordered = (hits * (below + errors / 2)).sum(-1)
    return ordered / (hits.sum(-1) * errors.sum(-1))


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
        unit = counts.new_ones(1)
        for chunk in pieces.chunks():
            hits = (chunk.prediction == chunk.labels)[0].int()
            index = torch.add(fine_bin_indices(chunk.confidences), chunk.pieces, alpha=FINE_BINS)
            index = torch.add(hits, index, alpha=2)
            counts.view(-1).index_add_(0, index, unit.expand_as(index))
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
        """Smooth ECE, ``(...)``, float64; NaN without voxels. See :func:`smooth_ece`."""
        return smooth_ece(self.counts, self.excess, self.errors)


@dataclass(frozen=True)
class SparseFineBins(VoxelSums):
    """Fine bins of cases and regions, ``(cases, regions, fine bins)``, without those that are empty.

    ``fine[cases]`` are those of some cases, and ``fine[cases, regions]`` their `FineBins`, whose
    attributes these are, each a `SparseArray`.
    """

    counts: Any
    excess: Any
    errors: Any

    def __getitem__(self, index: Any) -> Any:
        cases, *rest = index if isinstance(index, tuple) else (index,)
        parts = {name: part[cases] for name, part in vars(self).items()}
        if not rest:
            return SparseFineBins(**parts)
        dense = FineBins.from_arrays({name: part.dense() for name, part in parts.items()})
        return dense[(slice(None), *rest)]

    @classmethod
    def joined(cls, parts: Sequence[SparseFineBins]) -> SparseFineBins:
        """The cases of several objects."""
        return cls(*map(SparseArray.joined, zip(*(part.tensors() for part in parts), strict=True)))

    def arrays(self, prefix: str = "") -> dict[str, Any]:
        """The arrays under their names, as a file holds them."""
        return {f"{prefix}{name}": part for name, part in vars(self).items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any], prefix: str = "") -> SparseFineBins:
        """The inverse of :meth:`arrays`, also of arrays that are dense."""
        parts = (arrays[f"{prefix}{field.name}"] for field in fields(cls))
        return cls(*(x if isinstance(x, SparseArray) else SparseArray.of_dense(x) for x in parts))


def fine_faults(fine: FineBins, top: CalibrationBins) -> Faults:
    """The faults of fine bins: sums that no voxels give, or of other voxels than the equal bins."""
    counts, _, errors = fine.arrays().values()
    wrong = (top.counts - top.positives).sum(-1).numpy()
    return {
        "a count of the fine bins cannot be": ((counts < 0) | (errors < 0) | (errors > counts)).any(
            -1
        ),
        "the fine bins are of other voxels": (counts.sum(-1) != top.counts.sum(-1).numpy())
        | (errors.sum(-1) != wrong),
    }


def fine_bin_indices(confidences: torch.Tensor) -> torch.Tensor:
    """The fine bin of each confidence, int64, same shape.

    Example:
        >>> fine_bin_indices(torch.tensor([0.5, 0.9999, 0.99999, 1.0])).tolist()
        [512, 773, 839, 1023]
    """
    # Softmax may round to slightly more than 1, which has no logit.
    logits = torch.logit(confidences.float().clamp(max=1)).clamp_(-_LARGEST_LOGIT, _LARGEST_LOGIT)
    return ((logits / _LARGEST_LOGIT + 1) * ((FINE_BINS - 1) / 2)).round_().long()


@in_our_words
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
