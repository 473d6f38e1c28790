"""Overlapping structures made of exclusive classes, as several challenges score them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

import torch
from monai.data.meta_tensor import MetaTensor

from nacl_monai.errors import InputError
from nacl_monai.tensors import without_metadata


def structure_masks(
    labels: torch.Tensor, structures: Mapping[str, Sequence[int]], dim: int = 0
) -> torch.Tensor:
    """One binary mask per structure: the union of its classes.

    Score the masks of prediction and label with MONAI's ``DiceMetric(include_background=True)`` and
    with :class:`BoundedHausdorffMetric`: a structure that the label lacks is NaN there, and a missed
    one scores Dice 0 and the largest distance.

    Args:
        labels: Class indices with a channel axis of length 1, ``(1, *spatial)``.
        structures: The classes of each structure, in the order of the resulting channels.
        dim: The channel axis: 0 for one case, 1 for a batch ``(B, 1, *spatial)``.

    Returns:
        Masks of 0 and 1, uint8, ``(len(structures), *spatial)``; metadata is kept.

    Raises:
        InputError: If the channel axis does not have the length 1, or there is no structure.

    Example:
        >>> labels = torch.tensor([[0, 1, 2, 4]])
        >>> structure_masks(labels, {"TC": (1, 4), "ET": (4,), "WT": (1, 2, 4)})
        tensor([[0, 1, 0, 1],
                [0, 0, 0, 1],
                [0, 1, 1, 1]], dtype=torch.uint8)
    """
    if not structures or labels.ndim <= dim or labels.shape[dim] != 1:
        raise InputError(
            f"structures: {dict(structures)} cannot be made of labels of shape {tuple(labels.shape)}; "
            f"give structures, and label maps with one channel at axis {dim}"
        )
    plain = without_metadata(labels)
    nowhere = torch.zeros_like(plain, dtype=torch.bool)
    masks = torch.cat(
        [
            reduce(torch.logical_or, (plain == value for value in classes), nowhere)
            for classes in structures.values()
        ],
        dim,
    ).to(torch.uint8)
    return MetaTensor(masks, meta=labels.meta) if isinstance(labels, MetaTensor) else masks
