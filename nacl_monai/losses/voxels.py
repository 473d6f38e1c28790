"""What a loss is given, made plain: shapes and values checked, and which voxels count."""

from __future__ import annotations

import torch
from monai.data.meta_tensor import MetaTensor

from nacl_monai.errors import InputError


def plain_inputs(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Plain tensors of the shapes and dtypes that every loss computes with.

    Args:
        logits: ``(B, C, *spatial)``; half precision becomes float32, in which losses are computed.
        labels: ``(B, 1, *spatial)`` or ``(B, *spatial)``, any dtype.

    Returns:
        Logits ``(B, C, *spatial)`` and labels ``(B, *spatial)``, int64.

    Raises:
        InputError: if there are fewer than two classes, or the shapes do not fit each other.
    """
    logits, labels = (
        tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor
        for tensor in (logits, labels)
    )
    if logits.ndim < 3 or logits.shape[1] < 2:
        raise InputError(
            f"logits have the shape {tuple(logits.shape)}; "
            "expected (batch, classes, *spatial) with at least 2 classes"
        )
    batch, _, *spatial = logits.shape
    if labels.shape == (batch, 1, *spatial):
        labels = labels.squeeze(1)
    if labels.shape != (batch, *spatial):
        raise InputError(
            f"labels have the shape {tuple(labels.shape)}, but logits {tuple(logits.shape)} need "
            f"{(batch, 1, *spatial)} or {(batch, *spatial)}: class indices, not one-hot"
        )
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    return logits, labels.long()


def checked_inputs(
    logits: torch.Tensor, labels: torch.Tensor, ignore_index: int | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """:func:`plain_inputs` of labels whose values are checked, too.

    The value check waits for the device, therefore it is left out of compiled graphs.

    Raises:
        InputError: if a label is neither a class of the logits nor ``ignore_index``, or is no whole
            number, as after a linear interpolation.
    """
    plain, indices = plain_inputs(logits, labels)
    if torch.compiler.is_compiling():
        return plain, indices
    if labels.is_floating_point():
        values = labels.reshape(indices.shape)
        broken = values != indices
        if broken.any():
            raise InputError(
                f"labels hold {values[broken][0].item():g}, which is no class index; "
                "resample labels with mode 'nearest'"
            )
    counted = counted_voxels(indices, ignore_index)
    bounds = indices if counted is None else indices.where(counted.squeeze(1), 0)
    for value in torch.stack(bounds.aminmax()).tolist():
        if not 0 <= value < plain.shape[1]:
            raise InputError(
                f"labels hold {value}, but logits have {plain.shape[1]} classes "
                f"(0 to {plain.shape[1] - 1}); map the labels, or set ignore_index to {value}"
            )
    return plain, indices


def counted_voxels(labels: torch.Tensor, ignore_index: int | None) -> torch.Tensor | None:
    """The mask ``(B, 1, *spatial)`` of the voxels that are not ignored; None if all count."""
    return None if ignore_index is None else (labels != ignore_index).unsqueeze(1)


def voxel_mean(values: torch.Tensor, counted: torch.Tensor | None) -> torch.Tensor:
    """The mean of ``values`` ``(B, K, *spatial)`` over channels and counted voxels.

    Zero, with zero gradient, if no voxel counts: a patch without annotation must not end a training
    by NaN, as a mean over nothing would.
    """
    if counted is None:
        return values.mean()
    total = torch.where(counted, values, 0).sum()
    return total / (counted.sum() * values.shape[1]).clamp_min(1)
