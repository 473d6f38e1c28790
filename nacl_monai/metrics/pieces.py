"""Overlapping regions as pieces that do not overlap, so that every voxel is looked at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

# Probabilities per step. On CPU a step's intermediate values stay in the cache; a GPU wants more
# work per kernel, and holds some thirty bytes for each probability.
_CHUNK = {"cpu": 2**17}
_CHUNK_ON_GPU = 2**24


class RegionPieces:
    """The voxels of several regions, each with the piece of its case that it belongs to.

    Piece ``p`` of a case holds the voxels that lie in just those regions whose bits are set in ``p``.
    What is summed per piece, such as bins, adds up to that of a region (:meth:`by_region`).

    Args:
        probs: Probabilities that were :func:`inputs.checked`, ``(B, C, *spatial)``.
        labels: Class indices, ``(B, *spatial)``, checked too.
        masks: A mask per region, ``(B, *spatial)``; None for all voxels.

    Attributes:
        classes: The number of classes C.
        number: The number of pieces of all cases together.
    """

    def __init__(
        self, probs: torch.Tensor, labels: torch.Tensor, masks: Sequence[torch.Tensor | None]
    ) -> None:
        self.batch, self.classes = probs.shape[:2]
        self.device = probs.device
        self._columns = probs.flatten(2).movedim(1, 0).flatten(1)
        self._truths = labels.flatten()
        partial = [mask for mask in masks if mask is not None]
        every = torch.arange(2 ** len(partial), device=self.device)
        first = torch.arange(self.batch, dtype=torch.int32, device=self.device) * len(every)
        self._pieces = first.repeat_interleave(labels[0].numel())
        for bit, mask in enumerate(partial):
            self._pieces += mask.flatten().int() << bit

        bits = iter(range(len(partial)))
        self._inside = [
            every >= 0 if mask is None else (every >> next(bits) & 1).bool() for mask in masks
        ]
        self.number = self.batch * len(every)
        if len(partial) == len(masks):  # what lies in no region need not be looked at
            inside = (self._pieces % len(every)).nonzero()[:, 0]
            self._columns = self._columns[:, inside]
            self._truths = self._truths[inside]
            self._pieces = self._pieces[inside]

    def steps(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Some n voxels at a time: probabilities (C, n), labels (1, n) int64, pieces (n,) int32."""
        step = max(1, _CHUNK.get(self.device.type, _CHUNK_ON_GPU) // self.classes)
        for start in range(0, self._truths.numel(), step):
            chunk = slice(start, start + step)
            yield self._columns[:, chunk], self._truths[None, chunk].long(), self._pieces[chunk]

    def by_region(self, sums: torch.Tensor) -> torch.Tensor:
        """Sums per piece ``(number, …)`` → sums per case and region ``(B, regions, …)``."""
        per_case = sums.view(self.batch, -1, *sums.shape[1:])
        return torch.stack([per_case[:, inside].sum(1) for inside in self._inside], 1)
