"""The 3-D patches of cached volumes that networks train on, half of them where the classes are."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nacl_monai.data.cases import image_files
from nacl_monai.data.volumes import CachedVolumes, Pieces, SliceDataset, Transform
from nacl_monai.errors import InputError

#: Every network of the menu takes multiples of it, so that no patch need be larger by as much.
_MULTIPLE = 32


class PatchDataset(Pieces):
    """Random patches of ``volumes``, of which a share is centered on the classes; see `Pieces`.

    A patch that is to show a class is centered on a voxel of it, as far as it then lies within the
    volume: every class of the volume's label but the background is as probable as any other, and so is
    every voxel of the class. The other patches are anywhere within the volume. MONAI's
    ``RandCropByLabelClasses`` draws in the same way, but from a whole volume in memory; here a patch
    costs the pages that it covers, and those of one slice of the label.

    Args:
        volumes: The volumes to cut.
        patch: Height, width and depth of every item.
        transform: Applied to every patch when it is drawn, for instance random augmentation.
        per_volume: Patches of each volume in an epoch; None for as many as cover its voxels once, so
            that an epoch sees as many voxels as there are, like one of slices.
        class_centered: The probability that a patch is centered on a class.
        ignore_index: The label of voxels that nobody labeled, which is not a class; None where all are.

    Raises:
        InputError: If along an axis a patch 32 voxels smaller would hold every volume.
    """

    def __init__(
        self,
        volumes: CachedVolumes,
        patch: Sequence[int],
        transform: Transform | None = None,
        per_volume: int | None = None,
        class_centered: float = 0.5,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__(volumes, patch, transform)
        self.class_centered = class_centered
        self.ignore_index = ignore_index
        self._sizes = [volumes.size(index) for index in range(len(volumes))]
        check_patch(volumes, self._sizes, self.size)
        self._volumes = [
            volume
            for volume, size in enumerate(self._sizes)
            for _ in range(per_volume or math.ceil(math.prod(size) / math.prod(patch)))
        ]

    def __len__(self) -> int:
        return len(self._volumes)

    def __getitem__(self, index: int) -> dict[str, Any]:
        volume = self._volumes[index]
        entropy = None if self.seed is None else [self.seed, index]
        corner = self._corner(volume, np.random.default_rng(entropy))
        return self.finished(self.volumes.patch(volume, corner, self.size), index)

    def _corner(self, volume: int, random: np.random.Generator) -> list[int]:
        """Where a patch begins."""
        beyond = [max(n - m, 0) for n, m in zip(self._sizes[volume], self.size, strict=True)]
        labels = self.volumes.classes[volume].tolist()
        classes = [label for label in labels if label not in (0, self.ignore_index)]
        if not classes or random.random() >= self.class_centered:
            return [int(random.integers(last + 1)) for last in beyond]
        center = self._voxel(volume, int(random.choice(classes)), random)
        corner = (at - m // 2 for at, m in zip(center, self.size, strict=True))
        return [min(max(first, 0), last) for first, last in zip(corner, beyond, strict=True)]

    def _voxel(self, volume: int, label: int, random: np.random.Generator) -> tuple[int, int, int]:
        """Where a voxel of a class is, each as probable as any other."""
        number = int(self.volumes.voxels[volume][:, label].sum())
        return self.volumes.voxel(volume, label, int(random.integers(number)))


def slices_or_patches(
    volumes: CachedVolumes,
    window: Sequence[int],
    transform: Callable[[Any], Any] | None = None,
    discard_empty: bool = False,
    per_volume: int | None = None,
    class_centered: float = 0.5,
    ignore_index: int | None = None,
) -> SliceDataset | PatchDataset:
    """What a network trains on: slices if its window has two sides, patches if it has three.

    Args:
        volumes: The volumes to cut.
        window: The size of every item.
        transform: Applied to every item when it is drawn.
        discard_empty: See `SliceDataset`.
        per_volume: See `PatchDataset`.
        class_centered: See `PatchDataset`.
        ignore_index: See `PatchDataset`.

    Raises:
        InputError: If `SliceDataset` or `PatchDataset` would raise it.
    """
    if len(window) == 2:
        return SliceDataset(volumes, window, transform, discard_empty)
    return PatchDataset(volumes, window, transform, per_volume, class_centered, ignore_index)


def check_patch(
    volumes: CachedVolumes, sizes: Sequence[Sequence[int]], patch: Sequence[int]
) -> None:
    """Checks that patches do not reach far beyond all volumes, where they would be zeros.

    Raises:
        InputError: If along an axis a patch 32 voxels smaller would hold every volume.
    """
    longest = [max(along) for along in zip(*sizes, strict=True)]
    enough = [_MULTIPLE * math.ceil(n / _MULTIPLE) for n in longest]
    fitting = [min(pair) for pair in zip(patch, enough, strict=True)]
    for axis, (length, least) in enumerate(zip(patch, fitting, strict=True)):
        if length > least:
            largest = [size[axis] for size in sizes].index(longest[axis])
            raise InputError(
                f"{image_files(volumes.cases[largest])[0]}: the longest volume along axis {axis} has "
                f"{longest[axis]} voxels, and a patch {length}; choose a smaller one: "
                f"--patch {str(fitting).replace(' ', '')}"
            )
