"""Marginal L1 average calibration error (mL1-ACE), with hard or soft bins.

References:
    - Average Calibration Error: A Differentiable Loss for Improved Reliability in Image Segmentation
      (Barfoot et al., 2024), hard bins, https://arxiv.org/abs/2403.06759
    - Average Calibration Losses for Reliable Uncertainty in Medical Image Segmentation
      (Barfoot et al., IEEE TMI 2026), hard and soft bins, https://doi.org/10.1109/TMI.2026.3673118,
      https://arxiv.org/abs/2506.03942
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Integral

import torch
from torch import Tensor

from nacl_monai.losses.base import ComposedLoss, Penalty
from nacl_monai.losses.dice_ce import DiceCELoss, dice_ce_loss
from nacl_monai.losses.inputs import (
    check_inputs,
    check_not_negative,
    check_option,
    counted_voxels,
    memberships,
    require,
)
from nacl_monai.words import in_our_words

# A bin in which there is less than this of one voxel is empty, as in the authors' code for soft bins.
_EMPTY = 0.01


@in_our_words
def ml1ace_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    binning: str = "hard",
    num_bins: int = 20,
    ignore_empty_classes: bool = True,
    penalty_weight: float = 1.0,
    ignore_index: int | None = None,
) -> Tensor:
    r"""Computes cross-entropy plus soft Dice plus the weighted marginal calibration error.

    .. math::

        \mathcal{L} = \mathcal{L}_{CE} + \mathcal{L}_{DSC} + w \, \text{mL1-ACE}

    The authors add it to other bases too, for which there is :class:`ML1ACEPenalty`.

    Args:
        binning: ``"hard"`` or ``"soft"``, see :func:`ml1ace_penalty`.
        num_bins: The number of bins :math:`M`.
        ignore_empty_classes: Whether the error of a class without a voxel in an image is 0 there.
        penalty_weight: :math:`w \ge 0`; 0 gives cross-entropy plus Dice.

    Raises:
        InputError: If a setting, shapes or label values do not fit.

    Note:
        The penalty equals ``HardL1ACELoss`` and ``SoftL1ACELoss`` of MONAI 1.7, with ``to_onehot_y=True,
        softmax=True``; MONAI 1.6 has no counterpart.

    Example:
        >>> logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
        >>> loss = ml1ace_loss(logits, torch.zeros(1, 1, 4, 4))
        >>> loss.detach()
        tensor(1.6098)
        >>> loss.backward()
    """
    check_not_negative("penalty_weight", penalty_weight)
    penalty = ml1ace_penalty(
        logits,
        labels,
        binning=binning,
        num_bins=num_bins,
        ignore_empty_classes=ignore_empty_classes,
        ignore_index=ignore_index,
    )
    return dice_ce_loss(logits, labels, ignore_index=ignore_index) + penalty_weight * penalty


@in_our_words
def ml1ace_penalty(
    logits: Tensor,
    labels: Tensor,
    *,
    binning: str = "hard",
    num_bins: int = 20,
    ignore_empty_classes: bool = True,
    ignore_index: int | None = None,
) -> Tensor:
    r"""Computes the marginal L1 average calibration error, a mean over images and classes :math:`k`.

    .. math::

        \text{mL1-ACE} = \operatorname*{mean}_{m:\, n_m^k > 0}
            \left| \frac{\sum_j w_{jm}^k \, (\hat{p}_j^k - y_j^k)}{n_m^k} \right|, \quad
        n_m^k = \sum_j w_{jm}^k

    In each of :math:`M` equal bins of the probability of a class, this is the distance between the mean
    probability and the share of voxels of the class; all bins that are not empty weigh the same. A soft
    bin that holds less than 0.01 of one voxel is empty.

    - ``hard``: :math:`w_{jm}^k` is 1 for the bin :math:`((m-1)/M, m/M]` of :math:`\hat{p}_j^k` and 0 for
      the others; the first bin also holds 0. The gradient is that of the mean probability in each bin.
    - ``soft``: a probability between the centers of two bins belongs to both in part, by linear
      interpolation, and beyond the outer centers wholly to the outer bin. At the centers both agree.

    Args:
        labels: As in :func:`ml1ace_loss`; of soft labels, :math:`y_j^k` are the shares.
        binning: ``"hard"`` or ``"soft"``.
        num_bins: The number of bins :math:`M`.
        ignore_empty_classes: Whether the error of a class without a voxel in an image is 0 there, as in
            the code of 2025 and MONAI 1.7; the mean is over all classes still. If not, it counts, as in
            the code of 2024.

    Returns:
        A scalar between 0 and 1.

    Raises:
        InputError: If a setting, shapes or label values do not fit.

    Example:
        Two voxels, each 0.75 certain, are both right; the other class, which is absent, counts as 0:

        >>> logits = torch.tensor([3.0, 1.0]).log().view(1, 2, 1, 1).expand(1, 2, 1, 2)
        >>> logits = logits.clone().requires_grad_()
        >>> penalty = ml1ace_penalty(logits, torch.zeros(1, 1, 1, 2))
        >>> penalty.detach()
        tensor(0.1250)
        >>> penalty.backward()
    """
    _check_bins(binning, num_bins)
    logits, labels = check_inputs(logits, labels, ignore_index)
    probs = logits.softmax(1)
    members = memberships(labels, logits.shape[1], ignore_index).to(probs.dtype)
    counted = counted_voxels(labels, ignore_index)
    shares = BINNINGS[binning](probs, num_bins)
    if counted is not None:
        shares = [(bins, torch.where(counted.unsqueeze(1), share, 0)) for bins, share in shares]
    counts = _bin_sums(shares, num_bins)
    gaps = _bin_sums([(bins, share * (probs - members)) for bins, share in shares], num_bins)
    occupied = counts >= _EMPTY
    errors = torch.where(occupied, gaps.abs() / counts.where(occupied, 1), 0)
    means = errors.sum(-1) / occupied.sum(-1).clamp_min(1)
    if ignore_empty_classes:
        means = torch.where(members.flatten(2).sum(-1) > 0, means, 0)
    return means.mean()


_Shares = list[tuple[Tensor, Tensor]]


def _hard(probs: Tensor, num_bins: int) -> _Shares:
    edges = torch.arange(1, num_bins, dtype=probs.dtype, device=probs.device) / num_bins
    return [(torch.bucketize(probs.detach(), edges), torch.ones_like(probs))]


def _soft(probs: Tensor, num_bins: int) -> _Shares:
    place = (probs * num_bins - 0.5).clamp(
        0, num_bins - 1
    )  # the first center is at 0, the last at M - 1
    left = place.detach().floor().clamp_max(max(num_bins - 2, 0))
    share = place - left
    right = (left + 1).clamp_max(num_bins - 1)
    return [(left.long(), 1 - share), (right.long(), share)]


def _bin_sums(values: _Shares, num_bins: int) -> Tensor:
    """Sums of ``(bins, values)``, both ``(B, C, *spatial)``, per image, class and bin, ``(B, C, M)``.

    First those of each line of voxels, then of all lines: one long sum in float32 would stall at 2^24.
    """
    sums = [
        each.new_zeros(*each.shape[:-1], num_bins).scatter_add(-1, bins, each).flatten(2, -2).sum(2)
        for bins, each in values
    ]
    return torch.stack(sums).sum(0)


# The bins to which a probability belongs, and the share of it in each, both of its shape.
BINNINGS: Mapping[str, Callable[[Tensor, int], _Shares]] = {"hard": _hard, "soft": _soft}


def _check_bins(binning: str, num_bins: int) -> None:
    check_option("binning", BINNINGS, binning)
    whole = isinstance(num_bins, Integral)
    require(whole and num_bins >= 1, "num_bins", num_bins, "a whole number, 1 or more")


class ML1ACEPenalty(Penalty):
    """The marginal calibration error as a module, see :func:`ml1ace_penalty`.

    Raises:
        InputError: If a setting, shapes or label values do not fit.

    Example:
        >>> logits = torch.zeros(1, 4, 8, 8, requires_grad=True)
        >>> ML1ACEPenalty(binning="soft")(logits, torch.ones(1, 1, 8, 8)).backward()
    """

    def __init__(
        self,
        *,
        weight: float = 1.0,
        binning: str = "hard",
        num_bins: int = 20,
        ignore_empty_classes: bool = True,
        ignore_index: int | None = None,
    ) -> None:
        _check_bins(binning, num_bins)
        super().__init__(
            weight,
            binning=binning,
            num_bins=num_bins,
            ignore_empty_classes=ignore_empty_classes,
            ignore_index=ignore_index,
        )

    def value(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The mean error over images and classes."""
        return ml1ace_penalty(logits, labels, **self.settings)


class ML1ACELoss(ComposedLoss):
    """Cross-entropy and Dice with :class:`ML1ACEPenalty`, see :func:`ml1ace_loss`.

    Raises:
        InputError: If a setting, shapes or label values do not fit.

    Example:
        >>> loss = ML1ACELoss(binning="hard")
        >>> logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
        >>> loss(logits, torch.zeros(1, 1, 4, 4)).backward()
        >>> loss.latest_terms
        {'cross_entropy': tensor(0.6931), 'dice': tensor(0.6667), 'penalty': tensor(0.2500)}
    """

    def __init__(
        self,
        *,
        binning: str = "hard",
        num_bins: int = 20,
        ignore_empty_classes: bool = True,
        penalty_weight: float = 1.0,
        ignore_index: int | None = None,
    ) -> None:
        check_not_negative("penalty_weight", penalty_weight)
        error = ML1ACEPenalty(
            weight=penalty_weight,
            binning=binning,
            num_bins=num_bins,
            ignore_empty_classes=ignore_empty_classes,
            ignore_index=ignore_index,
        )
        super().__init__(DiceCELoss(ignore_index=ignore_index), [error])
