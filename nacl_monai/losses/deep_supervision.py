"""One adapter for networks that return several outputs while they train.

References:
    - Deeply-Supervised Nets (Lee et al., 2015), https://arxiv.org/abs/1409.5185
    - nnU-Net (Isensee et al., 2021), whose weights are the default,
      https://doi.org/10.1038/s41592-020-01008-z
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from nacl_monai.errors import InputError
from nacl_monai.losses.base import SegmentationLoss
from nacl_monai.losses.composed import needs_image
from nacl_monai.tensors import without_metadata

Outputs = torch.Tensor | Sequence[torch.Tensor]


class DeepSupervisionLoss(SegmentationLoss):
    r"""The weighted sum of a loss over all outputs of a deeply supervised network.

    .. math::

        \mathcal{L} = \sum_h w_h \, \mathcal{L}(l_h, y_h), \quad
        w_h = \frac{2^{-h}}{\sum_i 2^{-i}} \text{ by default},

    where :math:`y_h` are the labels at the resolution of output :math:`h`, sampled by nearest
    neighbor. A single output, as in evaluation, is passed to the loss unchanged.

    Args:
        loss: Any loss of this package, or another that returns a scalar, which is then its only term.
        weights: One per output in the network's order, which differs among MONAI's networks; used as
            they are.

    Shape:
        A sequence of logits ``(B, C, *spatial)`` of any resolution, or DynUNet's heads stacked as
        ``(B, heads, C, *spatial)``; labels as for the loss; a scalar out.

    Raises:
        InputError: If the number of weights is not that of the outputs, or ``loss`` is a
            ``DeepSupervisionLoss``, whose weights would have no effect.

    Note:
        MONAI's ``DeepSupervisionLoss`` takes lists only, cannot resize integer labels or labels
        without a channel, halves the weights down to 1/16 without normalizing them, so that the
        loss grows with the number of outputs, and silently falls back to other weights if too few
        are given.

    Example:
        >>> from nacl_monai.losses import NACLLoss
        >>> loss = DeepSupervisionLoss(NACLLoss())
        >>> fine, coarse = (torch.zeros(1, 2, n, n, requires_grad=True) for n in (8, 4))
        >>> loss([fine, coarse], torch.zeros(1, 1, 8, 8)).backward()
        >>> loss.latest_terms
        {'cross_entropy': tensor(0.6931), 'penalty': tensor(0.0500)}
    """

    def __init__(self, loss: nn.Module, weights: Sequence[float] | None = None) -> None:
        if isinstance(loss, DeepSupervisionLoss):
            raise InputError(
                "loss: is a DeepSupervisionLoss within another; pass the loss inside it, and set "
                "--loss_function::weights"
            )
        super().__init__(weights=None if weights is None else list(weights))
        self.loss = loss

    def forward(self, logits: Outputs, labels: torch.Tensor) -> torch.Tensor:
        """The loss, a scalar; :attr:`latest_terms` are summed over the outputs."""
        return super().forward(logits, labels)  # type: ignore[arg-type]

    def terms(self, logits: Outputs, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """The loss's terms, each summed over the outputs."""
        if isinstance(logits, torch.Tensor):
            if not _stacked(logits, labels, needs_image(self.loss)):
                return _terms(self.loss, logits, labels)
            logits = logits.unbind(1)
        totals: dict[str, torch.Tensor] = {}
        for weight, head in zip(self._weights(len(logits)), logits, strict=True):
            for name, value in _terms(self.loss, head, _resized(labels, head)).items():
                totals[name] = weight * value + totals.get(name, 0)
        return totals

    def _weights(self, count: int) -> list[float]:
        weights: list[float] | None = self.settings["weights"]
        if weights is None:
            halves = [0.5**head for head in range(count)]
            return [half / sum(halves) for half in halves]
        if len(weights) != count:
            raise InputError(
                f"weights: has {len(weights)} values, but the network has {count} outputs; "
                "pass one weight per output"
            )
        return weights


def _terms(loss: nn.Module, logits: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
    return (
        loss.terms(logits, labels)
        if isinstance(loss, SegmentationLoss)
        else {"loss": loss(logits, labels)}
    )


def _stacked(logits: torch.Tensor, labels: torch.Tensor, with_image: bool) -> bool:
    """Whether axis 1 holds heads: labels tell ``(B, heads, C, H, W)`` from ``(B, C, D, H, W)``."""
    if with_image:  # labels surely have channels, which may be as many as there are classes
        return logits.ndim > labels.ndim
    sizes = (labels.shape[1:], labels.shape[2:])
    return logits.shape[2:] not in sizes and logits.shape[3:] in sizes


def _resized(labels: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
    size = head.shape[2:]
    if labels.ndim < head.ndim:
        labels = labels.unsqueeze(1)
    if labels.shape[2:] == size:
        return labels
    return F.interpolate(without_metadata(labels).float(), size=size, mode="nearest-exact")
