r"""The voxels over which a metric is computed: regions by name, bands near boundaries, and margins.

Distances are in voxels, in a spacing that is given, or in that of MONAI's metadata.

With the voxels :math:`S` of a structure and the center :math:`x_v` of voxel :math:`v`, those near it are

.. math::

    d(v) = \min_{u \in S} \lVert x_v - x_u \rVert, \qquad
    \mathrm{near}(m) = \{v : d(v) \le m\}

A margin is around what was predicted, so that it is a function of the image alone: probabilities that
are true remain so near the prediction, as they do not near a label. Regions that overlap are cut into
pieces that do not, so that every voxel is looked at once.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from nacl_monai.errors import InputError
from nacl_monai.inference.distances import ROUNDED, bounding_box, squared_distances
from nacl_monai.inference.records import MARGIN
from nacl_monai.metrics.voxels import (
    LabeledVoxels,
    Voxels,
    as_floats,
    binary_mask,
    checked_voxels,
    rounded_to_zero,
)
from nacl_monai.runs import KNOWN_REGIONS

Spacing = Sequence[float]
# Neighbors tend to belong to the same bin, and an addition to a number has to wait for the one before.
# Four numbers in turn, which are summed in the end, take a CPU half the time.
LANES = 4
# Probabilities per chunk. On CPU a chunk's intermediate values stay in the cache; a GPU wants more
# work per kernel, and holds some thirty bytes for each probability.
_CHUNK = {"cpu": 2**17}
_CHUNK_ON_GPU = 2**24


def case_spacings(
    spacing: Spacing | Sequence[Spacing] | str | None,
    batch: int,
    dims: int,
    image: torch.Tensor | None = None,
) -> list[tuple[float, ...]]:
    """One spacing per case.

    Args:
        spacing: Sizes along each axis, one set for all cases or one per case; "pixdim" reads those
            of ``image``; None is 1 along each axis.
        batch: The number of cases.
        dims: The number of spatial axes.
        image: A ``MetaTensor``, ``(B, C, *spatial)``, which knows its spacing.

    Raises:
        InputError: If the numbers do not fit the axes and cases, are not positive, or are unknown.
    """
    if spacing is None:
        return [(1.0,) * dims] * batch
    if isinstance(spacing, str):
        return _from_metadata(spacing, batch, dims, image)
    values = torch.as_tensor(spacing, dtype=torch.float64)
    if values.shape not in {(dims,), (batch, dims)} or not (values > 0).all():
        raise InputError(
            f"spacing: is {spacing}; give {dims} positive numbers, for all cases or each"
        )
    return [tuple(case.tolist()) for case in values.expand(batch, dims)]


def _from_metadata(
    spacing: str, batch: int, dims: int, image: torch.Tensor | None
) -> list[tuple[float, ...]]:
    if spacing != "pixdim":
        raise InputError(f"spacing: is {spacing!r}; give numbers, None or 'pixdim'")
    if image is None or not hasattr(image, "pixdim"):
        raise InputError(
            "spacing: 'pixdim' needs labels with metadata (a MetaTensor); or give numbers"
        )
    meta: Any = image
    cases = meta.pixdim if meta.is_batch else [meta.pixdim] * batch
    return [tuple(float(size) for size in case[:dims]) for case in cases]


def boundary_band(
    labels: torch.Tensor, width: float = 3.0, spacing: Spacing | Sequence[Spacing] | None = None
) -> torch.Tensor:
    """A band of ``width`` on both sides of the boundaries between labels, ``(B, *spatial)``, boolean.

    A voxel is in the band if it is closer than ``width`` to a voxel that touches another label. The
    two voxels at a boundary therefore always belong to it, and ``width=3`` takes three voxels on each
    side. The border of the image is not a boundary.

    Args:
        labels: Class indices, ``(B, *spatial)``.
        width: In voxels, or in the unit of ``spacing``.
        spacing: Size of a voxel along each axis, one for all cases or one per case; None measures
            the width in voxels.

    Raises:
        InputError: If the width is not positive and finite, or the spacing does not fit the labels.

    Example:
        >>> labels = torch.tensor([[[0, 0, 0, 0, 1, 1, 1, 1]]])
        >>> boundary_band(labels, width=2).int().tolist()
        [[[0, 0, 1, 1, 1, 1, 0, 0]]]
    """
    if not 0 < width < math.inf:
        raise InputError(
            f"width: is {width}; the band around a boundary needs a finite number above 0"
        )
    if not labels.numel():
        return torch.zeros_like(labels, dtype=torch.bool)
    touching = touches_other_label(labels)
    sizes = case_spacings(spacing, len(labels), labels.ndim - 1)
    bands = torch.zeros_like(touching)
    for border, band, size in zip(touching, bands, sizes, strict=True):
        box = bounding_box(border, [int(width / step) for step in size])
        if box is not None:
            band[box] = squared_distances(border[box], width, [*size]) < width**2
    return bands


def border_distances(
    prediction: torch.Tensor, farthest: float, spacing: list[float] | None = None
) -> torch.Tensor:
    """How far each voxel is from the nearest change of the predicted label.

    Args:
        prediction: Class indices or a mask, ``(B, *spatial)``.
        farthest: What is farther away, or has no change in the image, has this distance.
        spacing: Size of a voxel along each axis; None measures in voxels.

    Returns:
        ``(B, *spatial)``, float32; 0 at voxels with a face neighbor of another label.

    Example:
        >>> border_distances(torch.tensor([[0, 0, 0, 1, 1, 1, 1]]), 2.5).tolist()
        [[2.0, 1.0, 0.0, 0.0, 1.0, 2.0, 2.5]]
    """
    sizes = [1.0] * (prediction.dim() - 1) if spacing is None else spacing
    changes = touches_other_label(prediction)
    return torch.stack(
        [
            squared_distances(border, farthest, sizes).sqrt().clamp(max=farthest)
            for border in changes
        ]
    )


def distances_to(
    structure: torch.Tensor, farthest: float, spacing: Spacing | Sequence[Spacing] | None = None
) -> torch.Tensor:
    """How far each voxel is from the nearest voxel of a structure, from center to center.

    One such map answers for every margin up to ``farthest``, see `within`. It looks only into the box
    around the structure, as far as ``farthest`` reaches.

    Args:
        structure: Where the structure is, ``(B, *spatial)``, boolean.
        farthest: Up to here distances are told, in the unit of ``spacing``.
        spacing: Size of a voxel along each axis, one for all cases or one per case; None measures in
            voxels.

    Returns:
        Exact Euclidean distances, ``(B, *spatial)``, float32: 0 in the structure, infinity where it is
        farther away than ``farthest`` or there is none.

    Raises:
        InputError: If ``farthest`` is negative or not finite, or the spacing does not fit.

    Example:
        >>> structure = torch.tensor([[[True, False, False, False, False]]])
        >>> distances_to(structure, 3.0, spacing=(1.0, 0.8)).tolist()
        [[[0.0, 0.800000011920929, 1.600000023841858, 2.4000000953674316, inf]]]
    """
    if not 0 <= farthest < math.inf:
        raise InputError(f"margin: is {farthest}; give a finite number, 0 or more")
    if not structure.numel():
        return torch.full(structure.shape, torch.inf, device=structure.device)
    beyond = max(farthest * ROUNDED, torch.finfo(torch.float32).tiny)
    sizes = case_spacings(spacing, len(structure), structure.ndim - 1)
    cases = zip(structure, sizes, strict=True)
    squared = [squared_distances(mask, beyond, [*size]) for mask, size in cases]
    distances = [part.masked_fill_(part > beyond**2, torch.inf).sqrt_() for part in squared]
    return distances[0][None] if len(distances) == 1 else torch.stack(distances)


def within(distances: torch.Tensor, margin: float) -> torch.Tensor:
    """The voxels within a margin, those at exactly the margin among them, ``(B, *spatial)``, boolean.

    Args:
        distances: From `distances_to`, with ``farthest`` at or above the margin.
        margin: In the unit of the distances.

    Example:
        >>> structure = torch.tensor([[[True, False, False, False, False]]])
        >>> distances = distances_to(structure, 3.0)
        >>> [within(distances, margin).sum().item() for margin in (0, 1, 3)]
        [1, 2, 4]
    """
    return distances <= margin * ROUNDED


def touches_other_label(labels: torch.Tensor) -> torch.Tensor:
    """Voxels ``(B, *spatial)`` with a face neighbor of another label. TorchScript holds it."""
    touching = torch.zeros_like(labels, dtype=torch.bool)
    for axis in range(1, labels.dim()):
        last = labels.shape[axis] - 1
        step = labels.narrow(axis, 0, last) != labels.narrow(axis, 1, last)
        touching.narrow(axis, 0, last).logical_or_(step)
        touching.narrow(axis, 1, last).logical_or_(step)
    return touching


#: A function that returns a mask ``(B, *spatial)``, or None for all voxels. Its parameters say what
#: it needs: any of ``labels`` and ``prediction``, class indices ``(B, *spatial)``, of ``width`` and
#: ``spacing``, and of ``margin`` and ``margin_spacing``. A parameter with a default other than None
#: keeps it.
Region = Callable[..., "torch.Tensor | None"]


class _Inputs(NamedTuple):
    """The inputs of a region; each is computed on demand."""

    labels: Callable[[], torch.Tensor]
    prediction: Callable[[], torch.Tensor]
    width: Callable[[], float]
    spacing: Callable[[], Spacing | Sequence[Spacing] | None]
    margin: Callable[[], float]
    margin_spacing: Callable[[], Spacing | Sequence[Spacing] | None]

    def apply(self, region: Region) -> torch.Tensor | None:
        """The mask of a region, which is given what its parameters name."""
        return region(**{name: getattr(self, name)() for name in region_parameters(region)})


def region_parameters(region: Region) -> list[str]:
    """The parameters that a function needs."""
    parameters = inspect.signature(region).parameters.values()
    return [
        parameter.name for parameter in parameters if parameter.default in (parameter.empty, None)
    ]


def all_voxels() -> None:
    """Every voxel."""


def foreground(labels: torch.Tensor) -> torch.Tensor:
    """The label is not background (the paper, section 4.1.2)."""
    return labels != 0


def union(labels: torch.Tensor, prediction: torch.Tensor) -> torch.Tensor:
    """The label or the prediction is not background (the paper, section 4.2.8)."""
    return (labels != 0) | (prediction != 0)


def boundary(
    labels: torch.Tensor, width: float, spacing: Spacing | Sequence[Spacing] | None
) -> torch.Tensor:
    """A band on both sides of the boundaries between labels (:func:`boundary_band`)."""
    return boundary_band(labels, width, spacing)


def near(
    prediction: torch.Tensor, margin: float, margin_spacing: Spacing | Sequence[Spacing] | None
) -> torch.Tensor:
    """All within a margin of any predicted structure, the structures included (`margin`)."""
    return within(distances_to(prediction != 0, margin, margin_spacing), margin)


def predicted(prediction: torch.Tensor) -> torch.Tensor:
    """The prediction is not background."""
    return prediction != 0


def predicted_boundary(
    prediction: torch.Tensor, width: float, spacing: Spacing | Sequence[Spacing] | None
) -> torch.Tensor:
    """A band on both sides of the boundaries of the prediction (:func:`boundary_band`)."""
    return boundary_band(prediction, width, spacing)


#: The regions that are known by name. Where the label decides, true probabilities have an error: such a
#: region is for comparison with the paper.
REGIONS: dict[str, Region] = dict(
    zip(
        KNOWN_REGIONS,
        (
            all_voxels,
            foreground,
            union,
            boundary,
            near,
            predicted,
            predicted_boundary,
        ),
        strict=True,
    )
)


def named_regions(regions: Iterable[str] | Mapping[str, Region | None]) -> dict[str, Region]:
    """Name → function, for names in :data:`REGIONS` or a mapping that adds functions.

    Args:
        regions: Names, or a mapping from names to functions, where None stands for the region that
            is known by that name.

    Raises:
        InputError: If there is no region, if a name is unknown, or if a function asks for what
            no region is given.
    """
    chosen = regions if isinstance(regions, Mapping) else dict.fromkeys(regions)
    if isinstance(regions, str) or not chosen:
        raise InputError(
            f"regions: is {regions!r}; give a list of names, or a mapping to functions"
        )
    functions = {name: function or known_region(name) for name, function in chosen.items()}
    for name, function in functions.items():
        _check_parameters(name, function)
    return functions


def _check_parameters(name: str, function: Region) -> None:
    unknown = sorted(set(region_parameters(function)) - set(_Inputs._fields))
    if unknown:
        raise InputError(
            f"regions: the function of {name!r} asks for {', '.join(unknown)}; name its "
            f"parameters among {', '.join(_Inputs._fields)}"
        )


def known_region(name: str) -> Region:
    """The function of a region that is known by name.

    Raises:
        InputError: If there is no such region.
    """
    if name not in REGIONS:
        raise InputError(
            f"region: {name!r} is unknown; choose one of {', '.join(REGIONS)}, or a mask"
        )
    return REGIONS[name]


def decided_by_labels(name: str) -> bool:
    """Whether a region is independent of the prediction; unknown, so False, for one of the user's own.

    Args:
        name: The name of a region, known or not.

    Example:
        >>> [name for name in REGIONS if decided_by_labels(name)]
        ['all', 'foreground', 'boundary']
    """
    return name in REGIONS and "prediction" not in region_parameters(REGIONS[name])


def depends_on_labels(name: str) -> bool:
    """Whether the label decides on a region's voxels; unknown, so False, for one of the user's own.

    Then true probabilities have an error over it, and a fit over it changes them.

    Args:
        name: The name of a region, known or not.

    Example:
        >>> [name for name in REGIONS if depends_on_labels(name)]
        ['foreground', 'union', 'boundary']
    """
    return name in REGIONS and "labels" in region_parameters(REGIONS[name])


def region_of_fit(name: str) -> str:
    """The known region at the end of a calibrator's name; empty where there is none.

    The longest of several, since a region may have an underscore in its own name.

    Example:
        >>> region_of_fit("temperature_near"), region_of_fit("vector_predicted_boundary")
        ('near', 'predicted_boundary')
        >>> region_of_fit("near"), region_of_fit("vector_nearest")
        ('near', '')
    """
    return max((r for r in REGIONS if f"_{name}".endswith(f"_{r}")), key=len, default="")


def region_masks(
    regions: Mapping[str, Region],
    voxels: LabeledVoxels,
    width: float = 3.0,
    spacing: Callable[[], Spacing | Sequence[Spacing] | None] = lambda: None,
    margin: float = MARGIN,
    margin_spacing: Callable[[], Spacing | Sequence[Spacing] | None] = lambda: None,
    shared: dict[str, torch.Tensor | None] | None = None,
) -> list[torch.Tensor | None]:
    """The voxels of each region that count, ``(B, *spatial)``, boolean; None for all voxels.

    The prediction is computed only if a region asks for it.

    Args:
        regions: Name → function, from :func:`named_regions`.
        voxels: From :func:`voxels.checked_voxels`.
        width: The width of the regions "boundary" and "predicted_boundary".
        spacing: Returns the spacing that the width is measured in.
        margin: The margin of the region "near".
        margin_spacing: Returns the spacing that the margin is measured in.
        shared: Masks of regions in which labels have no say, by name, which are filled in; with it the
            same prediction against the labels of several raters has its distances computed once.

    Raises:
        InputError: If a mask does not have the shape of the labels.
    """
    inputs = _Inputs(
        *(lambda: voxels.labels, lambda: voxels.prediction),
        *(lambda: width, spacing),
        *(lambda: margin, margin_spacing),
    )
    shared = {} if shared is None else shared
    masks = []
    for name, region in regions.items():
        mask = shared[name] if name in shared else inputs.apply(region)
        if mask is not None:
            mask = binary_mask(f"region {name}", mask, voxels.probs)
        if "labels" not in region_parameters(region):
            shared[name] = mask
        masks.append(voxels.within(mask))
    return masks


def selected_voxels(region: str | Voxels, voxels: LabeledVoxels) -> torch.Tensor | None:
    """The voxels that count of a region given by name or as a mask; None for all voxels."""
    if not isinstance(region, str):
        return voxels.within(binary_mask("mask", region, voxels.probs))
    return region_masks({region: known_region(region)}, voxels)[0]


def region_pieces(
    probs: Voxels, labels: Voxels, region: str | Voxels, ignore_index: int | None, from_logits: bool
) -> RegionPieces:
    """The checked voxels of one region, as the functions of single numbers collect them."""
    voxels = checked_voxels(probs, labels, None, ignore_index, from_logits)
    return RegionPieces(voxels, [selected_voxels(region, voxels)])


def region_mask(
    region: str,
    labels: torch.Tensor,
    prediction: torch.Tensor | None = None,
    *,
    width: float = 3.0,
    spacing: Spacing | Sequence[Spacing] | None = None,
    margin: float = MARGIN,
) -> torch.Tensor:
    """The voxels of a region, ``(B, *spatial)``, boolean.

    Args:
        region: A name in :data:`REGIONS`, whose functions say what each region is.
        labels: Class indices, ``(B, *spatial)``; background is 0.
        prediction: Predicted class indices, ``(B, *spatial)``; "union" needs them, and those regions
            that the prediction decides.
        width: The width of "boundary" and "predicted_boundary", as in :func:`boundary_band`.
        spacing: Size of a voxel, as there; None measures width and margin in voxels.
        margin: The margin of the region "near", as in :func:`within`.

    Raises:
        InputError: If the name is unknown, the width is not positive, the margin is negative, or the
            prediction is missing.

    Example:
        >>> region_mask("foreground", torch.tensor([[[0, 1, 2]]])).tolist()
        [[[False, True, True]]]
    """

    def given_prediction() -> torch.Tensor:
        if prediction is None:
            raise InputError(f"prediction: region {region!r} needs it; pass the predicted classes")
        return prediction

    inputs = _Inputs(
        *(lambda: labels, given_prediction),
        *(lambda: width, lambda: spacing),
        *(lambda: margin, lambda: spacing),
    )
    mask = inputs.apply(known_region(region))
    return torch.ones_like(labels, dtype=torch.bool) if mask is None else mask


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
        self._of_voxels = [labels, *voxels.top1]
        self._of_voxels = [tensor.flatten() for tensor in self._of_voxels]

        # The number of a piece within its case: its lane, and a bit above for each proper region.
        proper = [mask for mask in masks if mask is not None]
        numbers = torch.arange(2 ** len(proper), device=self.device)
        per_case = len(numbers) * LANES
        self.num_pieces = self._batch * per_case
        kind = torch.int16 if self.num_pieces < 2**15 else torch.int32
        first = torch.arange(self._batch, dtype=kind, device=self.device) * per_case
        size = labels[0].numel()
        lanes = torch.arange(LANES, dtype=kind, device=self.device).repeat(-(-size // LANES))
        self._pieces = (first[:, None] + lanes[:size]).flatten()
        for bit, mask in enumerate(proper):
            self._pieces += mask.flatten() * torch.tensor(LANES << bit, dtype=kind)
        bits = iter(range(len(proper)))
        self._pieces_of_region = [
            numbers >= 0 if mask is None else (numbers >> next(bits) & 1).bool() for mask in masks
        ]
        if len(proper) == len(masks):
            self._keep_only((self._pieces % per_case >= LANES).nonzero()[:, 0])

    def _keep_only(self, voxels: torch.Tensor) -> None:
        """Drops all voxels that are in no region."""
        self._probs = self._probs[:, voxels]
        self._of_voxels = [tensor[voxels] for tensor in self._of_voxels]
        self._pieces = self._pieces[voxels]

    def chunks(self, least: int = 1) -> Iterator[Chunk]:
        """Yields some voxels at a time, in their order; at least so many, if there are."""
        size = max(least, _CHUNK.get(self.device.type, _CHUNK_ON_GPU) // self.num_classes)
        for start in range(0, self._pieces.numel(), size):
            chunk = slice(start, start + size)
            labels, confidences, prediction = (tensor[chunk] for tensor in self._of_voxels)
            yield Chunk(
                as_floats(self._probs[:, chunk]),
                labels[None].long(),
                as_floats(confidences),
                prediction[None].long(),
                self._pieces[chunk].int(),
            )

    def sum_regions(self, sums: torch.Tensor) -> torch.Tensor:
        """Adds sums per piece, ``(num_pieces, …)``, up to sums per region, ``(B, regions, …)``."""
        per_case = sums.view(self._batch, -1, LANES, *sums.shape[1:]).sum(2)
        return torch.stack([per_case[:, pieces].sum(1) for pieces in self._pieces_of_region], 1)
