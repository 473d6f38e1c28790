"""Formats of a dataset of one's own: each is recognized by what is there, and described alike.

A datalist of MONAI is a JSON file with ``training``, and perhaps ``validation`` and ``testing``.
Entries are ``{"image": FILE or [FILE, …], "label": FILE}``, relative to the folder of the JSON file.
Those of ``training`` may each have a ``fold``, as MONAI's Auto3DSeg writes them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from itertools import chain, takewhile
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from nacl_monai.data.cases import ENDING, existing_folder
from nacl_monai.data.descriptions import (
    Description,
    check_mapping,
    describe_decathlon,
    describe_folders,
    describe_nnunet,
    is_decathlon,
    is_folders,
    is_nnunet,
    is_word_for_ct,
    read_ignored,
    read_labels,
)
from nacl_monai.data.own_cases import entries_of, entry_names, files_of
from nacl_monai.errors import InputError
from nacl_monai.files import read_object

_SETS = {"validation": "val", "testing": "test", "test": "test"}


def is_datalist(root: Path) -> bool:
    """Whether there is a JSON file with a list ``training``."""
    return bool(_datalists(root))


def describe_datalist(root: Path) -> Description:
    """Reads the datalist.

    Labels and modalities are taken from its keys ``labels`` and ``modality``, where it has them. Test
    cases without labels do not count.

    Raises:
        InputError: If there are several datalists, or an entry cannot be used.
    """
    datalists = _datalists(root)
    if len(datalists) > 1:
        raise InputError(
            f"{root}: has several datalists, {', '.join(file.name for file in datalists)}; move all but "
            "one"
        )
    ((file, content),) = datalists.items()
    if "labels" in content:
        check_mapping(file, content, "labels", '{"0": "background", "1": "tumor"}')
    labels = content.get("labels")
    lists = ["training", *(name for name in _SETS if _has_labels(content.get(name)))]
    entries = {name: entries_of(file, content, name) for name in lists}
    everything = list(chain(*entries.values()))
    names = dict(zip(map(id, everything), entry_names(everything), strict=True))
    sets: dict[str, list[str]] = {}
    for name in lists[1:]:
        sets.setdefault(_SETS[name], []).extend(names[id(entry)] for entry in entries[name])
    return Description(
        format="a datalist of MONAI",
        source=file,
        cases={
            "_target_": "nacl_monai.data.listed_cases",
            "dataset_dir": "@dataset_dir",
            "file": file.name,
            "lists": lists,
        },
        modalities=_modalities(file, everything),
        channels=_channels(content.get("modality")),
        labels=read_labels(file, labels) if labels else None,
        ignored=read_ignored(file, labels) if labels else None,
        sets=sets,
        folds=_folds(file, entries["training"], names),
        title=str(content.get("name", "")),
    )


def _channels(modality: Any) -> list[str]:
    """The names of the channels, if they are listed as in the Decathlon's format, or CT is the word."""
    if isinstance(modality, dict):
        return list(map(str, modality.values()))
    return [modality] if is_word_for_ct(str(modality)) else []


def _datalists(root: Path) -> dict[Path, dict[str, Any]]:
    """The content of each JSON file with a list ``training``."""
    datalists = {}
    for file in sorted(root.glob("[!.]*.json")):
        with suppress(InputError):  # it is something else
            content = read_object(file, "write it again")
            if isinstance(content.get("training"), list):
                datalists[file] = content
    return datalists


def _has_labels(entries: Any) -> bool:
    """Whether a list is of labeled cases; one without any label is of images to predict."""
    return isinstance(entries, list) and any(
        isinstance(entry, dict) and "label" in entry for entry in entries
    )


def _folds(file: Path, entries: list[dict[str, Any]], names: dict[int, str]) -> list[list[str]]:
    """The cases of each fold, if the entries have any."""
    numbers = [entry.get("fold") for entry in entries]
    if all(number is None for number in numbers):
        return []
    folds = range(len({*map(str, numbers)}))
    if not all(number in folds for number in numbers):
        raise InputError(
            f"{file}: training: the folds must be 0, 1, 2, … and every entry in one; correct them"
        )
    return [[names[id(entry)] for entry in entries if entry["fold"] == fold] for fold in folds]


def _modalities(file: Path, entries: list[dict[str, Any]]) -> list[str]:
    """What the names of an image's files end with, alike and in one order in all entries."""
    first, *others = [_channel_words(entry) for entry in entries]
    for entry, words in zip(entries[1:], others, strict=True):
        if words != first:
            raise InputError(
                f"{file}: the channels of {files_of(entry)[0]} are {', '.join(words)}, but "
                f"{', '.join(first)} elsewhere; list them in one order, in files that are called alike"
            )
    if len({*first}) < len(first):
        raise InputError(
            f"{file}: neither names nor folders tell the files of {files_of(entries[0])[0]} apart; "
            "rename them"
        )
    return [""] * len(first) if _names_are_alike(entries[0]) else first


def _channel_words(entry: dict[str, Any]) -> list[str]:
    """What the names of an image's files do not begin with alike; for equal names, their folders.

    Example:
        >>> _channel_words({"image": ["a_t1_brain.nii", "a_t1ce_brain.nii"]})
        ['t1_brain', 't1ce_brain']
        >>> _channel_words({"image": ["t1/a.nii", "t2/a.nii"]})
        ['t1', 't2']
    """
    paths = [PurePath(file) for file in files_of(entry)]
    if _names_are_alike(entry):
        differing = [
            parts
            for parts in zip(*(path.parts for path in paths), strict=False)
            if len({*parts}) > 1
        ]
        return ["/".join(words) for words in zip(*differing, strict=True)] or [""]
    names = [re.split(r"(?<=[_-])", ENDING.sub("", path.name)) for path in paths]
    alike = takewhile(lambda words: len({*words}) == 1, zip(*names, strict=False))
    begin = len([*alike])
    return ["".join(words[begin:]) for words in names]


def _names_are_alike(entry: dict[str, Any]) -> bool:
    return len({PurePath(file).name for file in files_of(entry)}) == 1


__all__ = ["FORMATS", "Description", "Format", "describe"]


class Format(NamedTuple):
    """How a format is recognized and read.

    Attributes:
        shape: What must be there, for a message.
        is_there: Whether a folder has it.
        describe: What the folder says of itself.
    """

    shape: str
    is_there: Callable[[Path], bool]
    describe: Callable[[Path], Description]


#: By name, in the order in which they are looked for.
FORMATS: dict[str, Format] = {
    "nnunet": Format("nnU-Net's dataset.json and imagesTr", is_nnunet, describe_nnunet),
    "decathlon": Format("the Decathlon's dataset.json", is_decathlon, describe_decathlon),
    "datalist": Format("a MONAI datalist (JSON)", is_datalist, describe_datalist),
    "folders": Format("the folders images and labels", is_folders, describe_folders),
}


def describe(dataset_dir: str | Path | None) -> Description:
    """What the folder of a dataset says of itself.

    Raises:
        InputError: If it is missing, is of no known format, or cannot be used.
    """
    root = existing_folder(dataset_dir)
    for format_ in FORMATS.values():
        if format_.is_there(root):
            return format_.describe(root)
    shapes = [format_.shape for format_ in FORMATS.values()]
    raise InputError(
        f"dataset_dir {root}: is of no known format; put there {', '.join(shapes[:-1])} or {shapes[-1]}"
    )
