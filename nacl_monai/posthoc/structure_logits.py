"""Logits and masks of structures that may overlap, one channel each, kept for repeated passes."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Sequence

import torch

from nacl_monai.errors import InputError
from nacl_monai.metrics.spacing import Spacing
from nacl_monai.posthoc.region_logits import RegionLogits, Voxels
from nacl_monai.tensors import without_metadata


class StructureLogits:
    """What a calibrator of sigmoids is fitted on: the voxels of each structure in its own region.

    A sigmoid of the logit l is a softmax of the logits 0, outside, and l, inside. Each structure is such
    a problem with two classes and regions of its own, as in `nacl_monai.metrics.CalibrationMetric`. Each
    structure of each patient weighs the same. Memory holds one volume; ``with`` removes what is on disk.

    Args:
        structures: Names of the channels.
        region: A name in :data:`nacl_monai.metrics.REGIONS`.
        width: The width of the region "boundary", in voxels, or in the unit of ``spacing``.
        spacing: Size of a voxel; None for voxels.

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
    ) -> None:
        if isinstance(structures, str) or not structures:
            raise InputError(f"structures: are {structures!r}; give a list of names, one a channel")
        self.structures = tuple(structures)
        self.region = region
        self.problems = [RegionLogits(region, width, spacing) for _ in self.structures]

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
    ) -> None:
        """Keeps of one volume the voxels of each structure's region.

        Args:
            logits: Before the sigmoid, ``(structures, *spatial)``.
            masks: 0 and 1, same shape.
            patient: Whose volume it is.
            mask: The voxels that count, ``(*spatial)``; all by default.

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
            problem.add(both, structure[None], patient, mask)

    def without(self, patients: Collection[str]) -> StructureLogits:
        """The same without the volumes of some patients, as long as this one is open."""
        others = copy.copy(self)
        others.problems = [problem.without(patients) for problem in self.problems]
        return others

    def __iter__(self) -> Iterator[Voxels]:
        """The voxels of all structures, as a softmax of two classes would have them."""
        for problem in self.problems:
            yield from problem
