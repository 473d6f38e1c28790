"""Saving what follows from the probabilities of an image, on its grid, under names that stay apart."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import methodcaller
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from monai.transforms import Transform

from nacl_monai.errors import InputError, print_line, printable

from .images import ImageFault
from .maps import MAPS, compress, is_map, label_tables, map_image, write_together
from .promised import (
    APPLIED,
    apply_kept,
    fingerprint,
    known_case,
    table_rows,
    unlike_model,
    unlike_spacing,
)
from .records import BY_TABLE, alias, fault_in_promise, of_least, patient_of

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
        calibrator: Name of what may be behind the network, which the header of maps says; None without.
        calibrated: Whether it is.

    Raises:
        InputError: If the maps of two cases would have the same names, if maps of other classes are in
            the folder, or if the operating system does not let a file be written.
    """

    def __init__(
        self,
        output_dir: str | Path,
        cases: Sequence[Mapping[str, Sequence[str]]],
        classes: Sequence[str] = (),
        calibrator: str | None = None,
        calibrated: bool = True,
    ) -> None:
        self.behind = {"calibrator": calibrator} if calibrator and calibrated else {}
        texts = label_tables(dict(enumerate(classes))) if classes else {}
        self.tables = {Path(output_dir) / name: text for name, text in texts.items()}
        for path, text in self.tables.items():
            if path.exists() and path.read_text(encoding="utf-8", errors="replace") != text:
                raise InputError(
                    f"{path}: is there, and names other classes; choose another --output_dir"
                )
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
            raise ImageFault(f"{file}: the network returns NaN for it; leave it out")
        stem = self.stems[file]
        paths = {name: stem.with_name(f"{stem.name}_{name}.nii.gz") for name in MAPS}
        writes: dict[Path, Callable[[BinaryIO], object]] = {}
        for name, path in paths.items():
            _check_map(path)
            voxels = _voxels(name, MAPS[name](probs))
            image = map_image(voxels, name, file, probs.affine.numpy(), self.behind)
            writes[path] = partial(compress, image)
        missing = {path: text for path, text in self.tables.items() if not path.exists()}
        writes |= {path: methodcaller("write", text.encode()) for path, text in missing.items()}
        _write(writes)
        return {**data, "files": list(paths.values())}


class SavePromised(Transform):
    """Saves the contours of what was promised, and a table with volumes and bounds of Dice.

    Behind `SaveMaps`: ``NAME_outer_STRUCTURE.nii.gz`` and ``NAME_inner_STRUCTURE.nii.gz``, 1 inside, of
    the smallest level that was promised, and ``promised.csv``.

    Args:
        promise: ``promise.json``, or its folder, from ``nacl-monai promise``; None to save nothing.
        output_dir: As in `SaveMaps`.
        cases: As there.
        classes: Names of the network's classes.
        structures: Name → classes.
        calibrator: Name of what may be behind the network; None without.
        calibrated: Whether it is.
        weights: The file of the run's weights; None where nobody has them as they were.

    Raises:
        InputError: If the promise is missing or damaged, of another model, or a case calibrated it.
    """

    def __init__(
        self,
        promise: str | Path | None,
        output_dir: str | Path,
        cases: Sequence[Mapping[str, Sequence[str]]],
        classes: Sequence[str],
        structures: Mapping[str, Sequence[int]],
        calibrator: str | None = None,
        calibrated: bool = True,
        weights: str | Path | None = None,
    ) -> None:
        self.promise = promise
        if promise is None:
            return
        record = _read_promise(promise)
        self.definition, self.seen = record["definition"], record["spacing"]
        self.kept = of_least(record["kept"])
        self.known = record.get("images") or record["cohort"]
        unlike = unlike_model(
            self.definition, classes, structures, calibrator if calibrated else None
        )
        if unlike:
            raise InputError(f"{promise}: is of {unlike}; give that of this model")
        promised = self.definition["weights"]
        if weights is not None and promised not in (None, _checksum(weights)):
            raise InputError(
                f"{promise}: was made of other weights than {weights}; evaluate the run again"
            )
        self.stems = _output_stems(Path(output_dir), [case["image"][0] for case in cases])
        self.table, self.rows = Path(output_dir) / APPLIED, list[dict[str, Any]]()
        self._check_unseen(record)

    def _check_unseen(self, record: Mapping[str, Any]) -> None:
        """Refuses an image of a calibration patient; nnU-Net's name of an image is that of its case."""
        if self.definition.get("anonymous"):
            print_line(
                "note",
                f"{self.promise}: the names of its patients are hidden; be sure that these images are "
                "of others",
            )
            return
        if record["known_by"] == BY_TABLE:
            raise InputError(
                f"{self.promise}: was calibrated by patients whom a table names, and nothing says "
                "whether these are others; apply it with nacl-monai promise --apply, and --patients"
            )
        patients = {*record["cases"], *record["patients"]}
        for file, stem in self.stems.items():
            case = stem.name.removesuffix("_0000")
            names = {case, *alias(case, self.definition.get("prediction_name"))}
            people = (patient_of(name, record["patient_pattern"]) for name in names)
            if patients & {stem.name, *names, *people}:
                raise InputError(
                    f"{self.promise}: was calibrated by {file}, to whom it cannot apply; leave it out"
                )

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Saves the contours of one case; returns it with their paths under ``files``, too.

        Raises:
            ImageFault: If its voxels are of another size, or a file would replace one that is not a map.
        """
        if self.promise is None:
            return dict(data)
        probs = data["pred"]
        file, affine = probs.meta["filename_or_obj"], probs.affine.numpy()
        spacing = np.linalg.norm(affine[:3, :3], axis=0).tolist()
        if problem := unlike_spacing(spacing, self.seen):
            raise ImageFault(f"{file}: {problem}")
        stem = self.stems[file]
        structures = apply_kept(self.kept, self.definition, probs.as_tensor().cpu(), spacing)
        if fault := known_case(fingerprint(structures, spacing), self.known):
            raise ImageFault(f"{file}: {fault}")
        writes: dict[Path, Callable[[BinaryIO], object]] = {}
        for promised in structures:
            for kind, contour in promised.contours.items():
                path = stem.with_name(f"{stem.name}_{kind}_{promised.structure}.nii.gz")
                _check_map(path)
                image = map_image(contour.astype(np.uint8), "label", file, affine)
                writes[path] = partial(compress, image)
        self.rows += table_rows(stem.name, structures)
        writes[self.table] = methodcaller("write", self._text().encode())
        _write(writes)
        new = [path for path in writes if path != self.table or len(self.rows) == len(structures)]
        return {**data, "files": [*data.get("files", ()), *new]}

    def _text(self) -> str:
        text = io.StringIO()
        table = csv.DictWriter(text, list(self.rows[0]), lineterminator="\n")
        table.writeheader()
        for row in self.rows:
            cells = {
                key: "" if np.isnan(cell) else f"{cell:.6f}"
                for key, cell in row.items()
                if isinstance(cell, float)
            }
            texts = {
                key: printable(cell, cell=True)
                for key, cell in row.items()
                if isinstance(cell, str)
            }
            table.writerow({**row, **texts, **cells})
        return text.getvalue()


def _checksum(file: str | Path) -> str:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def _check_map(path: Path) -> None:
    if path.exists() and not is_map(path):
        raise ImageFault(f"{path}: is there, and no map of inference; choose another --output_dir")


def _write(files: Mapping[Path, Callable[[BinaryIO], object]]) -> None:
    try:
        write_together(files)
    except OSError as error:
        where, why = error.filename, error.strerror
        line = f"{where}: cannot be written ({why}); choose another --output_dir"
        raise InputError(line) from error


def _read_promise(place: str | Path) -> Any:
    """The contents of a promise's file, or of the one in its folder."""
    again = "make it again: nacl-monai promise"
    file = Path(place) / "promise.json" if Path(place).is_dir() else Path(place)
    if not file.is_file():
        raise InputError(f"{file}: no such file; {again}")
    try:
        record: Any = json.loads(file.read_text(encoding="utf-8"))
        is_record = isinstance(record, dict)
        fault = fault_in_promise(record) if is_record else "it is not a record"
    except (OSError, RecursionError, ValueError) as error:
        raise InputError(f"{file}: is damaged; {again}") from error
    if fault:
        raise InputError(f"{file}: is not as it was written, {fault}; {again}")
    return record


def _output_stems(output_dir: Path, files: Sequence[str]) -> dict[str, Path]:
    """The path of every file's maps, without their own endings."""
    places = {file: Path(os.path.abspath(file)) for file in files}  # noqa: PTH100 - without links
    common = os.path.commonpath([place.parent for place in places.values()])
    stems = {place: place.with_name(_stem(place)) for place in places.values()}
    equal, taken = Counter(stems.values()), dict[Path, Path]()
    for place, stem in stems.items():
        if equal[stem] > 1:  # which the endings may tell apart
            stems[place] = place
        if taken.setdefault(stems[place], place) != place:
            first = taken[stems[place]]
            raise InputError(
                f"{first} and {place}: their maps would have the same names; rename one"
            )
    return {file: output_dir / stems[places[file]].relative_to(common) for file in files}


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
