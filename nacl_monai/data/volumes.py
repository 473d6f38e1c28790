"""Preprocessed volumes on disk, and the 2-D slices of them that networks train on.

Every volume is preprocessed once and kept as one NumPy array, ``(D, C + 1, H, W)`` float32 with the
label as the last channel, so that a slice is one contiguous piece of a file; the label's affine follows
in the same file, and what reads slices never looks so far. Reading goes through a
memory map: a slice costs its own pages, the operating system keeps what is used often, and the process
does not grow with the number of volumes.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Callable, Hashable, Mapping, Sequence
from copy import deepcopy
from itertools import accumulate
from pathlib import Path
from typing import Any

import monai
import numpy as np
import torch
from monai.data import MetaTensor
from monai.data.utils import pickle_hashing
from monai.transforms import Compose
from monai.utils import convert_to_tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

import nacl_monai
from nacl_monai.errors import InputError
from nacl_monai.files import atomic_path
from nacl_monai.progress import progress_bar

Transform = Callable[[Any], Any]


class CachedVolumes(Dataset[dict[str, Any]]):
    """Whole volumes, preprocessed when this object is made and memory-mapped from then on.

    A cache file is named by what it holds: the case's files with their sizes and times of change, the
    transforms with their parameters, and MONAI's version. Whatever changes makes another file, so
    runs can share a folder, an interrupted caching goes on where it stopped, and nothing is stale.

    Args:
        cases: As found by `nacl_monai.data.cases`.
        transforms: Deterministic transforms that read a case and end with ``image`` ``(C, H, W, D)``
            and ``label`` ``(1, H, W, D)``, slices along the last axis.
        cache_dir: Folder for the files; made if missing.
        description: Shown beside the progress bar.

    Item ``i`` is ``{"case": …, "patient": …, "image": (C, H, W, D) float32,
    "label": (1, H, W, D) uint8}``; the label knows its affine, and with it the size of a voxel.

    Raises:
        InputError: No cases, or what the transforms raise; before the first item is asked for.
    """

    def __init__(
        self,
        cases: Sequence[Mapping[str, str]],
        transforms: Sequence[Transform],
        cache_dir: str | Path,
        description: str = "Caching volumes",
    ) -> None:
        if not cases:
            raise InputError("there are no cases to load; check the split of the data set")
        self.cases = list(cases)
        self.cache_dir = Path(cache_dir)
        preprocessing = pickle_hashing(list(transforms)).decode()
        self._files = [self.cache_dir / f"{_key(case, preprocessing)}.npy" for case in self.cases]
        self.depths: list[int] = []
        # A copy, since transforms change when used, and their state names the next cache.
        transform = Compose(deepcopy(list(transforms)))
        bar = progress_bar(self.cases, description=description, unit="volume")
        for case, file in zip(bar, self._files, strict=True):
            if not file.is_file():
                _write(case, transform, file)
            self.depths.append(len(_read(file)))

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = self._item(index, _read(self._files[index]).permute(1, 2, 3, 0))
        # The label alone, since a network is slower on an image with metadata.
        item["label"] = MetaTensor(item["label"], affine=_read_affine(self._files[index]))
        return item

    def slice(self, index: int, position: int) -> dict[str, Any]:
        """Slice ``position`` of volume ``index``: ``image`` ``(C, H, W)``, ``label`` ``(1, H, W)``."""
        return self._item(index, _read(self._files[index])[position])

    def _item(self, index: int, stored: torch.Tensor) -> dict[str, Any]:
        case = self.cases[index]
        return {
            "case": case["case"],
            "patient": case["patient"],
            "image": stored[:-1],
            "label": stored[-1:].to(torch.uint8),
        }


class SliceDataset(Dataset[dict[str, Any]]):
    """All 2-D slices of ``volumes``, in any order and under any sampler.

    Args:
        volumes: The volumes to cut.
        spatial_size: Height and width of every item; smaller slices are padded with zeros on all
            sides, as MONAI's sliding-window inference pads them.
        transform: Applied to every slice when it is drawn; the place for random augmentation.

    Raises:
        InputError: A volume's slices are larger than ``spatial_size``.
    """

    def __init__(
        self,
        volumes: CachedVolumes,
        spatial_size: Sequence[int],
        transform: Transform | None = None,
    ) -> None:
        self.volumes = volumes
        self.transform = transform
        self.spatial_size = tuple(spatial_size)
        self._ends = list(accumulate(volumes.depths))
        _check_sizes(volumes, spatial_size)

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        volume = bisect_right(self._ends, index)
        position = index - (self._ends[volume] - self.volumes.depths[volume])
        item = self.volumes.slice(volume, position)
        for key in ("image", "label"):
            item[key] = self._padded(item[key])
        return item if self.transform is None else self.transform(item)

    def _padded(self, image: torch.Tensor) -> torch.Tensor:
        # MONAI's SpatialPad does the same at many times the cost, for the history that it keeps.
        height, width = (
            size - n for size, n in zip(self.spatial_size, image.shape[1:], strict=True)
        )
        return F.pad(image, (width // 2, width - width // 2, height // 2, height - height // 2))


def _key(case: Mapping[str, str], preprocessing: str) -> str:
    files = [Path(case[key]).absolute() for key in ("image", "label")]
    states = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    versions = [monai.__version__, nacl_monai.__version__, "voxels, affine"]
    identity = json.dumps([states, preprocessing, *versions])
    return hashlib.sha256(identity.encode()).hexdigest()[:32]


def _write(case: Mapping[str, str], transform: Transform, file: Path) -> None:
    volume: Mapping[Hashable, Any] = transform(dict(case))
    image, label = (
        convert_to_tensor(volume[key], dtype=torch.float32, track_meta=False)
        for key in ("image", "label")
    )
    voxels = torch.cat([image, label]).permute(3, 0, 1, 2).contiguous().numpy()
    affine = MetaTensor(volume["label"]).affine.numpy()
    with atomic_path(file) as temporary, temporary.open("wb") as stream:
        np.save(stream, voxels)
        np.save(stream, affine)


def _read(file: Path) -> torch.Tensor:
    # Copy-on-write, because torch holds no read-only memory; nothing writes to it.
    return torch.from_numpy(np.load(file, mmap_mode="c"))


def _read_affine(file: Path) -> torch.Tensor:
    voxels = np.load(file, mmap_mode="r")
    with file.open("rb") as stream:
        stream.seek(voxels.offset + voxels.nbytes)
        return torch.from_numpy(np.load(stream))


def _check_sizes(volumes: CachedVolumes, spatial_size: Sequence[int]) -> None:
    for index, case in enumerate(volumes.cases):
        height, width = volumes.slice(index, 0)["label"].shape[1:]
        if height > spatial_size[0] or width > spatial_size[1]:
            raise InputError(
                f"{case['image']}: its slices are {height}×{width}, larger than spatial_size "
                f"{spatial_size[0]}×{spatial_size[1]}; raise it: --spatial_size [{height},{width}] "
                "(rounded up to multiples of 16)"
            )
