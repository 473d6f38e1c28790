r"""Exact sums per confidence bin, and of proper scores, and the errors that follow from them.

With :math:`n_i` voxels in bin :math:`i`, of mean confidence :math:`C_i` and accuracy :math:`A_i`,
and :math:`N = \sum_i n_i`:

.. math::

    \mathrm{ECE} = \sum_i \frac{n_i}{N} |C_i - A_i| \qquad
    \mathrm{ACE} = \operatorname*{mean}_{i:\, n_i > 0} |C_i - A_i| \qquad
    \mathrm{MCE} = \max_{i:\, n_i > 0} |C_i - A_i|

.. math::

    \mathrm{gap} = \sum_i \frac{n_i}{N} (C_i - A_i) = \text{mean confidence} - \text{accuracy}

Probabilities are sorted into the equal bins :math:`((i-1)/M, i/M]`; the first also holds 0. Edges are
:math:`i/M` rounded to the dtype of the probabilities, so that a probability *written* as ``0.2`` is in
the bin that ends at 0.2, whatever its binary rounding. Counts are integers and sums are float64: nothing
drifts at any number of voxels. MONAI's ``calibration_binning`` and torchmetrics count in float32, which
stops at 2^24 voxels.

Proper scoring rules reward calibration and discrimination at once. With the probability :math:`p_y` of
the labeled class:

.. math::

    \mathrm{NLL} = -\log p_y \qquad
    \mathrm{Brier} = \sum_j (p_j - [j = y])^2 = \sum_j p_j^2 - 2 p_y + 1

References:
    Neighbor-Aware Calibration of Segmentation Networks with Penalty-Based Constraints
    (Murugesan et al., 2024), equations 10 (ECE) and 11 (CECE).
    Obtaining Well Calibrated Probabilities Using Bayesian Binning (Naeini et al., 2015).
    Strictly Proper Scoring Rules, Prediction, and Estimation (Gneiting and Raftery, 2007).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
import torch

from nacl_monai.errors import InputError, SettingError
from nacl_monai.metrics.regions import RegionPieces, region_pieces
from nacl_monai.metrics.voxels import Voxels, checked_voxels
from nacl_monai.runs import check_num_bins
from nacl_monai.words import in_our_words

SumsT = TypeVar("SumsT", bound="VoxelSums")


@dataclass(frozen=True)
class VoxelSums:
    """Tensors with the same leading axes (cases, regions), each entry a sum over voxels.

    Adding two objects gives the sums over both sets of voxels.
    """

    def tensors(self) -> list[torch.Tensor]:
        """The tensors in the order of the attributes."""
        return list(vars(self).values())

    def __add__(self: SumsT, other: SumsT) -> SumsT:
        pairs = zip(self.tensors(), other.tensors(), strict=True)
        return type(self)(*(first + second for first, second in pairs))

    def __getitem__(self: SumsT, index: Any) -> SumsT:
        return type(self)(*(tensor[index] for tensor in self.tensors()))

    def pooled(self: SumsT, dim: int = 0) -> SumsT:
        """The sums over all voxels along one leading axis, by default over all cases."""
        return type(self)(*(tensor.sum(dim) for tensor in self.tensors()))

    def __reduce__(self) -> tuple[Any, ...]:
        # As arrays, since a tensor that goes to another process keeps a file open.
        return type(self).from_arrays, (self.arrays(),)

    @classmethod
    def joined(cls: type[SumsT], parts: Sequence[SumsT]) -> SumsT:
        """The cases of several objects, one after the other along the first axis."""
        return cls(*map(torch.cat, zip(*(part.tensors() for part in parts), strict=True)))

    def arrays(self, prefix: str = "") -> dict[str, np.ndarray[Any, Any]]:
        """The tensors as arrays under their names, as an NPZ file holds them."""
        return {f"{prefix}{name}": tensor.cpu().numpy() for name, tensor in vars(self).items()}

    @classmethod
    def from_arrays(
        cls: type[SumsT], arrays: Mapping[str, np.ndarray[Any, Any]], prefix: str = ""
    ) -> SumsT:
        """The inverse of :meth:`arrays`; other keys of the mapping are ignored."""
        return cls(*(torch.from_numpy(arrays[f"{prefix}{field.name}"]) for field in fields(cls)))

    @classmethod
    def take(cls: type[SumsT], tensors: Iterator[torch.Tensor]) -> SumsT:
        """Takes as many tensors from an iterator as there are attributes, in their order."""
        return cls(*(next(tensors) for _ in fields(cls)))


def check_threshold(threshold: float) -> None:
    """Refuses a threshold that no probability, or every one, is above.

    Raises:
        SettingError: If it is not in [0, 1).
    """
    if not 0 <= threshold < 1:
        raise SettingError(f"threshold: is {threshold}; use a number from 0 to below 1")


def bin_indices(probs: torch.Tensor, num_bins: int) -> torch.Tensor:
    """The bin of each probability, int32, same shape.

    One comparison with the nearest edge decides. It is exact, because it compares the edge itself,
    and many times as fast as the binary search of ``torch.bucketize``.

    Args:
        probs: Probabilities of any shape and floating dtype. Softmax may round to slightly more
            than 1; such a value is in the last bin.
        num_bins: The number of equal bins M.

    Example:
        >>> bin_indices(torch.tensor([0.0, 0.1, 0.2, 0.2001, 1.0]), num_bins=5).tolist()
        [0, 0, 0, 1, 4]
    """
    nearest = (probs * num_bins).round_()
    # Written as a float because on CPU a cast from bool takes longer than all the rest.
    not_above = torch.le(probs, nearest / num_bins, out=torch.empty_like(nearest))
    return nearest.sub_(not_above).clamp_(0, num_bins - 1).int()


def _top1_first(sums: torch.Tensor) -> torch.Tensor:
    """Sums ``(pieces, C, M, predicted, label)`` → ``(pieces, 1 + C, M)``: top-1, then the classes."""
    by_prediction = sums.sum(-1)
    top1 = by_prediction[..., 1].sum(1, keepdim=True)
    return torch.cat([top1, by_prediction.sum(-1)], 1)


@dataclass(frozen=True)
class CalibrationBins(VoxelSums):
    """Sums over a set of voxels per class and bin, with any leading axes (cases, regions).

    The last but one is the class axis. Its entry 0, "top-1", bins the confidence of the predicted
    class; entries 1 to C bin the probability of each class, background first. An error without
    "class" in its name is that of the predicted class:

    ========================= ================ ===================================
    ``errors("ece")``         ``(..., 1 + C)`` every entry of the class axis
    ``ece()``, ``ace()``, …   ``(...)``        the predicted class (entry 0)
    ``class_errors("ece")``   ``(..., C)``     each class (entries 1 to C)
    ``cece()``                ``(...)``        the mean of ``class_errors("ece")``
    ========================= ================ ===================================

    All are float64, and NaN without voxels. Adding two objects gives the bins of both sets of voxels.

    Attributes:
        counts: Voxels per bin, int64, ``(..., 1 + C, num_bins)``.
        positives: Voxels among them that are predicted correctly (top-1) or have the class as label.
        confidences: Sum of their probabilities, float64.

    Example:
        Two voxels, predicted with 0.9 and 0.6; the second one wrongly:

        >>> probs = torch.tensor([[[0.9, 0.4], [0.1, 0.6]]])
        >>> bins = calibration_bins(probs, torch.tensor([[0, 0]]), num_bins=2)
        >>> round(bins.ece().item(), 6), round(bins.cece().item(), 6)
        (0.25, 0.35)
    """

    counts: torch.Tensor
    positives: torch.Tensor
    confidences: torch.Tensor

    @classmethod
    def collect(
        cls, pieces: RegionPieces, num_bins: int, threshold: float | None = None
    ) -> CalibrationBins:
        """The bins of each case and region, ``(B, regions, 1 + C, num_bins)``.

        Args:
            pieces: The voxels.
            num_bins: The number of equal bins M.
            threshold: If given, only probabilities above it count, so that a class has fewer voxels.

        Raises:
            SettingError: If ``num_bins`` is smaller than 1, or the threshold outside [0, 1).
        """
        check_num_bins(num_bins)
        all_bins = num_bins
        if threshold is not None:
            check_threshold(threshold)
            all_bins += 1  # the last one, for what is not above, is dropped in the end
        # The last two axes say whether the class is the predicted one, and whether it is the label.
        shape = (pieces.num_pieces, pieces.num_classes, all_bins, 2, 2)
        size, device = math.prod(shape), pieces.device
        counts = torch.zeros(size, dtype=torch.int64, device=device)
        confidences = torch.zeros(size, dtype=torch.float64, device=device)
        first_of_class = torch.arange(pieces.num_classes, dtype=torch.int32, device=device)[:, None]
        first_of_class *= 4 * all_bins
        as_predicted, as_label = torch.tensor([2, 1], dtype=torch.int32, device=device)

        # Of many classes more at a time, since each time a sum is added to all bins of all pieces.
        for chunk in pieces.chunks(64 * pieces.num_pieces):
            first = chunk.pieces * (4 * all_bins * pieces.num_classes) + first_of_class
            bins = bin_indices(chunk.probs, num_bins)
            if threshold is not None:
                bins.masked_fill_(chunk.probs <= threshold, num_bins)
            index = torch.add(first, bins, alpha=4)
            index.scatter_add_(0, chunk.prediction, as_predicted.expand_as(chunk.prediction))
            index.scatter_add_(0, chunk.labels, as_label.expand_as(chunk.labels))
            counts += torch.bincount(index.flatten(), minlength=size)
            confidences.index_add_(0, index.flatten(), chunk.probs.double().flatten())
        counts, confidences = counts.view(shape), confidences.view(shape)
        kept = [sums[:, :, :num_bins] for sums in (counts, counts[..., 1:], confidences)]
        return cls(*(pieces.sum_regions(_top1_first(sums)) for sums in kept))

    @property
    def num_bins(self) -> int:
        """The number of bins M."""
        return self.counts.shape[-1]

    def voxels(self) -> torch.Tensor:
        """The number of voxels, ``(...)``."""
        return self.counts[..., 0, :].sum(-1)

    def errors(self, error: str = "ece") -> torch.Tensor:
        """An error of every entry of the class axis, ``(..., 1 + C)``.

        Args:
            error: "ece", "ace", "mce" or "confidence_gap".

        Raises:
            InputError: If there is no error of that name.
        """
        if error not in _ERRORS:
            raise InputError(f"error: is {error!r}; choose one of {', '.join(_ERRORS)}")
        # n (C - A) needs no division, and so no care for empty bins.
        return _ERRORS[error](self.confidences - self.positives, self.counts)

    def ece(self) -> torch.Tensor:
        """ECE of the predicted class (equation 10)."""
        return self.errors("ece")[..., 0]

    def ace(self) -> torch.Tensor:
        """ACE of the predicted class: every bin that is not empty weighs the same."""
        return self.errors("ace")[..., 0]

    def mce(self) -> torch.Tensor:
        """MCE of the predicted class: its worst bin, however small."""
        return self.errors("mce")[..., 0]

    def confidence_gap(self) -> torch.Tensor:
        """Mean confidence minus accuracy of the predicted class: positive if overconfident."""
        return self.errors("confidence_gap")[..., 0]

    def class_errors(
        self, error: str = "ece", include_background: bool = True, include_absent: bool = True
    ) -> torch.Tensor:
        """An error of each class, ``(..., C)``, or ``(..., C - 1)`` without background.

        Args:
            error: "ece", "ace", "mce" or "confidence_gap".
            include_background: Whether the background counts.
            include_absent: Whether a class without any voxel in the region counts. It has a true
                error, the probability wasted on it, and hiding that error would reward a network
                for it; therefore the default. False gives NaN, which ``nanmean`` leaves out; in the
                region foreground this drops the background as well.

        Raises:
            InputError: If there is no error of that name.
        """
        classes = slice(1 if include_background else 2, None)
        errors = self.errors(error)[..., classes]
        if include_absent:
            return errors
        return errors.where(self.positives[..., classes, :].sum(-1) > 0, torch.nan)

    def cece(self, include_background: bool = True, include_absent: bool = True) -> torch.Tensor:
        r"""The mean over classes of their ECE.

        .. math::

            \mathrm{CECE} = \frac{1}{C} \sum_{j=1}^{C} \sum_{i=1}^{M} \frac{n_{i,j}}{N}
            |C_{i,j} - A_{i,j}|

        The paper's equation 11 is the sum over classes; its authors' code, and this mean, divide by
        their number. Their code takes that number from the labels of each image, so that the divisor
        changes from case to case; here it is always that of the network's classes.

        Args:
            include_background: As in :meth:`class_errors`.
            include_absent: As in :meth:`class_errors`.
        """
        return self.class_errors("ece", include_background, include_absent).nanmean(-1)


class ThresholdedBins(CalibrationBins):
    """Only those of probabilities above a threshold.

    In most voxels a class has a probability near 0, and rightly. In its ECE they outweigh all others,
    however wrong these are. Above the threshold each class has its own number of voxels; the errors of a
    class without any are NaN, and stay out of :meth:`cece`.

    References:
        Measuring Calibration in Deep Learning (Nixon et al., 2019).
    """


def _maximum(excess: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    gaps = (excess.abs() / counts).nan_to_num(-1).amax(-1)
    return gaps.where(gaps >= 0, torch.nan)


#: Name → function of ``n (C - A)`` and ``n``, both ``(..., num_bins)``.
_ERRORS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "ece": lambda excess, counts: excess.abs().sum(-1) / counts.sum(-1),
    "ace": lambda excess, counts: (excess.abs() / counts).nanmean(-1),
    "mce": _maximum,
    "confidence_gap": lambda excess, counts: excess.sum(-1) / counts.sum(-1),
}


def calibration_bins(
    probs: torch.Tensor,
    labels: torch.Tensor,
    mask: torch.Tensor | None = None,
    num_bins: int = 15,
    per_case: bool = False,
    *,
    ignore_index: int | None = None,
    from_logits: bool = False,
) -> CalibrationBins:
    """Bins the top-1 confidence and every class probability in one pass over the voxels.

    Args:
        probs: Probabilities after softmax, ``(B, C, *spatial)``, 2-D or 3-D, any floating dtype.
        labels: Class indices, ``(B, 1, *spatial)`` or ``(B, *spatial)``.
        mask: Voxels that count, shaped like the labels; None for all.
        num_bins: The number of equal bins M.
        per_case: Whether each case of the batch keeps its own bins.
        ignore_index: Voxels with this label do not count.
        from_logits: Whether logits are given in place of probabilities.

    Returns:
        Bins of shape ``(1 + C, num_bins)``, or ``(B, 1 + C, num_bins)`` per case. If several
        classes tie for the largest probability, the first is the predicted one.

    Raises:
        InputError: If the input is not a probability or not a label, or ``num_bins`` is below 1.

    Example:
        Two voxels, predicted with 0.9 and 0.6; the second one wrongly:

        >>> probs = torch.tensor([[[0.9, 0.4], [0.1, 0.6]]])
        >>> bins = calibration_bins(probs, torch.tensor([[0, 0]]), num_bins=2)
        >>> bins.counts[0].tolist(), bins.positives[0].tolist()
        ([0, 2], [0, 1])
        >>> round(bins.confidences[0, 1].item(), 6)
        1.5
    """
    voxels = checked_voxels(probs, labels, mask, ignore_index, from_logits)
    bins = CalibrationBins.collect(RegionPieces(voxels, [voxels.counted]), num_bins)[:, 0]
    return bins if per_case else bins.pooled()


@dataclass(frozen=True)
class ScoreSums(VoxelSums):
    """Sums of both scores over a set of voxels, with any leading axes (cases, regions).

    Attributes:
        counts: Voxels, int64, ``(...)``.
        scores: Sums of NLL and Brier score over these voxels, float64, ``(..., 2)``.
    """

    counts: torch.Tensor
    scores: torch.Tensor

    @classmethod
    def collect(cls, pieces: RegionPieces) -> ScoreSums:
        """The sums of each case and region, ``(B, regions)`` and ``(B, regions, 2)``."""
        size = pieces.num_pieces
        counts = torch.zeros(size, dtype=torch.int64, device=pieces.device)
        sums = torch.zeros(size, 2, dtype=torch.float64, device=pieces.device)
        for chunk in pieces.chunks():
            counts += torch.bincount(chunk.pieces, minlength=size)
            scores = voxel_scores(chunk.probs, chunk.labels, pieces.least)
            for of_kind, score in zip(sums.unbind(1), scores, strict=True):
                of_kind.index_add_(0, chunk.pieces, score.double())
        return cls(pieces.sum_regions(counts), pieces.sum_regions(sums))

    def nll(self) -> torch.Tensor:
        """Mean negative log-likelihood, ``(...)``; NaN without voxels."""
        return self.scores[..., 0] / self.counts

    def brier(self) -> torch.Tensor:
        """Mean Brier score, ``(...)``; NaN without voxels."""
        return self.scores[..., 1] / self.counts


def voxel_scores(probs: torch.Tensor, labels: torch.Tensor, least: torch.Tensor) -> torch.Tensor:
    """NLL and Brier score of each voxel, ``(2, n)``, for probabilities (C, n) and labels (1, n).

    A probability that was rounded to 0 counts as ``least`` of its class, as one infinite voxel would
    make every mean infinite: the NLL is at most 87.3 in float32, 17.3 in float16 and 6.2 in a byte.
    """
    exact = torch.promote_types(probs.dtype, torch.float32)
    of_label = probs.gather(0, labels).to(exact)
    nll = -torch.maximum(of_label, least.to(exact)[labels]).log()
    brier = probs.to(exact).square().sum(0, keepdim=True) - 2 * of_label + 1
    return torch.cat([nll, brier])


@in_our_words
def negative_log_likelihood(
    probs: Voxels,
    labels: Voxels,
    region: str | Voxels = "foreground",
    *,
    ignore_index: int | None = None,
    from_logits: bool = False,
) -> torch.Tensor:
    """Mean NLL over a region, the voxels of the batch pooled.

    Args:
        probs: Probabilities after softmax, ``(B, C, *spatial)``.
        labels: Class indices, ``(B, 1, *spatial)`` or ``(B, *spatial)``.
        region: A name in :data:`REGIONS`, or a mask shaped like the labels.
        ignore_index: Voxels with this label do not count.
        from_logits: Whether logits are given in place of probabilities.

    Returns:
        The mean in nats, 0-d, float64; NaN if the region is empty.

    Raises:
        InputError: If the input is not a probability or not a label.

    Example:
        >>> probs = torch.tensor([[[[0.5]], [[0.5]]]])
        >>> round(negative_log_likelihood(probs, torch.tensor([[[1]]])).item(), 4)
        0.6931
    """
    pieces = region_pieces(probs, labels, region, ignore_index, from_logits)
    return ScoreSums.collect(pieces)[:, 0].pooled().nll()


@in_our_words
def brier_score(
    probs: Voxels,
    labels: Voxels,
    region: str | Voxels = "foreground",
    *,
    ignore_index: int | None = None,
    from_logits: bool = False,
) -> torch.Tensor:
    """Mean Brier score over a region, the voxels of the batch pooled.

    It is summed over the classes, as Brier defined it; some libraries report the mean over classes.

    Args:
        probs: As in :func:`negative_log_likelihood`.
        labels: As there.
        region: As there.
        ignore_index: As there.
        from_logits: As there.

    Returns:
        The mean in [0, 2], 0-d, float64; NaN if the region is empty.

    Raises:
        InputError: If the input is not a probability or not a label.

    Example:
        >>> probs = torch.tensor([[[[0.2]], [[0.8]]]])
        >>> round(brier_score(probs, torch.tensor([[[1]]])).item(), 6)
        0.08
    """
    pieces = region_pieces(probs, labels, region, ignore_index, from_logits)
    return ScoreSums.collect(pieces)[:, 0].pooled().brier()
