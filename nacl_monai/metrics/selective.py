r"""Selective prediction: how well confidence tells right voxels from wrong ones.

A reader who looks only at the :math:`k` most confident of :math:`N` voxels meets :math:`E(k)` errors:
the coverage is :math:`k/N`, the selective risk :math:`E(k)/k`. The area under that curve is small if
there are few errors and if they are among the least confident voxels:

.. math::

    \mathrm{AURC} = \frac{1}{N} \sum_{k=1}^{N} \frac{E(k)}{k}

AUROC of errors asks only for the order: the probability that a right voxel is more confident than a
wrong one, where equal confidence counts one half.

Voxels of equal confidence are interchangeable: the errors among them are spread evenly. Hence both
numbers follow from the voxels and errors at each confidence, of which a dataset keeps the fine bins of
`nacl_monai.metrics.adaptive`.

References:
    Selective Classification for Deep Neural Networks (Geifman and El-Yaniv, 2017).
    Overcoming Common Flaws in the Evaluation of Selective Classification Systems (Traub et al., 2024),
    for what AURC mixes: the rate of the errors and their order.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F


def risk_coverage(counts: torch.Tensor, errors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The selective risk at each coverage, the most confident voxels first.

    Args:
        counts: Voxels at each confidence, ascending, ``(..., M)``.
        errors: The wrong ones among them, same shape.

    Returns:
        Coverage and risk, each ``(..., M)``, float64, after the voxels of the highest confidence, of
        the two highest, and so on. The risk is NaN where no voxel is covered.

    Example:
        >>> coverage, risk = risk_coverage(torch.tensor([2, 1, 1]), torch.tensor([2, 0, 0]))
        >>> coverage.tolist(), risk.tolist()
        ([0.25, 0.5, 1.0], [0.0, 0.0, 0.5])
    """
    covered, wrong = (sums.flip(-1).cumsum(-1).double() for sums in (counts, errors))
    return covered / covered[..., -1:], wrong / covered


def aurc(counts: torch.Tensor, errors: torch.Tensor) -> torch.Tensor:
    """Area under the risk–coverage curve, ``(...)``, float64; NaN without voxels.

    Args:
        counts: As in :func:`risk_coverage`.
        errors: As there.

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
        counts: As in :func:`risk_coverage`.
        errors: As there.

    Example:
        >>> error_auroc(torch.tensor([2, 2]), torch.tensor([1, 0])).item()  # of 1·3 pairs, ½ ties
        0.8333333333333334
    """
    errors = errors.double()
    hits = counts.double() - errors
    below = F.pad(errors.cumsum(-1), (1, 0))[..., :-1]
    ordered = (hits * (below + errors / 2)).sum(-1)
    return ordered / (hits.sum(-1) * errors.sum(-1))
