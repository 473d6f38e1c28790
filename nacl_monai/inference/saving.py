"""Saving what follows from the probabilities of an image, under names that stay apart."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from operator import methodcaller
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from monai.transforms import Transform

from .faults import ImageFault, refuse
from .label_tables import label_tables
from .maps import MAPS
from .nifti import compress, is_map, map_image, write_together

Writes = dict[Path, Callable[[BinaryIO], object]]

_NIFTI = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)


class SaveMaps(Transform):
    """Saves what follows from the probabilities under ``pred``: one NIfTI file per map.

    ``NAME_label`` and ``NAME_probabilities``, ``NAME_confidence`` and ``NAME_entropy``, see
    `label_map`, `confidence_map` and `entropy_map`. Images in several folders keep these folders below
    ``output_dir``, and ``p.nii`` beside ``p.nii.gz`` keep their endings, so that equal names stay apart.
    Each file is whole, beside none of an earlier command, and is where the image is, in every
    program that reads both.

    Args:
        output_dir: Folder of the files; made if missing.
        cases: All cases, as `find_cases` returns them.
        classes: Their names, which viewers find in ``labels.txt`` and ``labels.ctbl``, see
            `label_tables`; without names there are no such files.

    Raises:
        SystemExit: If the maps of two cases would have the same names, if maps of other classes are in
            the folder, or if the operating system does not let a file be written.
    """

    def __init__(
        self,
        output_dir: str | Path,
        cases: Sequence[Mapping[str, Sequence[str]]],
        classes: Sequence[str] = (),
    ) -> None:
        texts = label_tables(dict(enumerate(classes))) if classes else {}
        self.tables = {Path(output_dir) / name: text for name, text in texts.items()}
        _check_same(self.tables)
        self.stems = _output_stems(Path(output_dir), [case["image"][0] for case in cases])

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Saves the maps of one case; returns it with the paths under ``files``.

        Raises:
            ImageFault: If a probability is not a number, or if a file would replace one that is not
                a map; nothing is written then.
        """
        probs = data["pred"]
        file = probs.meta["filename_or_obj"]
        if not probs.isfinite().all():
            raise ImageFault(
                f"{file}: the network finds no probabilities for it, but NaN; leave it out"
            )
        stem = self.stems[file]
        paths = {name: stem.with_name(f"{stem.name}_{name}.nii.gz") for name in MAPS}
        _check_replaceable(paths.values())
        writes: Writes = {}
        for name, path in paths.items():
            voxels = _voxels(name, MAPS[name](probs))
            image = map_image(voxels, name, file, probs.affine.numpy())
            writes[path] = partial(compress, image)
        _save({**writes, **_missing(self.tables)})
        return {**data, "files": list(paths.values())}


def _check_same(tables: Mapping[Path, str]) -> None:
    """Refuses a folder whose label values have other names."""
    for path, text in tables.items():
        if path.exists() and path.read_text(encoding="utf-8", errors="replace") != text:
            refuse(f"{path}: is there, and names other classes; choose another --output_dir")


def _missing(texts: Mapping[Path, str]) -> Writes:
    return {
        path: methodcaller("write", text.encode())
        for path, text in texts.items()
        if not path.exists()
    }


def _check_replaceable(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.exists() and not is_map(path):
            raise ImageFault(
                f"{path}: is there, and no map of inference; choose another --output_dir"
            )


def _output_stems(output_dir: Path, files: Sequence[str]) -> dict[str, Path]:
    """For every file, the path of its maps but for their own names."""
    places = {file: Path(os.path.abspath(file)) for file in files}  # noqa: PTH100 - without links
    common = os.path.commonpath([place.parent for place in places.values()])
    stems = _stems(places.values())
    _check_apart(stems)
    return {file: output_dir / stems[places[file]].relative_to(common) for file in files}


def _stems(places: Iterable[Path]) -> dict[Path, Path]:
    """Every file's path without its ending, or with it where another file has the same stem."""
    stems = {place: place.with_name(_stem(place)) for place in places}
    equal = Counter(stems.values())
    return {place: stem if equal[stem] == 1 else place for place, stem in stems.items()}


def _check_apart(stems: Mapping[Path, Path]) -> None:
    taken: dict[Path, Path] = {}
    for place, stem in stems.items():
        if taken.setdefault(stem, place) != place:
            refuse(f"{taken[stem]} and {place}: their maps would have the same names; rename one")


def _stem(place: Path) -> str:
    """The name without its ending; what follows the last dot of a series' folder is not an ending."""
    if place.is_dir():
        return place.name
    return _NIFTI.sub("", place.name) if _NIFTI.search(place.name) else place.stem


def _voxels(name: str, channels: torch.Tensor) -> np.ndarray:
    """``(H, W, D)`` of a single channel, or ``(H, W, D, C)``."""
    voxels: np.ndarray = channels.movedim(0, -1).cpu().numpy()
    dtype = np.uint8 if name == "label" else np.float32
    return (voxels if name == "probabilities" else voxels[..., 0]).astype(dtype)


def _save(writes: Writes) -> None:
    try:
        write_together(writes)
    except OSError as error:
        where, why = error.filename, error.strerror
        refuse(f"{where}: cannot be written ({why}); choose another --output_dir")
