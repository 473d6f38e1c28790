"""What NACL can constrain, and the penalties on the gap between it and the proportions.

References:
    - L1 and L2: Neighbor-Aware Calibration of Segmentation Networks with Penalty-Based Constraints
      (Murugesan et al., 2024), section 4.2.7, https://arxiv.org/abs/2401.14487
    - Log-barrier: Constrained Deep Networks: Lagrangian Optimization via Log-Barrier Extensions
      (Kervadec et al., 2022), https://arxiv.org/abs/1904.04205
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch.nn import functional as F


def log_barrier(gap: torch.Tensor, sharpness: float = 5.0) -> torch.Tensor:
    r"""Computes the log-barrier extension of the constraint :math:`d = 0`, element by element.

    An equality is a pair of inequalities, :math:`d \le 0` and :math:`-d \le 0`, each with the
    extension :math:`\tilde\psi_t` of Kervadec et al. (equation 8). Their sum, less its constant, is

    .. math::

        \tilde\psi_t(d) + \tilde\psi_t(-d) - 2 \tilde\psi_t(0) = \frac{u - 1 - \log u}{t}, \quad
        u = \max(1, t^2 |d|):

    zero within a tolerance of :math:`1/t^2`, smooth beyond it, with a slope that tends to
    :math:`t`.

    Args:
        gap: The constrained value :math:`d`.
        sharpness: :math:`t`.

    Returns:
        A tensor of the same shape.

    Example:
        >>> gap = torch.tensor([0.0, 0.04, 1.0], requires_grad=True)
        >>> penalty = log_barrier(gap, sharpness=5.0)
        >>> penalty.detach()
        tensor([0.0000, 0.0000, 4.1562])
        >>> penalty.sum().backward()
    """
    excess = (sharpness**2 * gap.abs()).clamp_min(1)
    return (excess - 1 - excess.log()) / sharpness


def _l1(
    scores: torch.Tensor, proportions: torch.Tensor, reduction: str, _sharpness: float
) -> torch.Tensor:
    # Quadratic only below the smallest normal float, so this is L1. Unlike l1_loss, it is one
    # kernel forward and one backward, and keeps no copy of the difference.
    tiny = torch.finfo(scores.dtype).tiny
    return F.smooth_l1_loss(scores, proportions, beta=tiny, reduction=reduction)


def _l2(
    scores: torch.Tensor, proportions: torch.Tensor, reduction: str, _sharpness: float
) -> torch.Tensor:
    return F.mse_loss(scores, proportions, reduction=reduction)


def _log_barrier(
    scores: torch.Tensor, proportions: torch.Tensor, reduction: str, sharpness: float
) -> torch.Tensor:
    penalties = log_barrier(scores - proportions, sharpness)
    return penalties.mean() if reduction == "mean" else penalties


# P(|τ - l|), called with (scores, proportions, reduction, sharpness).
PENALTIES: Mapping[str, Callable[[torch.Tensor, torch.Tensor, str, float], torch.Tensor]] = {
    "l1": _l1,
    "l2": _l2,
    "log_barrier": _log_barrier,
}
# What is near the proportions, computed from logits.
SPACES: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "logits": lambda logits: logits,
    "softmax": lambda logits: logits.softmax(1),
}
