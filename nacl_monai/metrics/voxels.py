"""Checked voxels, from which every metric starts."""

from __future__ import annotations

import torch

from nacl_monai.tensors import (
    check_labels,
    check_probabilities,
    without_channel,
    without_metadata,
)


def checked_voxels(probs: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities ``(B, C, *spatial)`` and labels ``(B, *spatial)`` that can be trusted.

    Both come without gradient and metadata, on the device of the probabilities.

    Args:
        probs: Probabilities after softmax, any floating dtype.
        labels: Class indices, ``(B, 1, *spatial)`` or ``(B, *spatial)``, any integer or float
            dtype that holds whole numbers.

    Raises:
        InputError: If the probabilities are logits, NaN or do not sum to 1, if the shapes disagree,
            or if a label is not a class of the network.
    """
    probs = without_metadata(probs.detach())
    check_probabilities(probs)
    labels = aligned("labels", labels, probs)
    check_labels(labels, probs.shape[1])
    return probs, labels


def aligned(name: str, tensor: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor:
    """Labels or a mask as ``(B, *spatial)``, without metadata, on the device of ``outputs``.

    Raises:
        InputError: If the shape is neither ``(B, 1, *spatial)`` nor ``(B, *spatial)``.
    """
    return without_channel(tensor.detach(), outputs, name).to(outputs.device)


def predicted_classes(probs: torch.Tensor) -> torch.Tensor:
    """The most probable class of each voxel, ``(B, *spatial)``; the first one if several tie."""
    # On CPU `max` over a leading axis is twenty times as fast as `argmax`, with the same result.
    return probs.max(1).indices
