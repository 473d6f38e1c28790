"""Formats of a dataset of one's own: each is recognized by what is there, and described alike.

The formats are those of nnU-Net v2 (Isensee et al. 2021), which its documentation calls
``Dataset001_NAME``, with its ``splits_final.json`` beside ``dataset.json``; of the Medical Segmentation
Decathlon (Antonelli et al. 2022), where an image may be one 4-D file with all modalities; a datalist of
MONAI; and two folders of pairs.

A datalist is a JSON file with ``training``, and perhaps ``validation`` and ``testing``. Entries are
``{"image": FILE or [FILE, …], "label": FILE}``, relative to the folder of the JSON file. Those of
``training`` may each have a ``fold``, as MONAI's Auto3DSeg writes them.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, takewhile
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from nacl_monai.data.cases import ENDING
from nacl_monai.data.layouts import (
    IMAGE_ENDINGS,
    entries_of,
    entry_names,
    existing_folder,
    files_of,
    names_ending,
    paired_names,
)
from nacl_monai.errors import InputError
from nacl_monai.files import read_object
from nacl_monai.runs import check_class_names

_Labels = dict[str, list[int]]
#: nnU-Net's name of the label for unlabeled voxels.
IGNORE = "ignore"
#: Labels are read as bytes.
_LARGEST = 255
_FILE, _SPLITS = "dataset.json", "splits_final.json"
_TRAINING, _TEST = ["imagesTr", "labelsTr"], ["imagesTs", "labelsTs"]
_SETS = {"validation": "val", "testing": "test", "test": "test"}
_PAIRS = (["images", "labels"], _TRAINING)
_CHANNEL = re.compile(r"_\d{4}$")


@dataclass(frozen=True)
class Description:
    """A dataset by its own words.

    Attributes:
        format: What was recognized, in words.
        source: The file or folder that says it, which messages name.
        cases: The function of `nacl_monai.data` that finds the cases, and its arguments.
        modalities: What the names of a case's files end with, as inference finds them.
        channels: Names of the image's channels, such as ``["CT"]``; empty where nothing names them.
        labels: For each label but the background, the values on disk that are part of it; None where
            nothing says.
        ignored: The value of unlabeled voxels; None if all are labeled.
        sets: Official sets, such as ``{"test": [names of cases]}``.
        folds: The names of the cases of each fold of a cross-validation.
        title: The dataset's name in words.
    """

    format: str
    source: Path
    cases: dict[str, Any]
    modalities: list[str] = field(default_factory=lambda: [""])
    channels: list[str] = field(default_factory=list)
    labels: _Labels | None = None
    ignored: int | None = None
    sets: dict[str, list[str]] = field(default_factory=dict)
    folds: list[list[str]] = field(default_factory=list)
    title: str = ""


def is_word_for_ct(name: str) -> bool:
    """Whether a channel or a modality of this name is a CT."""
    return name.strip().casefold() == "ct"


def read_label_values(source: Path, labels: Mapping[str, Any]) -> _Labels:
    """The labels of a ``dataset.json``: names to values, as nnU-Net has them, or values to names.

    Args:
        source: The file, for messages.
        labels: ``{"background": 0, "tumor": 1, "whole": [1, 2]}`` or ``{"0": "background", …}``.

    Returns:
        The values of each name in order, without the background and nnU-Net's ``ignore``.

    Raises:
        InputError: If a value is not a whole number, or 0 is not the background, or a part of something
            else.

    Example:
        >>> read_label_values(Path("dataset.json"), {"background": 0, "whole": [1, 2], "core": 2})
        {'whole': [1, 2], 'core': [2]}
    """
    found = label_values(source, labels)
    found.pop(IGNORE, None)
    rest = {name: values for name, values in found.items() if values != [0]}
    is_apart = not any(0 in values for values in rest.values())
    if len(found) != len(rest) + 1 or not rest or not is_apart:
        raise InputError(
            f"{source}: labels: the value 0 must be the background, and of nothing else; correct it"
        )
    return rest


def read_ignored(source: Path, labels: Mapping[str, Any]) -> int | None:
    """The value of unlabeled voxels, which nnU-Net calls ``ignore``; None if all are labeled.

    Args:
        source: The file, for messages.
        labels: As for `read_label_values`.

    Raises:
        InputError: If it is not one value above those of all labels, as in nnU-Net, or above 255.

    Example:
        >>> read_ignored(Path("dataset.json"), {"background": 0, "tumor": 1, "ignore": 2})
        2
    """
    found = label_values(source, labels)
    ignored = found.pop(IGNORE, None)
    if ignored is None:
        return None
    largest = max((value for values in found.values() for value in values), default=0)
    if len(ignored) > 1 or not largest < ignored[0] <= _LARGEST:
        raise InputError(
            f"{source}: labels: ignore is {', '.join(map(str, ignored))}, but must be one value above "
            f"those of all others, {largest}, and at most {_LARGEST}; change it here and in the files"
        )
    return ignored[0]


def label_values(source: Path, labels: Mapping[str, Any]) -> _Labels:
    """The values of every name in the labels of a ``dataset.json``, whichever way they are written.

    Args:
        source: The file, for messages.
        labels: As for `read_label_values`.

    Raises:
        InputError: If a value is not a whole number, or two values have one name.

    Example:
        >>> label_values(Path("dataset.json"), {"0": "background", "1": "tumor", "2": "ignore"})
        {'background': [0], 'tumor': [1], 'ignore': [2]}
    """
    if all(key.isdecimal() for key in labels):
        for name, count in Counter(map(str, labels.values())).items():
            if count > 1:
                raise InputError(
                    f"{source}: labels: {count} values are called {name}; give each a name of its own"
                )
        labels = {str(name): int(value) for value, name in labels.items()}
    check_class_names(labels, f"{source}: labels")
    return {name: _values(source, name, value) for name, value in labels.items()}


def _values(source: Path, name: str, value: Any) -> list[int]:
    """The values of a label, in order, each once."""
    values = value if isinstance(value, list) else [value]
    if not values or any(type(number) is not int for number in values):
        raise InputError(
            f"{source}: labels: the value of {name} is {value}; write a whole number, or a list of "
            "them for a region"
        )
    return sorted(set(values))


def check_mapping(file: Path, content: Mapping[str, Any], key: str, example: str) -> None:
    """Checks that a key of a JSON file is an object with something in it.

    Raises:
        InputError: If it is not.
    """
    if not (isinstance(content.get(key), dict) and content[key]):
        raise InputError(f"{file}: has no {key}; add it, as in {example}")


def check_endings(folder: Path, endings: Sequence[str], remedy: str) -> None:
    """Refuses files of a folder that would be left out in silence.

    Args:
        folder: The folder; it may be missing.
        endings: What the name of each file must end with. Hidden files do not count.
        remedy: What to do.

    Raises:
        InputError: If another file is there, or a folder.
    """
    for path in sorted(folder.glob("[!.]*")):
        if path.is_dir():
            raise InputError(
                f"{path}: is a folder, whose files would be left out; move them into {folder}, or it "
                "elsewhere"
            )
        if path.is_file() and not path.name.endswith(tuple(endings)):
            raise InputError(
                f"{path}: does not end in {' or '.join(dict.fromkeys(endings))}; {remedy}"
            )


def _found_by(function: str, **arguments: Any) -> dict[str, Any]:
    """The function of `nacl_monai.data` that finds the cases, in a configuration."""
    return {"_target_": f"nacl_monai.data.{function}", "dataset_dir": "@dataset_dir", **arguments}


def _has(root: Path, *keys: str) -> bool:
    """Whether ``dataset.json`` is there, with these keys."""
    file = root / _FILE
    return file.is_file() and {*keys} <= read_object(file, "write it again").keys()


def _described(file: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """The entries that the JSON files of all formats share."""
    labels = content.get("labels")
    return {
        "source": file,
        "labels": read_label_values(file, labels) if labels else None,
        "ignored": read_ignored(file, labels) if labels else None,
        "title": str(content.get("name", "")),
    }


def describe_nnunet(root: Path) -> Description:
    """Reads ``dataset.json``, and which files there are.

    ``imagesTs`` is the official test set if ``labelsTs`` is there.

    Raises:
        InputError: If a key is missing or is wrong, if files end otherwise than it says or are of
            more or fewer cases, or if the folds of ``splits_final.json`` are not a cross-validation.
    """
    file = root / _FILE
    content = read_object(file, "write it again")
    check_mapping(file, content, "channel_names", '{"0": "CT"}')
    check_mapping(file, content, "labels", '{"background": 0, "tumor": 1}')
    ending = _readable_ending(file, content)
    names = _declared_channels(file, content["channel_names"])
    suffixes = [f"_{number:04d}" for number in range(len(names))]
    tested = (root / _TEST[1]).is_dir()
    folders = [_TRAINING, _TEST] if tested else [_TRAINING]
    endings = [f"{suffix}{ending}" for suffix in suffixes]
    for images, labels in folders:
        check_endings(root / images, endings, f"{_FILE} names {len(names)} channel(s); correct one")
        check_endings(root / labels, [ending], f"which {_FILE} has as file_ending; convert it")
    there = paired_names(root / _TRAINING[0], endings, root / _TRAINING[1], ending)
    declared = content.get("numTraining", len(there))
    if there and declared != len(there):  # a part was not copied, or the data have changed
        raise InputError(
            f"{file}: numTraining is {declared!r}, but imagesTr and labelsTr hold {len(there)} case(s); "
            "copy what is missing, or correct it"
        )
    return Description(
        format="nnU-Net's raw format",
        cases=_found_by("paired_cases", folders=folders, channels=suffixes, file_ending=ending),
        modalities=suffixes,
        channels=names,
        sets={"test": sorted(names_ending(root / _TEST[1], ending))} if tested else {},
        folds=read_splits(root / _SPLITS),
        **_described(file, content),
    )


def _readable_ending(file: Path, content: Mapping[str, Any]) -> str:
    """How all files end, which nnU-Net finds by their names and not by a list."""
    if "dataset" in content:
        raise InputError(
            f"{file}: lists its files under `dataset`; put them into imagesTr and labelsTr, or write a "
            "datalist"
        )
    ending = content.get("file_ending")
    if ending not in IMAGE_ENDINGS:
        raise InputError(
            f"{file}: file_ending is {ending!r}, which cannot be read; convert the files to .nii.gz"
        )
    return str(ending)


def _declared_channels(file: Path, names: dict[str, Any]) -> list[str]:
    expected = list(map(str, range(len(names))))
    if set(names) != set(expected):
        raise InputError(
            f"{file}: channel_names must be of {', '.join(expected)}, not {', '.join(names)}; correct it"
        )
    return [str(names[number]) for number in expected]


def read_splits(file: Path) -> list[list[str]]:
    """The cases of each fold of a ``splits_final.json``, which validate in it and train in all others.

    Raises:
        InputError: If the file is not a list of folds, or a case is not in exactly one.
    """
    if not file.is_file():
        return []
    folds, trained = _read_folds(file)
    everyone = sorted(chain(*folds))
    whole = [sorted(chain(*both)) for both in zip(folds, trained, strict=True)]
    if len({*everyone}) < len(everyone) or any(cases != everyone for cases in whole):
        raise InputError(
            f"{file}: is not a cross-validation, in which each case validates in one fold and trains in "
            "the others; remove it, and put a split.json into the run's folder instead"
        )
    return folds


def _read_folds(file: Path) -> tuple[list[list[str]], ...]:
    """The cases that validate in each fold, and those that train in it."""
    try:
        splits = json.loads(file.read_text(encoding="utf-8-sig"))
        return tuple([list(map(str, fold[part])) for fold in splits] for part in ("val", "train"))
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{file}: is not a list of folds with `train` and `val`; copy it again from "
            "nnUNet_preprocessed"
        ) from error


def describe_decathlon(root: Path) -> Description:
    """Reads ``dataset.json``; its test cases have no labels, and do not count.

    Raises:
        InputError: If a key is missing or is wrong.
    """
    file = root / _FILE
    content = read_object(file, "write it again")
    check_mapping(file, content, "modality", '{"0": "MRI"}')
    check_mapping(file, content, "labels", '{"0": "background", "1": "tumor"}')
    entries_of(file, content, "training")
    names = sorted(content["modality"].items(), key=lambda item: (len(item[0]), item[0]))
    return Description(
        format="the Decathlon's format",
        cases=_found_by("listed_cases", file=_FILE, lists=["training"]),
        channels=[str(name) for _, name in names],
        folds=read_splits(root / _SPLITS),
        **_described(file, content),
    )


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
    lists = ["training", *(name for name in _SETS if _has_labels(content.get(name)))]
    entries = {name: entries_of(file, content, name) for name in lists}
    everything = list(chain(*entries.values()))
    names = dict(zip(map(id, everything), entry_names(everything), strict=True))
    sets: dict[str, list[str]] = {}
    for name in lists[1:]:
        sets.setdefault(_SETS[name], []).extend(names[id(entry)] for entry in entries[name])
    return Description(
        format="a datalist of MONAI",
        cases=_found_by("listed_cases", file=file.name, lists=lists),
        modalities=_modalities(file, everything),
        channels=_named_channels(content.get("modality")),
        sets=sets,
        folds=_folds(file, entries["training"], names),
        **_described(file, content),
    )


def _named_channels(modality: Any) -> list[str]:
    """The names of the channels; a word for all of them names one only if it is CT."""
    if isinstance(modality, dict):
        return [*map(str, modality.values())]
    return [str(modality)] if is_word_for_ct(str(modality)) else []


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
    """The endings of the names of an image's files, alike and in one order in all entries."""
    first, *rest = [_channel_words(entry) for entry in entries]
    for entry, channels in zip(entries[1:], rest, strict=True):
        if channels != first:
            raise InputError(
                f"{file}: the channels of {files_of(entry)[0]} are {', '.join(channels)}, but "
                f"{', '.join(first)} elsewhere; list them in one order, in files that are called alike"
            )
    if len({*first}) < len(first):
        raise InputError(
            f"{file}: neither names nor folders tell the files of {files_of(entries[0])[0]} apart; "
            "rename them"
        )
    return [""] * len(first) if _names_are_alike(entries[0]) else first


def _channel_words(entry: dict[str, Any]) -> list[str]:
    """The names of an image's files without their common beginning; for equal names, their folders.

    Example:
        >>> _channel_words({"image": ["a_t1_brain.nii", "a_t1ce_brain.nii"]})
        ['t1_brain', 't1ce_brain']
        >>> _channel_words({"image": ["t1/a.nii", "t2/a.nii"]})
        ['t1', 't2']
    """
    paths = [PurePath(file) for file in files_of(entry)]
    if _names_are_alike(entry):
        places = zip(*(path.parts for path in paths), strict=False)
        differing = [parts for parts in places if len({*parts}) > 1]
        return ["/".join(parts) for parts in zip(*differing, strict=True)] or [""]
    names = [re.split(r"(?<=[_-])", ENDING.sub("", path.name)) for path in paths]
    alike = takewhile(lambda parts: len({*parts}) == 1, zip(*names, strict=False))
    begin = len([*alike])
    return ["".join(parts[begin:]) for parts in names]


def _names_are_alike(entry: dict[str, Any]) -> bool:
    return len({PurePath(file).name for file in files_of(entry)}) == 1


def _is_there(root: Path, pair: Sequence[str]) -> bool:
    return all((root / folder).is_dir() for folder in pair)


def describe_folders(root: Path) -> Description:
    """Looks at the names of the files.

    If every image ends in ``_0000``, ``_0001``, …, and no label does, these are its channels. If the
    folders ``imagesTs`` and ``labelsTs`` are there, they are an official test set.

    Raises:
        InputError: If there is a ``dataset.json`` of no known format, if a file cannot be read, if there
            are several endings, or if some images have channels and others have none.
    """
    if (root / _FILE).is_file():
        raise InputError(
            f"{root / _FILE}: has neither channel_names (nnU-Net's) nor modality and training "
            "(the Decathlon's); complete or remove it"
        )
    training = next(pair for pair in _PAIRS if _is_there(root, pair))
    tested = _is_there(root, _TEST)
    pairs = [training, _TEST] if tested else [training]
    ending = _common_ending(root, [*chain(*pairs)])
    channels = _channels(root, training, ending)
    return Description(
        format="two folders of pairs",
        source=root / training[0],
        cases=_found_by("paired_cases", folders=pairs, channels=channels, file_ending=ending),
        modalities=channels,
        sets={"test": sorted(names_ending(root / _TEST[1], ending))} if tested else {},
    )


def _common_ending(root: Path, folders: Sequence[str]) -> str:
    """The ending of all files, which is that of the first image."""
    for folder in folders:
        check_endings(root / folder, IMAGE_ENDINGS, "no other file can be read, so convert it")
    names = sorted(path.name for path in (root / folders[0]).glob("[!.]*"))
    if not names:
        raise InputError(f"{root / folders[0]}: holds no images; put NAME.nii.gz there")
    first = names[0]
    ending = next(ending for ending in IMAGE_ENDINGS if first.endswith(ending))
    for folder in folders:
        check_endings(root / folder, [ending], f"as {first} does; convert one of both")
    return ending


def _channels(root: Path, pair: Sequence[str], ending: str) -> list[str]:
    """The endings of the channels' files, in their order."""
    images, labels = (names_ending(root / folder, ending) for folder in pair)
    if images & labels:  # a number that the label's name has, too, is not a channel
        return [""]
    names = sorted(images)
    found = [_CHANNEL.search(name) for name in names]
    channels = sorted({match[0] for match in found if match})
    if channels and None in found:
        odd = root / pair[0] / f"{names[found.index(None)]}{ending}"
        raise InputError(
            f"{odd}: has no channel in its name as others have, such as {channels[0]}; rename it"
        )
    return channels or [""]


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
    "nnunet": Format(
        "nnU-Net's dataset.json and imagesTr",
        lambda root: _has(root, "channel_names"),
        describe_nnunet,
    ),
    "decathlon": Format(
        "the Decathlon's dataset.json",
        lambda root: _has(root, "modality", "training"),
        describe_decathlon,
    ),
    "datalist": Format(
        "a MONAI datalist (JSON)", lambda root: bool(_datalists(root)), describe_datalist
    ),
    "folders": Format(
        "the folders images and labels",
        lambda root: any(_is_there(root, pair) for pair in _PAIRS),
        describe_folders,
    ),
}


def describe(dataset_dir: str | Path | None) -> Description:
    """The description that the folder of a dataset gives of itself.

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
