"""nnU-Net's raw format: ``imagesTr/NAME_0000.nii.gz``, ``labelsTr/NAME.nii.gz``, ``dataset.json``.

The format is that of nnU-Net v2 (Isensee et al. 2021), which its documentation calls
``Dataset001_NAME``. Its ``splits_final.json`` may be put beside ``dataset.json``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from nacl_monai.data.folders import names_in, paired_names
from nacl_monai.data.formats.description import (
    Description,
    check_endings,
    check_mapping,
    read_ignored,
    read_labels,
)
from nacl_monai.data.own_cases import ENDINGS
from nacl_monai.errors import InputError
from nacl_monai.files import read_object

FILE, SPLITS = "dataset.json", "splits_final.json"
_TRAINING, _TEST = ["imagesTr", "labelsTr"], ["imagesTs", "labelsTs"]


def is_nnunet(root: Path) -> bool:
    """Whether ``dataset.json`` is there and names channels."""
    file = root / FILE
    return file.is_file() and "channel_names" in read_object(file, "write it again")


def describe_nnunet(root: Path) -> Description:
    """Reads ``dataset.json``, and which files there are.

    ``imagesTs`` is the official test set if ``labelsTs`` is there.

    Raises:
        InputError: If a key is missing or cannot be meant, if files end otherwise than it says or are of
            more or fewer cases, or if the folds of ``splits_final.json`` are not a cross-validation.
    """
    file = root / FILE
    content = read_object(file, "write it again")
    check_mapping(file, content, "channel_names", '{"0": "CT"}')
    check_mapping(file, content, "labels", '{"background": 0, "tumor": 1}')
    ending = _readable_ending(file, content)
    names = _channels(file, content["channel_names"])
    suffixes = [f"_{number:04d}" for number in range(len(names))]
    tested = (root / _TEST[1]).is_dir()
    folders = [_TRAINING, _TEST] if tested else [_TRAINING]
    endings = [f"{suffix}{ending}" for suffix in suffixes]
    for images, labels in folders:
        check_endings(root / images, endings, f"{FILE} names {len(names)} channel(s); correct one")
        check_endings(root / labels, [ending], f"which {FILE} has as file_ending; convert it")
    there = paired_names(root / _TRAINING[0], endings, root / _TRAINING[1], ending)
    _check_number(file, content, len(there))
    return Description(
        format="nnU-Net's raw format",
        source=file,
        cases={
            "_target_": "nacl_monai.data.paired_cases",
            "dataset_dir": "@dataset_dir",
            "folders": folders,
            "channels": suffixes,
            "file_ending": ending,
        },
        modalities=suffixes,
        channels=names,
        labels=read_labels(file, content["labels"]),
        ignored=read_ignored(file, content["labels"]),
        sets={"test": sorted(names_in(root / _TEST[1], ending))} if tested else {},
        folds=read_splits(root / SPLITS),
        title=str(content.get("name", "")),
    )


def _readable_ending(file: Path, content: Mapping[str, Any]) -> str:
    """How all files end, which nnU-Net finds by their names and not by a list."""
    if "dataset" in content:
        raise InputError(
            f"{file}: lists its files under `dataset`; put them into imagesTr and labelsTr, or write a "
            "datalist"
        )
    ending = content.get("file_ending")
    if ending not in ENDINGS:
        raise InputError(
            f"{file}: file_ending is {ending!r}, which cannot be read; convert the files to .nii.gz"
        )
    return str(ending)


def _check_number(file: Path, content: Mapping[str, Any], there: int) -> None:
    """Refuses data of which a part was not copied, or that have changed, as nnU-Net does.

    Where nothing is there, whoever lists the cases says so.
    """
    declared = content.get("numTraining", there)
    if there and declared != there:
        raise InputError(
            f"{file}: numTraining is {declared!r}, but imagesTr and labelsTr hold {there} case(s); copy "
            "what is missing, or correct it"
        )


def _channels(file: Path, names: dict[str, Any]) -> list[str]:
    expected = list(map(str, range(len(names))))
    if set(names) != set(expected):
        raise InputError(
            f"{file}: channel_names must be of {', '.join(expected)}, not {', '.join(names)}; correct it"
        )
    return [str(names[number]) for number in expected]


def read_splits(file: Path) -> list[list[str]]:
    """The cases of each fold of a ``splits_final.json``, which validate in it and train in all others.

    Raises:
        InputError: If the file is none, or a case is not in exactly one fold.
    """
    if not file.is_file():
        return []
    folds, trained = _read_folds(file)
    everyone = sorted(chain(*folds))
    whole = [sorted(chain(*both)) for both in zip(folds, trained, strict=True)]
    if len({*everyone}) < len(everyone) or any(one != everyone for one in whole):
        raise InputError(
            f"{file}: is not a cross-validation, in which each case validates in one fold and trains in "
            "the others; remove it, and put a split.json into the run's folder instead"
        )
    return folds


def _read_folds(file: Path) -> tuple[list[list[str]], ...]:
    """The cases that validate in each fold, and those that train in it."""
    try:
        splits = json.loads(file.read_text(encoding="utf-8-sig"))
        return tuple([list(map(str, one[part])) for one in splits] for part in ("val", "train"))
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{file}: is not a list of folds with `train` and `val`; copy it again from "
            "nnUNet_preprocessed"
        ) from error
