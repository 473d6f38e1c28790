"""Regions that overlap, cut into pieces that do not, so that every voxel is looked at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

# Probabilities per chunk. On CPU a chunk's intermediate values stay in the cache; a GPU wants more
# work per kernel, and holds some thirty bytes for each probability.
_CHUNK = {"cpu": 2**17}
_CHUNK_ON_GPU = 2**24


class RegionPieces:
    """The voxels of several regions, and for each voxel the piece that it belongs to.

    A piece is the set of a case's voxels that lie in exactly the same regions. Foreground and union,
    for example, make four pieces of a case: the voxels in neither, in the foreground alone (there
    are none), in the union alone, and in both. Pieces do not overlap: a sum per piece costs one pass
    over the voxels, and the sum over a region is the sum over its pieces (:meth:`sum_regions`).

    Args:
        probs: Probabilities ``(B, C, *spatial)`` from :func:`voxels.checked_voxels`.
        labels: Class indices ``(B, *spatial)`` from the same function.
        masks: One boolean mask per region, ``(B, *spatial)``; None for all voxels.

    Attributes:
        num_classes: The number of classes C.
        num_pieces: The number of pieces of all cases together.
        device: The device of the voxels.
    """

    def __init__(
        self, probs: torch.Tensor, labels: torch.Tensor, masks: Sequence[torch.Tensor | None]
    ) -> None:
        self._batch, self.num_classes = probs.shape[:2]
        self.device = probs.device
        self._probs = probs.flatten(2).movedim(1, 0).flatten(1)
        self._labels = labels.flatten()

        # Bit b of a piece's number within its case says whether the piece lies in proper region b.
        proper = [mask for mask in masks if mask is not None]
        numbers = torch.arange(2 ** len(proper), device=self.device)
        self.num_pieces = self._batch * len(numbers)
        first = torch.arange(self._batch, dtype=torch.int32, device=self.device) * len(numbers)
        self._pieces = first.repeat_interleave(labels[0].numel())
        for bit, mask in enumerate(proper):
            self._pieces += mask.flatten().int() << bit

        bits = iter(range(len(proper)))
        self._pieces_of_region = [
            numbers >= 0 if mask is None else (numbers >> next(bits) & 1).bool() for mask in masks
        ]
        if len(proper) == len(masks):
            self._keep_only((self._pieces % len(numbers)).nonzero()[:, 0])

    def _keep_only(self, voxels: torch.Tensor) -> None:
        """Forgets all other voxels: what lies in no region need not be looked at."""
        self._probs = self._probs[:, voxels]
        self._labels = self._labels[voxels]
        self._pieces = self._pieces[voxels]

    def chunks(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Yields n voxels at a time: probabilities (C, n), labels (1, n) int64, pieces (n,) int32."""
        size = max(1, _CHUNK.get(self.device.type, _CHUNK_ON_GPU) // self.num_classes)
        for start in range(0, self._labels.numel(), size):
            chunk = slice(start, start + size)
            yield self._probs[:, chunk], self._labels[None, chunk].long(), self._pieces[chunk]

    def sum_regions(self, sums: torch.Tensor) -> torch.Tensor:
        """Adds sums per piece, ``(num_pieces, …)``, up to sums per region, ``(B, regions, …)``."""
        per_case = sums.view(self._batch, -1, *sums.shape[1:])
        return torch.stack([per_case[:, pieces].sum(1) for pieces in self._pieces_of_region], 1)
