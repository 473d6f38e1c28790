"""What every metric here asks of its input; anything else is one clear error, never a number."""

from __future__ import annotations

import torch
from monai.data.meta_tensor import MetaTensor

from nacl_monai.errors import InputError

# Softmax rounds each probability once, so that the sum is off by about one unit in the last place.
_SUM_TOLERANCE = {torch.float16: 1e-2, torch.bfloat16: 1e-2}


def plain(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor without gradient and without MONAI's metadata, which slows each operation."""
    detached = tensor.detach()
    return detached.as_tensor() if isinstance(detached, MetaTensor) else detached


def without_channel(name: str, tensor: torch.Tensor, probs: torch.Tensor) -> torch.Tensor:
    """``(B, 1, *spatial)`` or ``(B, *spatial)`` as ``(B, *spatial)`` on the device of ``probs``.

    Raises:
        InputError: If the shape is neither of the two.
    """
    batch, _, *spatial = probs.shape
    if tensor.shape not in {(batch, 1, *spatial), (batch, *spatial)}:
        raise InputError(
            f"{name} of shape {tuple(tensor.shape)} do not fit probabilities of shape "
            f"{tuple(probs.shape)}: expected {(batch, 1, *spatial)} or {(batch, *spatial)}"
            + (" with class indices, not one-hot" if tensor.shape == probs.shape else "")
        )
    return plain(tensor).reshape(batch, *spatial).to(probs.device)


def checked(probs: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities ``(B, C, *spatial)`` and labels ``(B, *spatial)`` that may be trusted.

    Args:
        probs: Probabilities after softmax, any floating dtype.
        labels: Class indices, ``(B, 1, *spatial)`` or ``(B, *spatial)``, any integer or float
            dtype that holds whole numbers.

    Raises:
        InputError: For logits, NaN, probabilities that do not sum to 1, shapes that disagree, and
            labels that are no class of the network.
    """
    if probs.ndim < 3 or probs.shape[1] < 2 or not probs.is_floating_point():
        raise InputError(
            f"probabilities must be floating, (batch, two or more classes, *spatial); got "
            f"{probs.dtype} of shape {tuple(probs.shape)}"
        )
    probs = plain(probs)
    labels = without_channel("labels", labels, probs)
    if probs.numel() == 0:
        return probs, labels

    tolerance = _SUM_TOLERANCE.get(probs.dtype, 1e-3)
    low, high = (bound.item() for bound in torch.aminmax(probs))
    if low != low or high != high:
        raise InputError("probabilities contain NaN")
    if low < 0 or high > 1 + tolerance:
        raise InputError(
            f"probabilities must lie in [0, 1] but reach from {low:.4g} to {high:.4g}: "
            "apply softmax to logits first"
        )
    sum_dtype = torch.promote_types(probs.dtype, torch.float32)
    off = (probs.sum(1, dtype=sum_dtype) - 1).abs().max().item()
    if off > tolerance:
        raise InputError(
            f"probabilities must sum to 1 over the classes but are off by {off:.4g}: "
            "use softmax, not sigmoid"
        )

    low, high = (bound.item() for bound in torch.aminmax(labels))
    if not (low >= 0 and high < probs.shape[1]):  # also true for NaN
        raise InputError(
            f"labels reach from {low:g} to {high:g} but the probabilities have classes "
            f"0 to {probs.shape[1] - 1}"
        )
    if labels.is_floating_point() and (labels != labels.round()).any():
        raise InputError("labels must be whole numbers: resample label maps with nearest neighbor")
    return probs, labels


def predicted_classes(probs: torch.Tensor) -> torch.Tensor:
    """The most probable class of each voxel, ``(B, *spatial)``; the first one where several tie."""
    # On CPU `max` over a leading axis is twenty times as fast as `argmax`, with the same result.
    return probs.max(1).indices
