r"""Several raters of one image: calibration against the share of them that gives a voxel a class.

A probability of 0.6 is right where three of five raters mark the voxel. With the label :math:`y_{rv}`
of rater :math:`r` in voxel :math:`v`, and the share :math:`s_v` of the :math:`R` raters who give it
class :math:`c`, a bin of :math:`n` voxels has the accuracy

.. math::

    \frac{1}{n} \sum_v s_v = \frac{1}{R n} \sum_r \sum_v [y_{rv} = c], \qquad
    s_v = \frac{1}{R} \sum_r [y_{rv} = c]

The sums of all raters, added, are therefore the exact bins of the share. They remain whole numbers, in
which every voxel counts R times, once for each rater. ECE, NLL and all else that follows from them is
that of the share; the Brier score is the mean of those against each rater, and AURC a mean over R times
as many ranks.

A region depends on a rater's labels. That of the share holds the voxels that are in it by any of them:
"foreground" is what at least one rater marks. A voxel that one of them has not labeled does not count.

The raters themselves are measured alike: the share of the other raters, taken as a probability, against
each of them (:class:`HumanBins`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import reduce

import torch

from nacl_monai.errors import InputError
from nacl_monai.metrics.bins import CalibrationBins, VoxelSums
from nacl_monai.metrics.regions import RegionPieces
from nacl_monai.metrics.voxels import LabeledVoxels

#: Before the names of the raters' own bins in a file that holds the model's as well.
_HUMAN = "human_"
Masks = Sequence["torch.Tensor | None"]
# Regions that are cut into pieces together.
_AT_ONCE = 7


class HumanBins(CalibrationBins):
    """The bins of raters, each of whom is predicted by the share of the others."""


def check_raters(num_raters: int, rater: int | None = None) -> None:
    """Refuses a number of raters below 1, and a rater beyond that number.

    Raises:
        InputError: If it is so.
    """
    if num_raters < 1:
        raise InputError(f"num_raters: is {num_raters}; use 1 or more")
    if rater is not None and not 0 <= rater < num_raters:
        raise InputError(f"rater: is {rater}; choose from 0 to {num_raters - 1}, or None for all")


def of_raters(labels: torch.Tensor, num_raters: int) -> Sequence[torch.Tensor]:
    """Splits labels ``(B, raters, …)`` into ``(B, …)`` of each rater; one rater's stay as they are.

    Raises:
        InputError: If they are of other than so many raters.
    """
    if num_raters == 1:
        return [labels]
    if labels.ndim < 3 or labels.shape[1] != num_raters:
        raise InputError(
            f"labels: have the shape {tuple(labels.shape)}; pass (batch, raters, *spatial), with "
            f"{num_raters} raters"
        )
    return labels.unbind(1)


def masks_of_raters(
    mask: torch.Tensor | None, axes: int, num_raters: int
) -> Sequence[torch.Tensor | None]:
    """The mask of each rater: ``(B, raters, *spatial)``, of ``axes`` in all, or one for all of them."""
    if mask is None or num_raters == 1 or mask.ndim < axes or mask.shape[1] == 1:
        return [mask] * num_raters
    return of_raters(mask, num_raters)


def rater_sums(
    raters: Sequence[LabeledVoxels],
    rater: int | None,
    masks_of: Callable[[LabeledVoxels], Masks],
    collected: Callable[[RegionPieces], Sequence[VoxelSums]],
    num_bins: int,
) -> list[torch.Tensor]:
    """The tensors of all sums against the share of the raters, or against one of them.

    Args:
        raters: The same probabilities with the labels of each rater.
        rater: The one; None for the share.
        masks_of: The regions by the labels of a rater.
        collected: Kinds of sums over these.
        num_bins: Number of bins of the raters themselves, which are last if there are several raters.
    """
    together = _counted_by_all(raters)
    positions = range(len(raters)) if rater is None else [rater]
    against = [(together if rater is None else raters)[k] for k in positions]
    # The voxels of each region that are in it by any rater.
    masks = [_either(of_region) for of_region in zip(*map(masks_of, against), strict=True)]
    sums = _added(_tensors(collected, voxels, masks) for voxels in against)
    if len(raters) == 1:
        return sums
    return sums + _human_sums(together, positions, masks, num_bins)


def _human_sums(
    raters: Sequence[LabeledVoxels], positions: Iterable[int], masks: Masks, num_bins: int
) -> list[torch.Tensor]:
    """The tensors of `HumanBins`, of the raters at some positions."""

    def collected(pieces: RegionPieces) -> list[VoxelSums]:
        return [HumanBins.collect(pieces, num_bins)]

    human = (predicted_by_others(raters, k) for k in positions)
    return _added(_tensors(collected, voxels, [*map(voxels.within, masks)]) for voxels in human)


def _tensors(
    collected: Callable[[RegionPieces], Sequence[VoxelSums]], voxels: LabeledVoxels, masks: Masks
) -> list[torch.Tensor]:
    """The tensors of all sums, of a few regions at a time, since each doubles the pieces."""
    groups = [masks[k : k + _AT_ONCE] for k in range(0, len(masks), _AT_ONCE)]
    parts = [
        [tensor for sums in collected(RegionPieces(voxels, group)) for tensor in sums.tensors()]
        for group in groups
    ]
    return [torch.cat(same, 1) for same in zip(*parts, strict=True)]


def _added(parts: Iterable[Sequence[torch.Tensor]]) -> list[torch.Tensor]:
    """Tensors, each added up over the parts."""
    return [torch.as_tensor(sum(same)) for same in zip(*parts, strict=True)]


def _counted_by_all(raters: Sequence[LabeledVoxels]) -> list[LabeledVoxels]:
    """The same voxels, of which those count that count for every rater."""
    counted = [voxels.counted for voxels in raters if voxels.counted is not None]
    if not counted:
        return list(raters)
    return [replace(voxels, counted=reduce(torch.logical_and, counted)) for voxels in raters]


def _either(masks: Masks) -> torch.Tensor | None:
    known = [mask for mask in masks if mask is not None]
    return reduce(torch.logical_or, known) if len(known) == len(masks) else None


def predicted_by_others(raters: Sequence[LabeledVoxels], rater: int) -> LabeledVoxels:
    """The labels of one rater, and in place of probabilities the share of the others with each class.

    Example:
        >>> probs = torch.full((1, 2, 3), 0.5)
        >>> labels = [[0, 0, 1], [0, 1, 1], [1, 1, 1]]
        >>> raters = [LabeledVoxels(probs, torch.tensor([rater])) for rater in labels]
        >>> predicted_by_others(raters, 0).probs[0, 1].tolist()
        [0.5, 1.0, 1.0]
    """
    labels = [voxels.labels for k, voxels in enumerate(raters) if k != rater]
    votes = class_votes(labels, raters[rater].probs.shape[1]).movedim(0, 1)
    return replace(raters[rater], probs=votes / len(labels))


def class_votes(labels: Sequence[torch.Tensor], num_classes: int) -> torch.Tensor:
    """How many of several label maps ``(…)`` have each class, uint8, ``(num_classes, …)``."""
    votes = [
        sum((label_map == k).to(torch.uint8) for label_map in labels) for k in range(num_classes)
    ]
    return torch.stack([*map(torch.as_tensor, votes)])
