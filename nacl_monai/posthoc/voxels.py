"""Logits and labels of a region's voxels, volume by volume, kept on disk for repeated passes."""

from __future__ import annotations

import copy
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch

from nacl_monai.errors import InputError
from nacl_monai.inference.records import MARGIN
from nacl_monai.metrics.regions import Spacing, border_distances, known_region, region_masks
from nacl_monai.metrics.voxels import LabeledVoxels, without_ignored
from nacl_monai.tensors import check_indices, check_outputs, without_channel, without_metadata

_T = TypeVar("_T")
#: The largest distance to the predicted border that is kept, in mm, or in voxels of unknown size.
FARTHEST = 8.0
#: The voxels around a region that a calibrator may see in a slice.
REACH = 4
_BLOCK = 16_384


class FitVoxels(NamedTuple):
    """The voxels of one volume in a region.

    Attributes:
        logits: ``(n, C)``, float32.
        labels: Class indices, ``(n,)``, int64.
        weight: The weight of each of these voxels. All voxels of a patient weigh 1 together.
        distances: To the nearest change of the predicted label, ``(n,)``, float32.
        known: What was computed of this volume, by the parameters, for the fits without other patients.
    """

    logits: torch.Tensor
    labels: torch.Tensor
    weight: float
    distances: torch.Tensor = torch.empty(0)
    known: dict[Any, Any] | None = None

    def once(self, key: Any, compute: Callable[[], _T]) -> _T:
        """A result for this volume, computed once for each key."""
        known: dict[Any, _T] = {} if self.known is None else self.known
        if key not in known:
            known[key] = compute()
        return known[key]

    def blocks(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The logits, ``(C, n)``, float64, and the labels, some thousand voxels at a time.

        A block stays in the processor's cache, and with classes as rows a softmax runs along voxels;
        together they make a fit nine times as fast.
        """
        parts = (torch.split(part, _BLOCK) for part in (self.logits, self.labels))
        for logits, labels in zip(*parts, strict=True):
            yield logits.T.to(torch.float64, memory_format=torch.contiguous_format), labels

    def blocks_with_distances(
        self,
    ) -> Iterator[tuple[tuple[torch.Tensor, torch.Tensor], torch.Tensor]]:
        """The same, each with its voxels' distances, float64."""
        distances = (block.double() for block in torch.split(self.distances, _BLOCK))
        return zip(self.blocks(), distances, strict=True)


class Volume(NamedTuple):
    """The slices of one volume around a region, as a network of slices has seen them.

    Attributes:
        logits: ``(D, C, H, W)``, float32; slices run along the last axis of the volume.
        image: ``(D, M, H, W)``, float32.
        kept: The voxels in the region, ``(D, H, W)``, boolean.
        labels: Class indices of these, int64.
        weight: The weight of each of these.
    """

    logits: torch.Tensor
    image: torch.Tensor
    kept: torch.Tensor
    labels: torch.Tensor
    weight: float


class NoRoomError(InputError):
    """The folder of the voxels takes no more, which is not a fault of a case."""


class RegionLogits:
    """The voxels that a calibrator is fitted to: those of a region in the volumes that were added.

    Every pass reads one volume after the other from a temporary folder, so that memory holds one
    volume; ``with`` removes it. Each patient weighs the same, however many volumes or voxels
    are theirs; a patient without a voxel in the region does not count.

    Args:
        region: A name in :data:`nacl_monai.metrics.REGIONS`.
        width: The width of the region "boundary", in voxels, or in the unit of ``spacing``.
        spacing: Size of a voxel; None for voxels.
        margin: How far the region "near" reaches beyond what is predicted, in mm.
        folder: Where the temporary folder is; by default where the system has them.

    Raises:
        InputError: If the region is unknown.

    Example:
        >>> logits, labels = torch.tensor([[[0.0, 1.0]], [[2.0, 3.0]]]), torch.tensor([[[0, 1]]])
        >>> with RegionLogits("foreground") as region:
        ...     region.add(logits, labels, "patient001")
        ...     [(voxels.logits.tolist(), voxels.labels.tolist(), voxels.weight) for voxels in region]
        [([[1.0, 3.0]], [1], 1.0)]
    """

    def __init__(
        self,
        region: str = "all",
        width: float = 3.0,
        spacing: Spacing | None = None,
        margin: float = MARGIN,
        folder: Path | None = None,
    ) -> None:
        self.region = region
        self.margin = margin
        self.regions = {region: known_region(region)}
        self.width = width
        self.spacing = spacing
        self.voxels_of: Counter[str] = Counter()
        self._units: dict[str, str] = {}
        self._volumes: list[tuple[str, Path]] = []
        self._known: dict[Path, dict[Any, Any]] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="nacl-monai-", dir=folder)

    def __enter__(self) -> RegionLogits:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def add(
        self,
        logits: torch.Tensor,
        labels: torch.Tensor,
        patient: str,
        mask: torch.Tensor | None = None,
        image: torch.Tensor | None = None,
        ignore_index: int | None = None,
        voxel: Spacing | None = None,
    ) -> None:
        """Keeps the region's voxels of one volume.

        Args:
            logits: ``(C, *spatial)``.
            labels: Class indices, ``(1, *spatial)``.
            patient: Whose volume it is.
            mask: The voxels that count, ``(*spatial)``; all by default.
            image: ``(M, *spatial)``; only calibrators that see it need it.
            ignore_index: Voxels with this label do not count.
            voxel: The size of a voxel in mm, in which the margin is measured, and the distance to the
                predicted border; None where it is unknown, for voxels.

        Raises:
            InputError: If the logits are not finite, or the labels do not fit them.
            NoRoomError: If they cannot be kept.
        """
        logits = without_metadata(logits.detach())[None].float()
        check_outputs(logits)
        if not torch.isfinite(logits).all():
            raise InputError(
                f"logits of {patient}: hold NaN or infinity; look for the layer that made it"
            )
        indices = without_channel(labels.detach()[None], logits)
        indices, labeled = without_ignored(indices, ignore_index)
        check_indices(indices, logits.shape[1])
        indices = indices.long().to(logits.device)
        # The most probable class has the largest logit, so that regions need no probabilities.
        counted = None if labeled is None else labeled.to(logits.device)
        voxels = LabeledVoxels(logits, indices, counted)
        if mask is not None:
            voxels = replace(voxels, counted=voxels.within(mask[None].to(logits.device)))
        margin = self.margin, lambda: voxel
        kept = region_masks(self.regions, voxels, self.width, lambda: self.spacing, *margin)[0]
        chosen = ... if kept is None else kept
        flat = logits.movedim(1, -1)[chosen].reshape(-1, logits.shape[1])
        file = Path(self._folder.name) / f"{len(self._volumes)}.pt"
        prediction, sizes = logits.max(1)[1], None if voxel is None else [*map(float, voxel)]
        distances = border_distances(prediction, FARTHEST, sizes)[chosen].flatten()
        _save((flat.cpu(), indices[chosen].flatten().cpu(), distances.cpu()), file)
        self._units[patient] = "mm" if voxel is not None else "voxels"
        if image is not None:
            inside = torch.ones_like(indices[0], dtype=torch.bool) if kept is None else kept[0]
            parts = _around(logits[0], without_metadata(image), indices[0], inside)
            _save(parts, _whole(file))
        self._volumes.append((patient, file))
        self.voxels_of[patient] += len(flat)

    @property
    def patients(self) -> list[str]:
        """The sorted names of all patients that have a voxel in the region."""
        return sorted(patient for patient, voxels in self.voxels_of.items() if voxels)

    @property
    def unit(self) -> str:
        """The unit of distances to the predicted border, "mm" or "voxels".

        Raises:
            InputError: If the size of some patients' voxels is known and that of others is not.
        """
        units = {name: unit for name, unit in self._units.items() if name in self.voxels_of}
        if len({*units.values()}) > 1:
            unknown = min(name for name, unit in units.items() if unit == "voxels")
            raise InputError(
                f"spacing of {unknown}: is unknown, but that of others is known; give images that all "
                "know it, or choose another method"
            )
        return next(iter(units.values()))

    @property
    def count(self) -> int:
        """How many voxels there are."""
        return sum(self.voxels_of.values())

    def without(self, patients: Collection[str]) -> RegionLogits:
        """The same without the volumes of some patients, as long as this one is open."""
        rest = copy.copy(self)
        rest._volumes = [volume for volume in self._volumes if volume[0] not in patients]
        rest.voxels_of = Counter(
            {name: count for name, count in self.voxels_of.items() if name not in patients}
        )
        return rest

    def __iter__(self) -> Iterator[FitVoxels]:
        for patient, file in self._volumes:
            logits, labels, distances = torch.load(file, mmap=True)
            if len(labels):
                known = self._known.setdefault(file, {})
                yield FitVoxels(logits, labels, 1 / self.voxels_of[patient], distances, known)

    def volumes(self) -> Iterator[Volume]:
        """The volumes with a voxel in the region, where they were added with their images.

        Raises:
            InputError: If one was not.
        """
        for patient, file in self._volumes:
            if not _whole(file).is_file():
                raise InputError(
                    f"image of {patient}: is missing; add it, or choose another method"
                )
            logits, image, kept, labels = torch.load(_whole(file), mmap=True)
            if len(labels):
                yield Volume(logits, image, kept, labels, 1 / self.voxels_of[patient])


def _save(tensors: tuple[torch.Tensor, ...], file: Path) -> None:
    try:
        torch.save(tensors, file)
    except (OSError, RuntimeError) as error:  # torch raises the latter where a disk is full
        raise NoRoomError(
            f"{file.parent}: cannot be written, perhaps because a disk is full; free some space, or "
            "choose another folder"
        ) from error


def _whole(file: Path) -> Path:
    return file.with_suffix(".volume.pt")


def _around(
    logits: torch.Tensor, image: torch.Tensor, labels: torch.Tensor, kept: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Slices, cropped to the region and what is seen from it; see `Volume`."""
    places = kept.nonzero()
    low = (places.amin(0) - REACH).clamp(min=0).tolist() if len(places) else [0] * kept.ndim
    high = (places.amax(0) + REACH + 1).tolist() if len(places) else [0] * kept.ndim
    box = (slice(low[0], high[0]), slice(low[1], high[1]))
    parts = [logits.float(), image.float().to(logits.device)]
    sliced = [part[(slice(None), *box)].movedim(-1, 0) for part in parts]
    mask, of_voxels = (part[box].movedim(-1, 0) for part in (kept, labels))
    return tuple(part.contiguous().cpu() for part in (*sliced, mask, of_voxels[mask]))


class StructureLogits:
    """The voxels that a calibrator of sigmoids is fitted to: those of each structure in its own region.

    A sigmoid of the logit l is a softmax of the logits 0, outside, and l, inside. Each structure is such
    a problem with two classes and regions of its own, as in `nacl_monai.metrics.CalibrationMetric`. Each
    structure of each patient weighs the same. Memory holds one volume; ``with`` removes its files.

    Args:
        structures: Names of the channels.
        region: A name in :data:`nacl_monai.metrics.REGIONS`.
        width: The width of the region "boundary", in voxels, or in the unit of ``spacing``.
        spacing: Size of a voxel; None for voxels.
        margin: How far the region "near" reaches beyond what is predicted, in mm.
        folder: As in `RegionLogits`.

    Raises:
        InputError: If there is no structure, or the region is unknown.

    Example:
        >>> logits, masks = torch.tensor([[[2.0, -1.0]]]), torch.tensor([[[0, 1]]])
        >>> with StructureLogits(["WT"], "union") as structures:
        ...     structures.add(logits, masks, "patient001")
        ...     [(voxels.logits.tolist(), voxels.labels.tolist()) for voxels in structures]
        [([[0.0, 2.0], [0.0, -1.0]], [0, 1])]
    """

    def __init__(
        self,
        structures: Sequence[str],
        region: str = "all",
        width: float = 3.0,
        spacing: Spacing | None = None,
        margin: float = MARGIN,
        folder: Path | None = None,
    ) -> None:
        if isinstance(structures, str) or not structures:
            raise InputError(f"structures: are {structures!r}; give a list of names, one a channel")
        self.structures = tuple(structures)
        self.region = region
        how = region, width, spacing, margin, folder
        self.problems = [RegionLogits(*how) for _ in self.structures]

    def __enter__(self) -> StructureLogits:
        return self

    def __exit__(self, *arguments: object) -> None:
        for problem in self.problems:
            problem.__exit__(*arguments)

    def add(
        self,
        logits: torch.Tensor,
        masks: torch.Tensor,
        patient: str,
        mask: torch.Tensor | None = None,
        voxel: Spacing | None = None,
    ) -> None:
        """Keeps of one volume the voxels of each structure's region.

        Args:
            logits: Before the sigmoid, ``(structures, *spatial)``.
            masks: 0 and 1, same shape.
            patient: Whose volume it is.
            mask: The voxels that count, ``(*spatial)``; all by default.
            voxel: The size of a voxel in mm; None where it is unknown, for voxels.

        Raises:
            InputError: If the logits are not finite, the masks do not fit them or are not binary, or if
                they are one-hot, as the labels of a softmax are.
        """
        logits, masks = without_metadata(logits.detach()), without_metadata(masks.detach())
        if logits.shape != masks.shape or len(logits) != len(self.structures):
            raise InputError(
                f"logits of {patient}: have the shape {tuple(logits.shape)} and masks "
                f"{tuple(masks.shape)}; pass (structures, *spatial) for both, with "
                f"{len(self.structures)} structures ({', '.join(self.structures)})"
            )
        if not ((masks == 0) | (masks == 1)).all():
            raise InputError(
                f"masks of {patient}: hold other values; give one mask of 0 and 1 per structure"
            )
        if not torch.isfinite(logits).all():  # before any structure keeps something
            raise InputError(
                f"logits of {patient}: hold NaN or infinity; look for the layer that made it"
            )
        if len(masks) > 1 and (masks.sum(0) == 1).all():
            raise InputError(
                f"masks of {patient}: are one-hot, so that the channels are exclusive classes; fit "
                "these with RegionLogits and fit_method, or leave out the background"
            )
        for problem, inside, structure in zip(self.problems, logits, masks, strict=True):
            both = torch.stack([torch.zeros_like(inside), inside])
            problem.add(both, structure[None], patient, mask, voxel=voxel)

    @property
    def patients(self) -> list[str]:
        """The sorted names of all patients that have a voxel in the region of a structure."""
        return sorted({name for problem in self.problems for name in problem.patients})

    @property
    def count(self) -> int:
        """How many voxels there are in the regions of all structures."""
        return sum(problem.count for problem in self.problems)

    def without(self, patients: Collection[str]) -> StructureLogits:
        """The same without the volumes of some patients, as long as this one is open."""
        rest = copy.copy(self)
        rest.problems = [problem.without(patients) for problem in self.problems]
        return rest

    def __iter__(self) -> Iterator[FitVoxels]:
        """The voxels of all structures, as a softmax of two classes would have them."""
        for problem in self.problems:
            yield from problem
