"""What follows from the probabilities of every voxel."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch


def label_map(probs: torch.Tensor) -> torch.Tensor:
    """The most probable class of every voxel, ``(1, *spatial)``, of ``probs`` ``(C, *spatial)``."""
    return probs.argmax(dim=0, keepdim=True)


def confidence_map(probs: torch.Tensor) -> torch.Tensor:
    """The largest probability, from 1/C to 1."""
    return probs.amax(dim=0, keepdim=True)


def entropy_map(probs: torch.Tensor) -> torch.Tensor:
    """The entropy −Σ p ln p / ln C, from 0, certain, to 1, all classes alike.

    Example:
        >>> entropy_map(torch.tensor([[0.5, 1.0], [0.5, 0.0]]))
        tensor([[1., 0.]])
    """
    entropy: torch.Tensor = torch.special.entr(probs).sum(dim=0, keepdim=True)
    return (entropy / math.log(len(probs))).clamp(max=1)


#: Every map that is saved of an image, as a function of its probabilities.
MAPS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "probabilities": lambda probs: probs,
    "label": label_map,
    "confidence": confidence_map,
    "entropy": entropy_map,
}
