"""Nine ways in which a label map is wrong, whose sizes were fixed before anything was measured."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import ndimage

#: A label map, (*spatial).
Labels = npt.NDArray[np.int64]
#: A label map, that of another case, and what chance draws → a label map that is wrong.
Fault = Callable[[Labels, Labels, np.random.Generator], Labels]
SHIFT, MOVED = 2, 3  # voxels


def shifted(labels: Labels, _other: Labels, drawn: np.random.Generator) -> Labels:
    """All structures, by 2 voxels along an axis."""
    steps = np.zeros(labels.ndim, int)
    steps[drawn.integers(labels.ndim)] = SHIFT * drawn.choice([-1, 1])
    return ndimage.shift(labels, steps, order=0)


def swapped(labels: Labels, _other: Labels, _drawn: np.random.Generator) -> Labels:
    """The first two structures have each other's number."""
    return np.select([labels == 1, labels == 2], [2, 1], labels)


def missing(labels: Labels, _other: Labels, drawn: np.random.Generator) -> Labels:
    """A structure is not there."""
    return np.where(labels == _structure(labels, drawn), 0, labels)


def third_missing(labels: Labels, _other: Labels, drawn: np.random.Generator) -> Labels:
    """A third of a structure, at one end of an axis."""
    structure, axis = _structure(labels, drawn), drawn.integers(labels.ndim)
    places = np.indices(labels.shape)[axis]
    edge = np.quantile(places[labels == structure], [1 / 3, 2 / 3])
    end = places < edge[0] if drawn.integers(2) else places > edge[1]
    return np.where((labels == structure) & end, 0, labels)


def ends_missing(labels: Labels, _other: Labels, _drawn: np.random.Generator) -> Labels:
    """The first and the last slice with any structure."""
    slices = np.flatnonzero(labels.any((0, 1)))
    found = labels.copy()
    found[..., slices[[0, -1]]] = 0
    return found


def dilated(labels: Labels, _other: Labels, _drawn: np.random.Generator) -> Labels:
    """All structures grow by a voxel."""
    return np.where(labels > 0, labels, ndimage.grey_dilation(labels, footprint=_cross(labels)))


def eroded(labels: Labels, _other: Labels, _drawn: np.random.Generator) -> Labels:
    """All structures together lose a voxel."""
    return np.where(ndimage.binary_erosion(labels > 0, _cross(labels)), labels, 0)


def moved(labels: Labels, _other: Labels, drawn: np.random.Generator) -> Labels:
    """The border between the first two structures, by 3 voxels."""
    grown, lost = drawn.permutation([1, 2])
    reached = ndimage.binary_dilation(labels == grown, _cross(labels), iterations=MOVED)
    return np.where(reached & (labels == lost), grown, labels)


def another(labels: Labels, other: Labels, _drawn: np.random.Generator) -> Labels:
    """The label of another case, its middle on this one's."""
    found = np.zeros_like(labels)
    both = [min(a, b) for a, b in zip(labels.shape, other.shape, strict=True)]
    here, there = (
        tuple(slice((a - n) // 2, (a - n) // 2 + n) for a, n in zip(part.shape, both, strict=True))
        for part in (labels, other)
    )
    found[here] = other[there]
    return found


def _structure(labels: Labels, drawn: np.random.Generator) -> int:
    return int(drawn.choice(np.unique(labels[labels > 0])))


def _cross(labels: Labels) -> npt.NDArray[np.bool_]:
    """A voxel and its face neighbors."""
    return ndimage.generate_binary_structure(labels.ndim, 1)


FAULTS: dict[str, Fault] = {
    "shifted by 2 voxels": shifted,
    "two structures swapped": swapped,
    "one structure missing": missing,
    "a third of one missing": third_missing,
    "two end slices missing": ends_missing,
    "dilated by 1": dilated,
    "eroded by 1": eroded,
    "inner border moved by 3": moved,
    "label of another case": another,
}
