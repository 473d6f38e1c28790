"""One adapter for networks that return several outputs while they train.

References:
    - Deeply-Supervised Nets (Lee et al., 2015), https://arxiv.org/abs/1409.5185
    - nnU-Net (Isensee et al., 2021), whose weights are the default,
      https://doi.org/10.1038/s41592-020-01008-z
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nacl_monai.errors import InputError
from nacl_monai.losses.base import (
    FunctionModule,
    SegmentationLoss,
    as_segmentation_loss,
    needs_image,
)
from nacl_monai.losses.inputs import check_weights
from nacl_monai.tensors import has_metadata, valid_soft_labels, without_metadata

_Outputs = Tensor | Sequence[Tensor]


class DeepSupervisionLoss(SegmentationLoss):
    r"""The weighted sum of a loss over all outputs of a deeply supervised network.

    .. math::

        \mathcal{L} = \sum_h w_h \, \mathcal{L}(l_h, y_h), \quad
        w_h = \frac{2^{-h}}{\sum_i 2^{-i}} \text{ by default},

    where :math:`y_h` are the labels at the resolution of output :math:`h`, sampled by nearest
    neighbor, or given. A single output, as in evaluation, is passed to the loss unchanged.

    Args:
        loss: Any loss of this package, or another, see `ForeignLoss`.
        weights: One per output in the network's order, which differs among MONAI's networks; used as
            they are.

    Shape:
        A sequence of logits ``(B, C, *spatial)`` of any resolution, or DynUNet's heads stacked as
        ``(B, heads, C, *spatial)``; labels as for the loss, or a sequence of them, one per output as
        nnU-Net's loader makes it; a scalar out.

    Raises:
        InputError: If a weight is negative or all are 0, if the number of weights or of labels is not
            that of the outputs, if ``loss`` is a ``DeepSupervisionLoss``, whose weights would have no
            effect, if a width in mm has one ``spacing`` for outputs of several sizes, or if one-hot
            labels of stacked heads cannot be told from a label map.

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
        if weights is not None:
            check_weights("weights", weights)
        super().__init__(weights=None if weights is None else list(weights))
        self.loss = as_segmentation_loss(loss)

    def forward(self, logits: _Outputs, labels: _Outputs) -> Tensor:
        """The loss, a scalar; :attr:`latest_terms` are summed over the outputs."""
        return super().forward(logits, labels)  # type: ignore[arg-type]

    def terms(self, logits: _Outputs, labels: _Outputs) -> dict[str, Tensor]:
        """The loss's terms, each summed over the outputs."""
        if isinstance(logits, Tensor):
            with_image = needs_image(self.loss)
            if isinstance(labels, Tensor) and not _stacked(logits, labels, with_image):
                return self.loss.terms(logits, labels)
            logits = logits.unbind(1)
        _check_spacing(self.loss, logits)
        totals: dict[str, Tensor] = {}
        weights = self._weights(len(logits))
        for weight, head, label in zip(weights, logits, _labels_of(logits, labels), strict=True):
            for name, value in self.loss.terms(head, label).items():
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


def _check_spacing(loss: SegmentationLoss, heads: Sequence[Tensor]) -> None:
    """Refuses one size of voxels in mm for outputs whose voxels differ."""
    fixed = any(
        module.settings.get("spacing") is not None
        for module in loss.modules()
        if isinstance(module, FunctionModule)
    )
    if fixed and len({head.shape[2:] for head in heads}) > 1:
        raise InputError(
            "spacing: is that of one output, and the voxels of others are larger; leave it out, and "
            "pass labels that know their spacing, a MetaTensor"
        )


def _stacked(logits: Tensor, labels: Tensor, with_image: bool) -> bool:
    """Whether axis 1 holds heads: labels tell ``(B, heads, C, H, W)`` from ``(B, C, D, H, W)``."""
    if with_image:  # labels surely have channels, which may be as many as there are classes
        return logits.ndim > labels.ndim
    if logits.shape[2:] == labels.shape[1:]:
        return logits.ndim > 5 or (logits.ndim == 5 and _soft_of_heads(without_metadata(labels)))
    sizes = (labels.shape[1:], labels.shape[2:])
    return logits.shape[2:] != labels.shape[2:] and logits.shape[3:] in sizes


def _soft_of_heads(labels: Tensor) -> bool:
    """Whether ``(B, X, H, W)`` are soft labels of X classes, for stacked heads, not a map X deep.

    Fractions are soft labels. Whole numbers are a map, but for one that looks like one-hot labels, with
    one voxel of class 1 and else background in every line along its depth, which is refused.

    Raises:
        InputError: If labels may be either.
    """
    fractions, shares = (labels != labels.round()).any(), valid_soft_labels(labels).all()
    if torch.compiler.is_compiling():
        torch._assert_async(
            ~shares, "labels: cannot be told from a label map; pass a list of heads"
        )
        return False
    if shares and not fractions:
        raise InputError(
            f"labels: of shape {tuple(labels.shape)} may be one-hot for stacked outputs, or a label map "
            "of a volume; pass the outputs as a list, list(logits.unbind(1)), or labels with a channel"
        )
    return bool(fractions and shares)


def _labels_of(heads: _Outputs, labels: _Outputs) -> list[Tensor]:
    """The labels of each head."""
    if isinstance(labels, Tensor):
        return [_resized(labels, head) for head in heads]
    if len(labels) != len(heads):
        raise InputError(
            f"labels: are {len(labels)}, but the network has {len(heads)} outputs; pass labels for "
            "each, or one tensor"
        )
    return list(labels)


def _resized(labels: Tensor, head: Tensor) -> Tensor:
    size = head.shape[2:]
    if labels.ndim < head.ndim:
        labels = labels.unsqueeze(1)
    if labels.shape[2:] == size:
        return labels
    values = without_metadata(labels).to(torch.promote_types(labels.dtype, torch.float32))
    resized = F.interpolate(values, size=size, mode="nearest-exact")
    if not has_metadata(labels):
        return resized
    from monai.data import MetaTensor  # noqa: PLC0415 - takes seconds, and is there where one is given
    from monai.data.utils import to_affine_nd  # noqa: PLC0415
    from monai.transforms.utils import scale_affine  # noqa: PLC0415

    # A width in mm spans fewer of the larger voxels.
    scale = to_affine_nd(labels.affine.shape[-1] - 1, scale_affine(labels.shape[2:], size))
    return MetaTensor(resized, affine=labels.affine @ torch.as_tensor(scale).to(labels.affine))
