"""Spatially varying label smoothing (SVLS).

References:
    - Spatially Varying Label Smoothing: Capturing Uncertainty from Expert Annotations
      (Islam and Glocker, 2021), https://arxiv.org/abs/2104.05788
    - Its reading as a constraint: the paper's section 3.2, https://arxiv.org/abs/2401.14487
"""

from __future__ import annotations

import torch

from nacl_monai.losses.base import SegmentationLoss
from nacl_monai.losses.neighborhood import check_neighborhood, neighborhood_proportions
from nacl_monai.losses.voxels import checked_inputs, counted_voxels, voxel_mean


class SVLSLoss(SegmentationLoss):
    r"""Cross-entropy with labels smoothed over the neighborhood (equations 2 and 3 of the paper).

    .. math::

        \mathcal{L} = -\sum_k \tilde{y}_j^k \log \hat{p}_j^k, \quad
        \text{averaged over voxels } j

    where :math:`\tilde{y}` is :func:`neighborhood_proportions` with the ``gaussian`` prior. As its
    center weighs one half, this equals, up to a factor and a constant, cross-entropy plus the
    constraint :math:`\mathcal{D}_{KL}(\tau \| \hat{p})` on the neighbors' proportions
    :math:`\tau` (equations 6 and 7).

    Args:
        kernel_size: The window's extent along each axis, odd.
        sigma: Standard deviation of the Gaussian, in voxels.
        border: ``"replicate"`` as published, or ``"valid"``.
        ignore_index: Voxels of this label do not count, neither as neighbors.

    Shape:
        logits ``(B, C, *spatial)``, labels ``(B, 1, *spatial)`` or ``(B, *spatial)``; a scalar out.

    Raises:
        InputError: if a setting, shapes or label values do not fit.

    Note:
        MONAI and torch have no SVLS. The code published with the paper takes the kernel's entry
        ``[1, 1]`` for its center, which is true of 3×3 alone.
    """

    def __init__(
        self,
        *,
        kernel_size: int = 3,
        sigma: float = 2.0,
        border: str = "replicate",
        ignore_index: int | None = None,
    ) -> None:
        super().__init__()
        check_neighborhood(kernel_size, "gaussian", sigma, border)
        self.kernel_size = kernel_size
        self.sigma = sigma
        self.border = border
        self.ignore_index = ignore_index

    def terms(self, logits: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """``cross_entropy`` with the smoothed labels."""
        logits, labels = checked_inputs(logits, labels, self.ignore_index)
        smoothed = neighborhood_proportions(
            labels.unsqueeze(1),
            logits.shape[1],
            self.kernel_size,
            "gaussian",
            self.sigma,
            self.border,
            ignore_index=self.ignore_index,
            dtype=logits.dtype,
        )
        surprise = -(smoothed * logits.log_softmax(1)).sum(1, keepdim=True)
        return {"cross_entropy": voxel_mean(surprise, counted_voxels(labels, self.ignore_index))}

    def extra_repr(self) -> str:
        """The settings, as they are printed."""
        return (
            f"kernel_size={self.kernel_size}, sigma={self.sigma}, border={self.border!r}, "
            f"ignore_index={self.ignore_index}"
        )
