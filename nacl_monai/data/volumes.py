"""Preprocessed volumes on disk, and the slices and patches of them that networks train on.

Every case is preprocessed once and kept as one NumPy array, ``(D, C + 1, H, W)`` float32 with the label
as the last channel, so that a slice is one contiguous piece of a file. Four small arrays follow in the
same file: the label's affine, which slices are empty, how many voxels of each class each slice has, and
the fingerprints of the voxels on disk; a checksum ends it. Reading goes through
a memory map: a slice or a patch costs its own pages, the operating system keeps what is used often, and
the process does not grow with the number of cases.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import pickle
import zlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from types import FunctionType
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
from nacl_monai.data.augmentation import seeded
from nacl_monai.data.cases import LabeledCase, image_files
from nacl_monai.data.faults import check_not_repeated
from nacl_monai.data.loading import check_preprocessed, check_slice_size, scaling_intensities
from nacl_monai.errors import InputError, print_line
from nacl_monai.files import atomic_path, remove_partial_files, stamp
from nacl_monai.progress import progress_bar
from nacl_monai.sources import source_files

Transform = Callable[[Any], Any]
#: Every network of the menu takes patches of multiples of it.
_MULTIPLE = 32
_CHUNK = 2**20
_SUM = 8  # hexadecimal digits of a CRC-32 at the end of a file


class CachedVolumes(Dataset[dict[str, Any]]):
    """Whole volumes, preprocessed when this object is made and memory-mapped from then on.

    A cache file is named after what it holds: the case's files with their sizes and times of change,
    the transforms with their parameters and the source of their modules (`source_hash`), and MONAI's
    version. Any change of these makes another file, so runs can share a folder, and interrupted caching
    resumes where it stopped. Where a transform reads files of its own, remove the folder when they
    change. A file whose checksum is wrong is made anew.

    Args:
        cases: As found by `nacl_monai.data.layouts`; None is not a case.
        transforms: Deterministic transforms that read a case and end with ``image`` ``(C, H, W, D)``
            and ``label`` ``(1, H, W, D)``, slices along the last axis.
        cache_dir: Folder for the files; made if missing.
        description: Shown beside the progress bar.
        may_be_empty: Whether it is not a fault to have no cases, as where a split by hand tests nobody.

    Attributes:
        cases: As given.
        empty: For each volume, which of its slices show nothing: ``(D,)`` bool, true where every
            channel of the image is constant, as above and below a skull-stripped brain.
        voxels: For each volume, how many voxels of each class each of its slices has:
            ``(D, K)`` int64, where the label's largest class is K − 1.
        classes: For each volume, the indices of the classes that its label holds, in order.
        fingerprints: For each volume, hashes of the voxels on disk of its image and its label
            (`nacl_monai.data.LoadCase`); empty where another transform read them.

    Item ``i`` is ``{"case": …, "patient": …, "image": (C, H, W, D) float32,
    "label": (1, H, W, D) uint8}``; the label knows its affine, and with it the size of a voxel.

    Raises:
        InputError: If there are no cases, or a transform refuses one; before the first item is read.
    """

    def __init__(
        self,
        cases: Sequence[LabeledCase] | None,
        transforms: Sequence[Transform],
        cache_dir: str | Path,
        description: str = "Caching volumes",
        may_be_empty: bool = False,
    ) -> None:
        if not cases and not may_be_empty:
            raise InputError("cases: no cases to load; check the split of the dataset")
        self.cases = list(cases or ())
        self.cache_dir = Path(cache_dir)
        preprocessing = transforms_hash(transforms)
        self._files = [self.cache_dir / f"{_key(case, preprocessing)}.npy" for case in self.cases]
        self.empty: list[torch.Tensor] = []
        self.voxels: list[torch.Tensor] = []
        self.fingerprints: list[list[str]] = []
        # A copy, since transforms change when used, and their state names the next cache.
        transform = Compose(deepcopy(list(transforms)))
        remove_partial_files(self.cache_dir)
        bar = progress_bar(self.cases, description=description, unit="volume")
        for case, file in zip(bar, self._files, strict=True):
            if not _is_whole(file):
                _write(case, transform, file)
            _, empty, voxels, fingerprints = _read_properties(file)
            self.empty.append(empty)
            self.voxels.append(voxels)
            self.fingerprints.append([bytes(mark).hex() for mark in fingerprints.numpy()])
        self.classes = [voxels.sum(0).nonzero()[:, 0] for voxels in self.voxels]

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = self._item(index, *(part.permute(1, 2, 3, 0) for part in self._stored(index)))
        # The label alone, since a network is slower on an image with metadata.
        item["label"] = MetaTensor(item["label"], affine=_read_properties(self._files[index])[0])
        return item

    def slice(self, index: int, position: int) -> dict[str, Any]:
        """Returns one slice of one volume: ``image`` ``(C, H, W)`` and ``label`` ``(1, H, W)``."""
        return self._item(index, *(part[position] for part in self._stored(index)))

    def size(self, index: int) -> tuple[int, int, int]:
        """Height, width and depth of one volume."""
        depth, _, height, width = self._stored(index)[0].shape
        return height, width, depth

    def patch(self, index: int, corner: Sequence[int], size: Sequence[int]) -> dict[str, Any]:
        """Returns a box of one volume: ``image`` ``(C, h, w, d)`` and ``label`` ``(1, h, w, d)``.

        Args:
            index: The volume's index.
            corner: The first row, column and slice.
            size: How many of each there are; what is beyond the volume is left out.
        """
        rows, columns, slices = (slice(a, a + n) for a, n in zip(corner, size, strict=True))
        boxes = (part[slices, :, rows, columns] for part in self._stored(index))
        return self._item(index, *(box.permute(1, 2, 3, 0).contiguous() for box in boxes))

    def voxel(self, index: int, label: int, number: int) -> tuple[int, int, int]:
        """Row, column and slice of the voxel ``number`` of a class; reads only the label of that slice.

        Args:
            index: The volume's index.
            label: The class's label.
            number: From 0, slice by slice.
        """
        until = self.voxels[index][:, label].cumsum(0)
        position = int(torch.searchsorted(until, number, right=True))
        plane = self._stored(index)[1][position, 0]
        places = (plane == label).nonzero()
        row, column = places[number - int(until[position])].tolist()  # from the last one backwards
        return row, column, position

    def _stored(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """A volume as it is kept: image ``(D, C, H, W)`` and label ``(D, 1, H, W)``."""
        # Copy-on-write, because torch holds no read-only memory; nothing writes to it.
        voxels = torch.from_numpy(np.load(self._files[index], mmap_mode="c"))
        return voxels[:, :-1], voxels[:, -1:]

    def _item(self, index: int, image: torch.Tensor, label: torch.Tensor) -> dict[str, Any]:
        case = self.cases[index]
        names: dict[str, Any] = {key: case[key] for key in ("case", "patient") if key in case}
        return {**names, "image": image.float(), "label": label.to(torch.uint8)}


def check_distinct(sets: Sequence[CachedVolumes]) -> None:
    """Checks that no two volumes, of whatever sets and patients, hold the same voxels.

    Args:
        sets: All volumes of a training.

    Raises:
        InputError: If two have the same image or the same label.
    """
    known: dict[str, str] = {}
    for volumes in sets:
        for case, fingerprints in zip(volumes.cases, volumes.fingerprints, strict=True):
            check_not_repeated(case, fingerprints, known)


class Pieces(Dataset[dict[str, Any]]):
    """Pieces of volumes of one size, each changed when it is drawn.

    Args:
        volumes: The volumes to cut.
        size: The size of every piece; smaller ones are padded with zeros on all sides, as MONAI's
            sliding-window inference pads them.
        transform: Applied to every piece, for instance random augmentation.

    Attributes:
        seed: Seed of all random numbers, which follow from it and the index of the piece
            (`nacl_monai.training.EpochSeed` sets it for every epoch); None leaves them to chance.
    """

    def __init__(
        self, volumes: CachedVolumes, size: Sequence[int], transform: Transform | None
    ) -> None:
        self.volumes = volumes
        self.transform = transform
        self.seed: int | None = None
        self.size = tuple(size)

    def finished(self, item: dict[str, Any], index: int) -> dict[str, Any]:
        """The piece of that index, padded and changed."""
        for key in ("image", "label"):
            # MONAI's SpatialPad does the same at many times the cost, for the history that it keeps.
            shape = item[key].shape[1:]
            missing = [m - n for m, n in zip(self.size, shape, strict=True)]
            sides = [side for n in reversed(missing) for side in (n // 2, n - n // 2)]
            item[key] = F.pad(item[key], sides)
        if self.transform is None:
            return item
        if self.seed is None:
            return self.transform(item)  # type: ignore[no-any-return]
        return seeded(self.transform, item, [self.seed, index])  # type: ignore[no-any-return]


class SliceDataset(Pieces):
    """The 2-D slices of ``volumes``, in any order and under any sampler; see `Pieces`.

    Args:
        volumes: The volumes to cut.
        spatial_size: Height and width of every item.
        transform: Applied to every slice when it is drawn, for instance random augmentation.
        discard_empty: Whether slices that show nothing are left out (`CachedVolumes.empty`).

    Raises:
        InputError: If a volume's slices are larger than ``spatial_size``.
    """

    def __init__(
        self,
        volumes: CachedVolumes,
        spatial_size: Sequence[int],
        transform: Transform | None = None,
        discard_empty: bool = False,
    ) -> None:
        super().__init__(volumes, spatial_size, transform)
        self._places = [
            (volume, position)
            for volume, empty in enumerate(volumes.empty)
            for position in range(len(empty))
            if not (discard_empty and empty[position])
        ]
        for index, case in enumerate(volumes.cases):
            check_slice_size(case, volumes.slice(index, 0)["label"].shape[1:], spatial_size)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.finished(self.volumes.slice(*self._places[index]), index)


class PatchDataset(Pieces):
    """Random patches of ``volumes``, of which a share is centered on the classes; see `Pieces`.

    A patch that is to show a class is centered on a voxel of it, as far as it is then within the
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
        ignore_index: The label of unlabeled voxels, which is not a class; None if all are labeled.

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
        self._check_size()
        self._volumes = [
            volume
            for volume, size in enumerate(self._sizes)
            for _ in range(per_volume or math.ceil(math.prod(size) / math.prod(patch)))
        ]

    def _check_size(self) -> None:
        """Refuses patches that reach far beyond all volumes, where they would be zeros."""
        longest = [max(along) for along in zip(*self._sizes, strict=True)]
        enough = [_MULTIPLE * math.ceil(n / _MULTIPLE) for n in longest]
        fitting = [min(pair) for pair in zip(self.size, enough, strict=True)]
        for axis, (length, least) in enumerate(zip(self.size, fitting, strict=True)):
            if length > least:
                largest = [size[axis] for size in self._sizes].index(longest[axis])
                file = image_files(self.volumes.cases[largest])[0]
                smaller = str(fitting).replace(" ", "")
                raise InputError(
                    f"{file}: the longest volume along axis {axis} has {longest[axis]} voxels, "
                    f"and a patch {length}; choose a smaller one: --patch {smaller}"
                )

    def __len__(self) -> int:
        return len(self._volumes)

    def __getitem__(self, index: int) -> dict[str, Any]:
        volume = self._volumes[index]
        entropy = None if self.seed is None else [self.seed, index]
        corner = self._corner(volume, np.random.default_rng(entropy))
        return self.finished(self.volumes.patch(volume, corner, self.size), index)

    def _corner(self, volume: int, random: np.random.Generator) -> list[int]:
        """The first voxel of a patch."""
        beyond = [max(n - m, 0) for n, m in zip(self._sizes[volume], self.size, strict=True)]
        labels = self.volumes.classes[volume].tolist()
        classes = [label for label in labels if label not in (0, self.ignore_index)]
        if not classes or random.random() >= self.class_centered:
            return [int(random.integers(last + 1)) for last in beyond]
        label = int(random.choice(classes))
        number = int(self.volumes.voxels[volume][:, label].sum())
        center = self.volumes.voxel(volume, label, int(random.integers(number)))
        corner = (at - m // 2 for at, m in zip(center, self.size, strict=True))
        return [min(max(first, 0), last) for first, last in zip(corner, beyond, strict=True)]


def slices_or_patches(
    volumes: CachedVolumes,
    window: Sequence[int],
    transform: Callable[[Any], Any] | None = None,
    discard_empty: bool = False,
    per_volume: int | None = None,
    class_centered: float = 0.5,
    ignore_index: int | None = None,
) -> SliceDataset | PatchDataset:
    """The training samples of a network: slices if its window has two sides, patches if it has three.

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


def _key(case: LabeledCase, preprocessing: str) -> str:
    files = [Path(file).absolute() for file in (*image_files(case), case["label"])]
    states = [(str(file), stamp(file)) for file in files]
    content = "voxels, affine, empty, voxels of classes, fingerprints"
    versions = [monai.__version__, nacl_monai.__version__, content]
    identity = json.dumps([states, preprocessing, *versions])
    return hashlib.sha256(identity.encode()).hexdigest()[:32]


def _write(case: LabeledCase, transform: Transform, file: Path) -> None:
    with scaling_intensities(image_files(case)[0]):
        volume: Mapping[Hashable, Any] = transform(dict(case))
    check_preprocessed(case, volume)
    image, label = (
        convert_to_tensor(volume[key], dtype=torch.float32, track_meta=False)
        for key in ("image", "label")
    )
    voxels = torch.cat([image, label]).permute(3, 0, 1, 2).contiguous()
    empty = (voxels[:, :-1].amin(dim=(2, 3)) == voxels[:, :-1].amax(dim=(2, 3))).all(dim=1)
    affine = MetaTensor(volume["label"]).affine
    counts = torch.zeros(len(voxels), int(label.max()) + 1, dtype=torch.int64)
    classes = label[0].permute(2, 0, 1).flatten(1).long()
    counts.scatter_add_(1, classes, torch.ones_like(classes))
    marks = [list(bytes.fromhex(mark)) for mark in volume.get("fingerprints", ())]
    fingerprints = torch.tensor(marks, dtype=torch.uint8)
    with atomic_path(file) as temporary:
        with temporary.open("wb") as stream:
            for array in (voxels, affine, empty, counts, fingerprints):
                np.save(stream, array.numpy())
        append_checksum(temporary)


def _read_properties(file: Path) -> list[torch.Tensor]:
    """The affine, which slices are empty, the voxels of each class by slice, and the fingerprints."""
    voxels = np.load(file, mmap_mode="r")
    with file.open("rb") as stream:
        stream.seek(voxels.offset + voxels.nbytes)
        return [torch.from_numpy(np.load(stream)) for _ in range(4)]


def append_checksum(file: Path) -> None:
    """Ends ``file`` with the checksum of its contents."""
    checksum = _checksum(file, file.stat().st_size)
    with file.open("ab") as stream:
        stream.write(checksum)


def _is_whole(file: Path) -> bool:
    """Tells whether ``file`` is there and ends with its checksum; one line says that it is damaged."""
    if not file.is_file():
        return False
    size = max(0, file.stat().st_size - _SUM)
    with file.open("rb") as stream:
        stream.seek(size)
        whole = stream.read() == _checksum(file, size)
    if not whole:
        print_line("warning", f"{file}: is damaged, and made anew")
    return whole


def transforms_hash(transforms: Sequence[Any]) -> str:
    """Names what transforms are: their parameters, and the source of their modules.

    Raises:
        InputError: If a parameter cannot be written down, such as a lambda.
    """
    try:
        return str(pickle_hashing(list(transforms)).decode()) + source_hash(list(transforms))
    except (AttributeError, TypeError, pickle.PicklingError) as error:
        raise InputError(
            f"preprocessing: nothing tells a step from another version of it ({error}); name a "
            "function instead of a lambda"
        ) from error


def source_hash(objects: Any) -> str:
    """Hashes the source of every module from which ``objects`` take a class or a function.

    That covers transforms that a user wrote, functions that a transform calls by name, and the user's
    modules that theirs import, however indirectly; but not files that a transform reads as it runs.

    Example:
        >>> from nacl_monai.data import LoadCase
        >>> source_hash(LoadCase([[0], [1]], 1)) == source_hash(LoadCase([[0]], 2))
        True
    """
    collector = _Modules(io.BytesIO())
    collector.dump(objects)
    content = hashlib.sha256()
    for file in sorted(source_files(collector.names)):
        content.update(Path(file).read_bytes())
    return content.hexdigest()


class _Modules(pickle.Pickler):
    """Notes the modules of all classes and functions on the way through an object."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self.names: set[str] = set()

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, type | FunctionType):
            self.names.add(obj.__module__)
        return NotImplemented


def _checksum(file: Path, size: int) -> bytes:
    """The checksum of the first ``size`` bytes."""
    checksum = 0
    with file.open("rb") as stream:
        while size > 0 and (part := stream.read(min(size, _CHUNK))):
            checksum, size = zlib.crc32(part, checksum), size - len(part)
    return f"{checksum:0{_SUM}x}".encode()
