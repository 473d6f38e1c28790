r"""Scores of structures as a whole: distance, and those against several raters.

**The 95 % Hausdorff distance** has no free score for a structure that was missed.

.. math::

    \mathrm{HD}_{95}(A, B) = \max\bigl(q_{95}\{d(a, \partial B) : a \in \partial A\},\;
    q_{95}\{d(b, \partial A) : b \in \partial B\}\bigr)

If neither mask is empty, it equals MONAI's ``compute_hausdorff_distance`` to the bit;
ours starts without MONAI, whose import takes seconds. MONAI returns NaN or infinity for an empty mask.
Here, as in the BraTS challenge, a structure that the label has and the prediction lacks scores the
diagonal of the volume. A structure that the label lacks has no distance; it is NaN and stays out of the
mean. A volume of one slice is measured in its plane; in 3-D, erosion would make each voxel surface.

**Several raters** of a structure give it several volumes, and agree in some voxels.

The continuous ranked probability score (CRPS) of a volume :math:`x` and the empirical distribution
:math:`F` of the volumes :math:`y_1, …, y_R` of the raters is

.. math::

    \mathrm{CRPS} = \int \left(F(y) - [x \le y]\right)^2 \mathrm{d}y
    = \frac{1}{R} \sum_r |x - y_r| - \frac{1}{2 R^2} \sum_r \sum_s |y_r - y_s|

in the unit of the volumes. The sums are exact, and nothing is assumed of the distribution. The code of
the CURVAS challenge integrates against a normal distribution, within three standard deviations of its
mean alone: whatever is further out scores alike, and 0 where all raters agree.

References:
    Strictly Proper Scoring Rules, Prediction, and Estimation (Gneiting and Raftery, 2007), equation 21.
    Calibration and Uncertainty for multiRater Volume Assessment in multiorgan Segmentation (CURVAS)
    challenge results (Riera-Marín et al., 2025), https://arxiv.org/abs/2505.08685
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
import scipy
import torch

from nacl_monai.errors import InputError
from nacl_monai.inference.promised import Array
from nacl_monai.metrics.regions import Spacing, case_spacings
from nacl_monai.metrics.voxels import binary_mask
from nacl_monai.tensors import check_voxels, without_metadata


def structure_masks(
    labels: torch.Tensor, structures: Mapping[str, Sequence[int]], dim: int = 0
) -> torch.Tensor:
    """One binary mask per structure: the union of its classes.

    Score the masks of prediction and label with MONAI's ``DiceMetric(include_background=True)`` and
    with :class:`BoundedHausdorffMetric`: a structure that the label lacks is NaN there, and a missed
    one scores Dice 0 and the largest distance.

    Args:
        labels: Class indices with a channel axis of length 1, ``(1, *spatial)``.
        structures: The classes of each structure, in the order of the resulting channels.
        dim: The channel axis: 0 for one case, 1 for a batch ``(B, 1, *spatial)``.

    Returns:
        Masks of 0 and 1, uint8, ``(len(structures), *spatial)``; metadata is kept.

    Raises:
        InputError: If the channel axis does not have the length 1, or there is no structure.

    Example:
        >>> labels = torch.tensor([[0, 1, 2, 4]])
        >>> structure_masks(labels, {"TC": (1, 4), "ET": (4,), "WT": (1, 2, 4)})
        tensor([[0, 1, 0, 1],
                [0, 0, 0, 1],
                [0, 1, 1, 1]], dtype=torch.uint8)
    """
    if not structures or labels.ndim <= dim or labels.shape[dim] != 1:
        raise InputError(
            f"structures: {dict(structures)} cannot be made of labels of shape {tuple(labels.shape)}; "
            f"give structures, and label maps with one channel at axis {dim}"
        )
    plain = without_metadata(labels)
    nowhere = torch.zeros_like(plain, dtype=torch.bool)
    masks = torch.cat(
        [
            reduce(torch.logical_or, (plain == value for value in classes), nowhere)
            for classes in structures.values()
        ],
        dim,
    ).to(torch.uint8)
    meta_tensor: Any = type(labels)
    return meta_tensor(masks, meta=labels.meta) if hasattr(labels, "meta") else masks


def hausdorff_distance(
    prediction: torch.Tensor,
    label: torch.Tensor,
    spacing: Spacing | Sequence[Spacing] | None = None,
    percentile: float = 95.0,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    r"""HD95 of each structure of each case, ``(B, C)``.

    Args:
        prediction: One binary mask per structure, ``(B, C, *spatial)``; they may overlap.
        label: The label's masks, same shape.
        spacing: Size of a voxel along each axis, one for all cases or one per case; None measures
            in voxels, as the paper does.
        percentile: Which percentile of the surface distances; 100 is the Hausdorff distance itself.
        mask: The voxels that count, ``(B, 1, *spatial)`` or ``(B, *spatial)``; structures end where
            it ends.

    Returns:
        Distances in voxels, or in the unit of ``spacing``; NaN where the label is empty; the
        diagonal of the volume, :math:`\sqrt{\sum_a (n_a s_a)^2}`, where only the prediction is empty.

    Raises:
        InputError: If the shapes disagree, if there is no voxel, or if a mask is not binary.

    Example:
        A structure two voxels off, one that is missed, and one that is absent:

        >>> label = torch.tensor([[[[1, 0, 0, 0]], [[1, 0, 0, 0]], [[0, 0, 0, 0]]]])
        >>> prediction = torch.tensor([[[[0, 0, 1, 0]], [[0, 0, 0, 0]], [[1, 0, 0, 0]]]])
        >>> hausdorff_distance(prediction, label)
        tensor([[2.0000, 4.1231,    nan]])
    """
    if prediction.shape != label.shape or label.ndim < 4:
        raise InputError(
            f"prediction and label: have the shapes {tuple(prediction.shape)} and "
            f"{tuple(label.shape)}; give both one shape (batch, structures, *spatial)"
        )
    check_voxels(label, "prediction and label")
    prediction, label = (without_metadata(masks.detach()) for masks in (prediction, label))
    _check_binary("prediction", prediction)
    _check_binary("label", label)
    if mask is not None:
        counted = binary_mask("mask", mask, label).unsqueeze(1)
        prediction, label = prediction * counted, label * counted

    batch, structures, *shape = label.shape
    spacings = case_spacings(spacing, batch, len(shape))
    pairs = (part.flatten(0, 1).cpu().numpy().astype(bool) for part in (prediction, label))
    found = [
        _distance(first, second, shape, spacings[k // structures], percentile)
        for k, (first, second) in enumerate(zip(*pairs, strict=True))
    ]
    return torch.stack(found).reshape(batch, structures).to(label.device)


def map_distances(
    prediction: torch.Tensor,
    label: torch.Tensor,
    structures: Mapping[str, Sequence[int]],
    spacing: Spacing | None = None,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """HD95 of each structure as `hausdorff_distance` has it, from class indices, each within its box.

    Args:
        prediction: Class indices, ``(*spatial)``.
        label: Those of the label.
        structures: The classes of each structure.
        spacing: Size of a voxel along each axis.
        mask: The voxels that count, ``(*spatial)``, boolean; None for all.

    Returns:
        ``(structures,)``.

    Example:
        >>> prediction, label = torch.tensor([[[0, 1, 2, 0]], [[0, 0, 1, 2]]])
        >>> map_distances(prediction, label, {"one": [1], "two": [2]})
        tensor([1., 1.])
    """
    maps = [part.cpu().numpy() for part in (prediction, label)]
    counted = None if mask is None else mask.numpy()
    (sizes,) = case_spacings(spacing, 1, label.ndim)
    found = []
    boxes = (class_boxes(label_map, structures.values()) for label_map in maps)
    for classes, *of_maps in zip(structures.values(), *boxes, strict=True):
        box = joined_box(of_maps) or (slice(0),) * label.ndim
        pair = [np.isin(label_map[box], classes) for label_map in maps]
        if counted is not None:
            pair = [inside & counted[box] for inside in pair]
        first, second = pair
        found.append(_distance(first, second, label.shape, sizes, 95.0))
    return torch.stack(found)


Box = tuple[slice, ...]


def class_boxes(indices: Array, structures: Iterable[Sequence[int]]) -> list[Box | None]:
    """The box around each union of classes in a map of class indices, in one pass; None without any.

    Example:
        >>> class_boxes(np.array([[0, 1, 0], [0, 0, 2]]), [[1], [1, 2], [3]])
        [(slice(0, 1, None), slice(1, 2, None)), (slice(0, 2, None), slice(1, 3, None)), None]
    """
    whole = tuple(map(slice, indices.shape))
    found = dict(enumerate([whole, *scipy.ndimage.find_objects(indices)]))
    return [joined_box([found.get(index) for index in classes]) for classes in structures]


def joined_box(boxes: Iterable[Box | None]) -> Box | None:
    """The box around several, of which those that are None hold nothing."""
    axes = list(zip(*(box for box in boxes if box is not None), strict=True))
    joined = (slice(min(s.start or 0 for s in axis), max(s.stop for s in axis)) for axis in axes)
    return tuple(joined) if axes else None


def _distance(
    prediction: Array, label: Array, shape: Sequence[int], spacing: Spacing, percentile: float
) -> torch.Tensor:
    """The distance of a structure in a volume of some shape, within any box around both masks."""
    if not label.any():
        return torch.tensor(torch.nan)
    if not prediction.any():
        sizes = torch.tensor([spacing, shape], dtype=torch.float64).prod(0)
        return sizes.square().sum().sqrt().float()
    axes = _extended(shape)
    size = [label.shape[axis] for axis in axes]
    step = [spacing[axis] for axis in axes]
    return _surface_distance(prediction.reshape(size), label.reshape(size), step, percentile)


def _surface_distance(
    prediction: Array, label: Array, spacing: Spacing, percentile: float
) -> torch.Tensor:
    """The percentile of the distances from each surface to the other, the larger of the two."""
    (box,) = scipy.ndimage.find_objects((prediction | label).astype(np.uint8))
    predicted, labeled = (_surface(mask[box]) for mask in (prediction, label))
    both = torch.zeros(int((predicted & labeled).sum()), dtype=torch.float64)  # their distance is 0
    apart = []
    for start, to in ((predicted, labeled), (labeled, predicted)):
        points, surface = (np.argwhere(part) * np.array(spacing) for part in (start & ~to, to))
        distances = scipy.spatial.KDTree(surface, leafsize=32).query(points)[0]
        apart.append(torch.cat([both, torch.from_numpy(distances)]))
    return max(torch.quantile(distances.float(), percentile / 100) for distances in apart)


def _surface(mask: Array) -> Array:
    """The voxels with a face neighbor outside of the mask, or of the volume."""
    padded = np.pad(mask, 1)
    inner = padded.copy()
    for axis in range(mask.ndim):
        kept, rows = np.moveaxis(inner, axis, 0), np.moveaxis(padded, axis, 0)
        kept[1:-1] &= rows[:-2] & rows[2:]
    surface: Array = mask & ~inner[(slice(1, -1),) * mask.ndim]
    return surface


def _extended(shape: Sequence[int]) -> list[int]:
    """The axes that are longer than one voxel; two at least, of which any may be short."""
    flat = [axis for axis, size in enumerate(shape) if size == 1][: len(shape) - 2]
    return [axis for axis in range(len(shape)) if axis not in flat]


def _check_binary(name: str, masks: torch.Tensor) -> None:
    whole = masks.dtype in (torch.bool, torch.uint8)
    if not (masks.amax() <= 1 if whole else ((masks == 0) | (masks == 1)).all()):
        raise InputError(f"{name}: holds other values; give one mask of 0 and 1 per structure")


def class_counts(
    prediction: torch.Tensor,
    label: torch.Tensor,
    num_classes: int,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """How many voxels have each predicted class, a row, and each labeled class, a column.

    Args:
        prediction: Class indices, any shape.
        label: The same of the label.
        num_classes: The number of classes C.
        mask: The voxels that count, boolean; None for all.

    Returns:
        ``(C, C)``, int64.

    Example:
        >>> class_counts(torch.tensor([0, 1, 1, 0]), torch.tensor([0, 1, 0, 0]), 2)
        tensor([[2, 0],
                [1, 1]])
    """
    first, second = (part.cpu().numpy().ravel() for part in (prediction, label))
    seen, total = (first != 0) | (second != 0), first.size
    if mask is not None:
        counted = mask.cpu().numpy().ravel()
        seen, total = seen & counted, int(counted.sum())
    places = np.flatnonzero(seen)  # of most volumes, nearly all is background for both
    pairs = first[places].astype(np.intp) * num_classes + second[places]
    counts = np.bincount(pairs, minlength=num_classes**2)
    counts[0] += total - len(places)
    return torch.from_numpy(counts.reshape(num_classes, num_classes))


def map_dice(counts: torch.Tensor, structures: Mapping[str, Sequence[int]]) -> torch.Tensor:
    """Dice of each structure as `structure_dice` has it, ``(structures,)``, from `class_counts`.

    Example:
        >>> map_dice(torch.tensor([[2, 0], [1, 1]]), {"one": [1]})
        tensor([0.6667])
    """
    found = []
    for classes in map(list, structures.values()):
        marked = counts[:, classes].sum()
        both, sizes = counts[classes][:, classes].sum(), counts[classes].sum() + marked
        found.append(torch.where(marked > 0, 2 * both / sizes, torch.nan))
    return torch.stack(found)


def structure_dice(prediction: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Dice of each structure, 2 |A ∩ B| / (|A| + |B|), as MONAI's ``compute_dice`` has it.

    Args:
        prediction: Masks of 0 and 1, ``(B, structures, *spatial)``.
        label: The label's masks, same shape.

    Returns:
        ``(B, structures)``; NaN where the label is empty.

    Example:
        >>> label = torch.tensor([[[1, 1, 0, 0], [0, 0, 0, 0]]])
        >>> structure_dice(torch.tensor([[[1, 0, 1, 0], [1, 0, 0, 0]]]), label)
        tensor([[0.5000,    nan]])
    """
    inside, marked = (masks.bool().flatten(2) for masks in (prediction, label))
    both, sizes = (inside & marked).sum(-1), inside.sum(-1) + marked.sum(-1)
    return torch.where(marked.any(-1), 2 * both / sizes, torch.nan)


def volume_crps(predicted: torch.Tensor, labeled: torch.Tensor) -> torch.Tensor:
    """The CRPS of volumes and those of several raters.

    Args:
        predicted: The predicted volume, a single number: ``(...)``. For probabilities it is
            their sum, the expected number of voxels.
        labeled: The volume by every rater, ``(..., raters)``, in the same unit.

    Returns:
        ``(...)``, float64, in that unit. It is 0 only where all raters have the predicted volume; the
        smallest that can be reached, by the median of the raters, grows with their spread.

    Raises:
        InputError: If the shapes do not fit, or there is no rater.

    Example:
        >>> raters = torch.tensor([90.0, 100, 110])
        >>> [round(volume_crps(torch.tensor(x), raters).item(), 3) for x in (100.0, 200, 900)]
        [2.222, 95.556, 795.556]
    """
    if labeled.shape[:-1] != predicted.shape or not labeled.ndim or not labeled.shape[-1]:
        raise InputError(
            f"labeled: volumes have the shape {tuple(labeled.shape)}, but predicted ones "
            f"{tuple(predicted.shape)}; give the same with a last axis of raters"
        )
    volume, volumes = predicted.double(), labeled.double()
    distance = (volume[..., None] - volumes).abs().mean(-1)
    spread = (volumes[..., None] - volumes[..., None, :]).abs().mean((-2, -1))
    return distance - spread / 2


def agreed_dice(prediction: torch.Tensor, raters: torch.Tensor) -> torch.Tensor:
    """Dice of each structure over the voxels that all raters put inside it, or all of them outside.

    Args:
        prediction: Masks of 0 and 1, ``(B, structures, *spatial)``.
        raters: Those of every rater, ``(raters, B, structures, *spatial)``.

    Returns:
        ``(B, structures)``; NaN where the raters share no voxel of the structure.

    Example:
        >>> raters = torch.tensor([[[[1, 1, 0, 0]]], [[[1, 0, 0, 0]]]])
        >>> agreed_dice(torch.tensor([[[1, 0, 0, 1]]]), raters).item()  # the second voxel is disputed
        0.6666666865348816
    """
    votes = raters.sum(0)
    inside, outside = votes == len(raters), votes == 0
    return structure_dice(prediction.bool() & (inside | outside), inside)
