"""Preprocessed volumes on disk, and the 2-D slices of them that networks train on.

Every volume is preprocessed once and kept as a file with the slices first, so that one slice is one
contiguous piece. Reading goes through a memory map: a slice costs its own pages, the operating system
keeps what is used often, and the process does not grow with the number of volumes.
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
import torch
from monai.data.utils import pickle_hashing
from monai.transforms import Compose, SpatialPad
from monai.utils import convert_to_tensor
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
    "label": (1, H, W, D) uint8}``.

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
        self._files = [self.cache_dir / f"{_key(case, preprocessing)}.pt" for case in self.cases]
        self.depths: list[int] = []
        # A copy, since transforms change when used, and their state names the next cache.
        transform = Compose(deepcopy(list(transforms)))
        bar = progress_bar(self.cases, description=description, unit="volume")
        for case, file in zip(bar, self._files, strict=True):
            if not file.is_file():
                _write(case, transform, file)
            self.depths.append(_read(file)["image"].shape[0])

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> dict[str, Any]:
        stored = _read(self._files[index])
        return {
            "case": self.cases[index]["case"],
            "patient": self.cases[index]["patient"],
            "image": stored["image"].permute(1, 2, 3, 0),
            "label": stored["label"].permute(1, 2, 3, 0),
        }

    def slice(self, index: int, position: int) -> dict[str, Any]:
        """Slice ``position`` of volume ``index``: ``image`` ``(C, H, W)``, ``label`` ``(1, H, W)``."""
        stored = _read(self._files[index])
        return {
            "case": self.cases[index]["case"],
            "image": stored["image"][position],
            "label": stored["label"][position],
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
        self._pad = SpatialPad(spatial_size)
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
            item[key] = convert_to_tensor(self._pad(item[key]), track_meta=False)
        return item if self.transform is None else self.transform(item)


def _key(case: Mapping[str, str], preprocessing: str) -> str:
    files = [Path(case[key]).absolute() for key in ("image", "label")]
    states = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    identity = json.dumps([states, preprocessing, monai.__version__, nacl_monai.__version__])
    return hashlib.sha256(identity.encode()).hexdigest()[:32]


def _write(case: Mapping[str, str], transform: Transform, file: Path) -> None:
    volume: Mapping[Hashable, Any] = transform(dict(case))
    # Plain tensors: MetaTensor's history is of no use here and cannot be read back safely.
    image, label = (
        convert_to_tensor(volume[key], track_meta=False).permute(3, 0, 1, 2).contiguous()
        for key in ("image", "label")
    )
    with atomic_path(file) as temporary:
        torch.save({"image": image.to(torch.float32), "label": label.to(torch.uint8)}, temporary)


def _read(file: Path) -> dict[str, torch.Tensor]:
    stored: dict[str, torch.Tensor] = torch.load(file, mmap=True, weights_only=True)
    return stored


def _check_sizes(volumes: CachedVolumes, spatial_size: Sequence[int]) -> None:
    for index, case in enumerate(volumes.cases):
        height, width = volumes.slice(index, 0)["label"].shape[1:]
        if height > spatial_size[0] or width > spatial_size[1]:
            raise InputError(
                f"{case['image']}: its slices are {height}×{width}, larger than spatial_size "
                f"{spatial_size[0]}×{spatial_size[1]}; raise it: --spatial_size [{height},{width}] "
                "(rounded up to multiples of 16)"
            )
