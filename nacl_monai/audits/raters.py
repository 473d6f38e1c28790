"""Folders of label maps, one for each of several raters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from nacl_monai.audits.images import read_image
from nacl_monai.audits.labels import label_files, pair
from nacl_monai.audits.saved import Prediction
from nacl_monai.errors import InputError, SettingError

#: The folder of the label maps; with several raters, name → folder.
Folders = Path | Mapping[str, Path]
#: A case, and its label map by each rater.
Pair = tuple[Prediction, Sequence[Path]]


def by_name(labels: Folders) -> Mapping[str, Path]:
    """Name → folder, also of a single rater, who needs no name."""
    return {"": labels} if isinstance(labels, Path) else labels


def check_raters(labels: Folders) -> None:
    """Refuses raters who cannot be meant, before the first prediction is read.

    Raises:
        SettingError: If there is only one, or a name that no folder can have.
        InputError: If a folder is given twice or holds no label map, or if two hold the same label maps:
            the rater would count twice.
    """
    if isinstance(labels, Path):
        return
    if len(labels) < 2:
        raise SettingError(
            "--raters: is one folder; give two or more, or this one as the last folder without --raters"
        )
    for name in labels:
        check_name(name, "--rater-names")
    for one, other in combinations(labels.values(), 2):
        _check_apart(one, other)


def check_name(name: str, option: str) -> None:
    """Refuses a name that no folder in the output can have.

    Raises:
        SettingError: If it is empty, or leads elsewhere.
    """
    if Path(name).name != name or name in ("", ".", ".."):
        raise SettingError(f"{option}: {name!r} is not a name of a folder; choose another")


def _check_apart(one: Path, other: Path) -> None:
    files = label_files(one), label_files(other)
    if one.resolve() == other.resolve():
        raise InputError(f"{other}: is given twice; give every rater once")
    if _are_same(*files):
        raise InputError(
            f"{other}: has the same label maps as {one}, so that one rater would count twice; leave one "
            "of them out"
        )


def _are_same(one: Mapping[str, Path], other: Mapping[str, Path]) -> bool:
    """Whether all common label maps are the same, and not all of them empty; stops at the first."""
    marked = False
    for case in one.keys() & other.keys():
        try:
            first, second = (read_image(files[case]).voxels for files in (one, other))
        except InputError:  # the audit names it
            continue
        if not np.array_equal(first, second):
            return False
        marked = marked or bool(first.any())
    return marked


def pair_with_all(
    predictions: Sequence[Prediction], raters: Sequence[Mapping[str, Path]], folder: Path
) -> tuple[list[Pair], list[InputError]]:
    """Predictions with the label maps of all raters, and the faults of those that one of them lacks.

    Args:
        predictions: The predictions of one folder.
        raters: For each of them, case → file.
        folder: The folder of the predictions, for the messages.

    Raises:
        InputError: If a rater has no label map of any case, or if no case has those of all.
    """
    faults: list[InputError] = []
    cases: dict[Path, Prediction] = {}
    labels: dict[Path, list[Path]] = defaultdict(list)
    for files in raters:
        of_rater, faults_of_rater = pair(predictions, files, folder)
        faults += faults_of_rater
        for one, label in of_rater:
            cases.setdefault(one.file, one)
            labels[one.file].append(label)
    pairs: list[Pair] = [
        (one, labels[file]) for file, one in cases.items() if len(labels[file]) == len(raters)
    ]
    if not pairs:
        raise InputError(
            f"{folder}: no case has a label map of every rater; give raters of the same cases"
        )
    return pairs, faults
