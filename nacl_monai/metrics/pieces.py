"""Regions that overlap, cut into pieces that do not, so that every voxel is looked at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from nacl_monai.metrics.voxels import LabeledVoxels, rounded_to_zero

# Neighbors tend to belong to the same bin, and an addition to a number has to wait for the one before.
# Four numbers in turn, which are summed in the end, take a CPU half the time.
LANES = 4
# Probabilities per chunk. On CPU a chunk's intermediate values stay in the cache; a GPU wants more
# work per kernel, and holds some thirty bytes for each probability.
_CHUNK = {"cpu": 2**17}
_CHUNK_ON_GPU = 2**24


class Chunk(NamedTuple):
    """Some of the voxels, n of them.

    Attributes:
        probs: ``(C, n)``.
        labels: ``(1, n)``, int64.
        confidences: The largest probabilities, ``(n,)``.
        prediction: Their classes, ``(1, n)``, int64.
        pieces: ``(n,)``, int32.
    """

    probs: torch.Tensor
    labels: torch.Tensor
    confidences: torch.Tensor
    prediction: torch.Tensor
    pieces: torch.Tensor


class RegionPieces:
    """The voxels of several regions, and for each voxel the piece that it belongs to.

    A piece is the set of a case's voxels that are in exactly the same regions. Foreground and union,
    for example, make four pieces of a case: the voxels in neither, in the foreground alone (there
    are none), in the union alone, and in both. Pieces do not overlap: a sum per piece costs one pass
    over the voxels, and the sum over a region is the sum over its pieces (:meth:`sum_regions`).

    Every piece is in fact four, its lanes, to which neighbors belong in turn. The place in the case
    alone decides on the lane, so that the sums of a case are the same to the bit in any batch.

    Args:
        voxels: From :func:`voxels.checked_voxels`.
        masks: One boolean mask per region, ``(B, *spatial)``; None for all voxels.

    Attributes:
        num_classes: The number of classes C.
        num_pieces: The number of pieces of all cases together.
        device: The device of the voxels.
        least: As in `LabeledVoxels`.
    """

    def __init__(self, voxels: LabeledVoxels, masks: Sequence[torch.Tensor | None]) -> None:
        probs, labels = voxels.probs, voxels.labels
        self._batch, self.num_classes = probs.shape[:2]
        self.device = probs.device
        least = torch.full((self.num_classes,), rounded_to_zero(probs.dtype), device=self.device)
        self.least = least if voxels.least is None else voxels.least
        self._probs = probs.flatten(2).movedim(1, 0).flatten(1)
        self._of_voxels = [labels, voxels.confidences, voxels.prediction]
        self._of_voxels = [tensor.flatten() for tensor in self._of_voxels]

        # The number of a piece within its case: its lane, and a bit above for each proper region.
        proper = [mask for mask in masks if mask is not None]
        numbers = torch.arange(2 ** len(proper), device=self.device)
        per_case = len(numbers) * LANES
        self.num_pieces = self._batch * per_case
        first = torch.arange(self._batch, dtype=torch.int32, device=self.device) * per_case
        lanes = torch.arange(labels[0].numel(), dtype=torch.int32, device=self.device) % LANES
        self._pieces = (first[:, None] + lanes).flatten()
        for bit, mask in enumerate(proper):
            self._pieces += mask.flatten().int() * (LANES << bit)
        bits = iter(range(len(proper)))
        self._pieces_of_region = [
            numbers >= 0 if mask is None else (numbers >> next(bits) & 1).bool() for mask in masks
        ]
        if len(proper) == len(masks):
            self._keep_only((self._pieces % per_case >= LANES).nonzero()[:, 0])

    def _keep_only(self, voxels: torch.Tensor) -> None:
        """Forgets all other voxels: what is in no region need not be looked at."""
        self._probs = self._probs[:, voxels]
        self._of_voxels = [tensor[voxels] for tensor in self._of_voxels]
        self._pieces = self._pieces[voxels]

    def chunks(self) -> Iterator[Chunk]:
        """Yields some voxels at a time, in their order."""
        size = max(1, _CHUNK.get(self.device.type, _CHUNK_ON_GPU) // self.num_classes)
        for start in range(0, self._pieces.numel(), size):
            chunk = slice(start, start + size)
            labels, confidences, prediction = (tensor[chunk] for tensor in self._of_voxels)
            yield Chunk(
                self._probs[:, chunk],
                labels[None].long(),
                confidences,
                prediction[None].long(),
                self._pieces[chunk],
            )

    def sum_regions(self, sums: torch.Tensor) -> torch.Tensor:
        """Adds sums per piece, ``(num_pieces, …)``, up to sums per region, ``(B, regions, …)``."""
        per_case = sums.view(self._batch, -1, LANES, *sums.shape[1:]).sum(2)
        return torch.stack([per_case[:, pieces].sum(1) for pieces in self._pieces_of_region], 1)
