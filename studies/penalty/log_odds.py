"""The penalty that NACL's text describes: *probabilities* near the shares of classes around a voxel."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nacl_monai.losses import neighborhood_proportions


class LogOddsLoss(nn.Module):
    r"""Cross-entropy + λ × the mean distance of log-odds from those of the shares.

    .. math::

        \frac{1}{K} \sum_k \left|\log\frac{p_k}{1 - p_k} - \log\frac{\tau_k}{1 - \tau_k}\right|,
        \quad \text{averaged over all voxels}

    Only where the window holds several classes; there, shares of 0 and 1 are held half a voxel away
    from these. The minimum of each term is :math:`p_k = \tau_k`.

    Args:
        penalty_weight: λ.
        kernel_size: Side of the window.
    """

    def __init__(self, penalty_weight: float = 0.1, kernel_size: int = 3) -> None:
        super().__init__()
        self.penalty_weight, self.kernel_size = penalty_weight, kernel_size

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits (B, C, *spatial), labels (B, 1, *spatial) or (B, *spatial); a scalar."""
        classes, axes = logits.shape[1], logits.ndim - 2
        shares = neighborhood_proportions(labels, classes, kernel_size=self.kernel_size)
        mixed = shares.amax(1) < 1
        shares = shares.clamp(0.5 / self.kernel_size**axes, 1 - 0.5 / self.kernel_size**axes)
        logits = logits.float()
        gaps = (_log_odds(logits) - torch.logit(shares)).abs().mean(1)
        labels = labels.reshape(mixed.shape).long()
        penalty = torch.where(mixed, gaps, 0).mean()
        return F.cross_entropy(logits, labels) + self.penalty_weight * penalty


def _log_odds(logits: Tensor) -> Tensor:
    r""":math:`l_k - \log \sum_{j \ne k} e^{l_j}`."""
    own = torch.eye(logits.shape[1], dtype=torch.bool, device=logits.device)
    rivals = logits.unsqueeze(1).expand(-1, logits.shape[1], *logits.shape[1:])
    hidden = own.reshape(1, *own.shape, *[1] * (logits.ndim - 2))
    return logits - rivals.masked_fill(hidden, -torch.inf).logsumexp(2)
