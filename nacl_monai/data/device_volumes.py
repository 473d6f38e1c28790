"""Training volumes in a GPU's memory, so that neither a disk nor worker processes have to feed it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from tqdm import tqdm

from nacl_monai.counting import counted
from nacl_monai.data.cases import Case, image_files
from nacl_monai.data.volumes import CachedVolumes, Transform
from nacl_monai.errors import InputError, SettingError

#: The share of a GPU's free memory that volumes may take; network and gradients need the rest.
LARGEST_SHARE = 0.5
_MIB = 2**20


class DeviceVolumes(CachedVolumes):
    """Cached volumes that are copied to a GPU as a whole: images in float16, labels in a byte.

    Slices and patches are then cut on the GPU, and leave it no more. Their images are rounded to
    float16 and returned in float32. Where the volumes do not fit, or where ``device`` is not a GPU, they
    are read from disk as those of `CachedVolumes`, and rounded in the same way, so that the device
    changes no item.

    MONAI's ``CacheDataset`` with ``ToDeviced`` keeps volumes there, too, and would read and prepare
    every file anew in each run. Its ``ThreadDataLoader`` would make items beside the network's own
    random numbers, so that a resumed training would not be the same.

    Args:
        cases: See `CachedVolumes`.
        transforms: See `CachedVolumes`.
        cache_dir: See `CachedVolumes`.
        device: The network's device.
        description: See `CachedVolumes`.

    Raises:
        InputError: If `CachedVolumes` raises it, or if an image is too large for float16.
    """

    def __init__(
        self,
        cases: Sequence[Case] | None,
        transforms: Sequence[Transform],
        cache_dir: str | Path,
        device: torch.device | str,
        description: str = "Caching volumes",
    ) -> None:
        super().__init__(cases, transforms, cache_dir, description)
        device = torch.device(device)
        stored = list(map(super()._stored, range(len(self))))
        needed = sum(2 * image.numel() + label.numel() for image, label in stored)
        free = free_memory(device)
        self.on_device = free is not None and needed <= LARGEST_SHARE * free
        self._kept: list[tuple[torch.Tensor, torch.Tensor]] = []
        for case, (image, label) in zip(self.cases, stored, strict=True):
            rounded = _rounded(case, image)
            if self.on_device:
                self._kept.append((rounded.to(device), label.to(device, torch.uint8)))
        if idist.get_rank() == 0:
            tqdm.write(f"cache: {_placed(len(self), needed, free, device)}")

    def _stored(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self._kept[index] if self.on_device else super()._stored(index)

    def _item(self, index: int, image: torch.Tensor, label: torch.Tensor) -> dict[str, Any]:
        return super()._item(index, image.half(), label)


def training_volumes(
    cases: Sequence[Case] | None,
    transforms: Sequence[Transform],
    cache_dir: str | Path,
    cache: str = "disk",
    device: torch.device | str = "cpu",
    description: str = "Caching volumes",
) -> CachedVolumes:
    """The volumes that a network is trained on, wherever they are.

    Args:
        cases: See `CachedVolumes`.
        transforms: See `CachedVolumes`.
        cache_dir: See `CachedVolumes`.
        cache: "disk" for `CachedVolumes`, or "gpu" for `DeviceVolumes`.
        device: The network's device.
        description: See `CachedVolumes`.

    Raises:
        SettingError: If there is no such cache.
        InputError: If the volumes cannot be used.
    """
    caches: dict[str, Callable[..., CachedVolumes]] = {
        "disk": CachedVolumes,
        "gpu": partial(DeviceVolumes, device=device),
    }
    if cache not in caches:
        raise SettingError(f"cache {cache}: not known; choose from: {', '.join(caches)}")
    return caches[cache](cases, transforms, cache_dir, description=description)


def workers_for(volumes: CachedVolumes, num_workers: int) -> int:
    """How many processes make the items of ``volumes``: none where these are on a GPU."""
    return 0 if volumes.on_device else num_workers


def free_memory(device: torch.device) -> int | None:
    """The bytes that a GPU of CUDA or ROCm has free; None for any other device."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None


def _rounded(case: Case, image: torch.Tensor) -> torch.Tensor:
    """The image in float16.

    Raises:
        InputError: If a voxel is beyond its range.
    """
    rounded = image.half()
    if not rounded.isfinite().all():
        raise InputError(
            f"{image_files(case)[0]}: is up to {image.abs().max():g} behind the preprocessing, and "
            "float16 ends at 65504; scale it to smaller values, or choose --cache disk"
        )
    return rounded


def _placed(volumes: int, needed: int, free: int | None, device: torch.device) -> str:
    """Where volumes are, and why."""
    what = f"{counted(volumes, 'training volume')} in float16, {needed / _MIB:.1f} MiB"
    from_disk = "read from disk, and rounded alike"
    if free is None:
        return f"{what}: {device} is not a GPU, so {from_disk}"
    memory = f"{free / _MIB:.1f} MiB free on {device}"
    if needed > LARGEST_SHARE * free:
        return f"{what}: more than {LARGEST_SHARE:.0%} of {memory}, so {from_disk}"
    return f"{what}, of {memory}; there are no worker processes"
