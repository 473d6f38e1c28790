"""The forms in which probabilities and labels come, brought to one: tensors with a batch axis."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from nacl_monai.errors import InputError

#: Probabilities, labels or masks as users have them.
Voxels = torch.Tensor | npt.NDArray[Any]

_BYTES = 255


def as_tensor(voxels: Any) -> Any:
    """A NumPy array, or each of a list, as a tensor on its memory; anything else as it is."""
    if isinstance(voxels, (list, tuple)):
        return [as_tensor(one) for one in voxels]
    return torch.as_tensor(voxels) if isinstance(voxels, np.ndarray) else voxels


def batched(probs: torch.Tensor, voxels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A single case without batch axis with one; a batch as it is.

    Probabilities ``(C, *spatial)`` are a single case if only so they fit to labels ``(*spatial)``,
    ``(1, *spatial)`` or ``(C, *spatial)``. Where both readings fit, the first axis is the batch.

    Example:
        >>> probs, labels = batched(torch.rand(3, 8, 8, 4), torch.zeros(8, 8, 4))
        >>> tuple(probs.shape), tuple(labels.shape)
        ((1, 3, 8, 8, 4), (1, 8, 8, 4))
    """
    batch, _, *spatial = probs.shape
    fits_batch = voxels.shape in ((batch, *spatial), (batch, 1, *spatial))
    if voxels.shape == probs.shape:  # one-hot in either reading
        fits_batch = not (_one_per_voxel(voxels, 0) and not _one_per_voxel(voxels, 1))
        single = True
    else:
        single = voxels.shape in (probs.shape[1:], (1, *probs.shape[1:]))
    return (probs[None], voxels[None]) if single and not fits_batch else (probs, voxels)


def _one_per_voxel(labels: torch.Tensor, axis: int) -> bool:
    return bool((labels.sum(axis) == 1).all())


def dequantized(probs: torch.Tensor) -> tuple[torch.Tensor, float | None]:
    """Probabilities that were stored in a byte as numbers again, and how far off 1 they may sum.

    A byte holds ``round(255 p)``, so that each of C classes may be off by 1/510, and their sum by C/510.
    For any other dtype the second is None: what rounds it is known.

    Example:
        >>> dequantized(torch.tensor([[0], [51], [204]], dtype=torch.uint8))[0].T
        tensor([[0.0000, 0.2000, 0.8000]])
    """
    if probs.dtype != torch.uint8:
        return probs, None
    return probs.float() / _BYTES, probs.shape[1] / (2 * _BYTES) + 1e-5


def class_indices(labels: torch.Tensor, probs: torch.Tensor) -> torch.Tensor:
    """One-hot labels ``(B, C, *spatial)`` as class indices ``(B, *spatial)``; others as they are.

    Raises:
        InputError: If labels have a channel per class, but a voxel not exactly one class.
    """
    if labels.shape != probs.shape:
        return labels
    if not (((labels == 0) | (labels == 1)).all() and _one_per_voxel(labels, 1)):
        raise InputError(
            "labels: have a channel per class, but are not one-hot; a voxel has 1 in one channel and 0 "
            "in all others"
        )
    return labels.long().max(1).indices
