"""Spatially varying label smoothing (SVLS).

References:
    - Spatially Varying Label Smoothing: Capturing Uncertainty from Expert Annotations
      (Islam and Glocker, 2021), https://arxiv.org/abs/2104.05788
    - Its reading as a constraint: section 3.2 of https://arxiv.org/abs/2401.14487
"""

from __future__ import annotations

from torch import Tensor

from nacl_monai.losses.base import SegmentationLoss
from nacl_monai.losses.inputs import check_inputs, memberships, voxel_mean
from nacl_monai.losses.neighborhood import check_neighborhood, member_sums, proportions_of
from nacl_monai.words import in_our_words


@in_our_words
def svls_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    kernel_size: int = 3,
    sigma: float = 2.0,
    border: str = "replicate",
    ignore_index: int | None = None,
) -> Tensor:
    r"""Computes cross-entropy with labels smoothed over the neighborhood.

    .. math::

        \mathcal{L} = -\sum_k \tilde{y}_j^k \log \hat{p}_j^k, \quad
        \text{averaged over voxels } j

    These are equations 2 and 3 of the paper; :math:`\tilde{y}` is :func:`neighborhood_proportions`
    with the ``gaussian`` prior. As the center of its window weighs one half, the loss equals, up to
    a factor and a constant, cross-entropy plus the constraint
    :math:`\mathcal{D}_{KL}(\tau \| \hat{p})` on the proportions :math:`\tau` of the neighbors
    (equations 6 and 7).

    Args:
        kernel_size: The window's extent along each axis, odd.
        sigma: Standard deviation of the Gaussian, in voxels.
        border: ``"replicate"`` as published, or ``"valid"``.

    Raises:
        InputError: If a setting, shapes or label values do not fit.

    Note:
        MONAI and torch have no SVLS. The code published with the paper takes the kernel's entry
        ``[1, 1]`` for its center, which is right for 3×3 only.

    Example:
        >>> import torch
        >>> logits = torch.tensor([2.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 8, 8).requires_grad_()
        >>> labels = (torch.arange(8) < 4).expand(1, 1, 8, 8)
        >>> loss = svls_loss(logits, labels, kernel_size=3, sigma=2.0)
        >>> loss.detach()
        tensor(1.1269)
        >>> loss.backward()
    """
    logits, labels = check_inputs(logits, labels, ignore_index)
    members = memberships(labels, logits.shape[1], ignore_index)
    sums = member_sums(members, kernel_size, "gaussian", sigma, border, dtype=logits.dtype)
    smoothed = proportions_of(sums, logits.dtype)
    entropy = -(smoothed * logits.log_softmax(1)).sum(1, keepdim=True)
    return voxel_mean(entropy, labels, ignore_index)


class SVLSLoss(SegmentationLoss):
    """SVLS as a module, see :func:`svls_loss`.

    Raises:
        InputError: If a setting, shapes or label values do not fit.

    Example:
        >>> import torch
        >>> logits = torch.zeros(1, 4, 8, 8, requires_grad=True)
        >>> SVLSLoss(sigma=2.0)(logits, torch.ones(1, 1, 8, 8)).backward()
    """

    def __init__(
        self,
        *,
        kernel_size: int = 3,
        sigma: float = 2.0,
        border: str = "replicate",
        ignore_index: int | None = None,
    ) -> None:
        check_neighborhood(kernel_size, "gaussian", sigma, border)
        super().__init__(
            kernel_size=kernel_size, sigma=sigma, border=border, ignore_index=ignore_index
        )

    def terms(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """``cross_entropy`` with the smoothed labels."""
        return {"cross_entropy": svls_loss(logits, labels, **self.settings)}
