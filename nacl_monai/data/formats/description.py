"""What a folder of data says of itself, whatever its format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nacl_monai.errors import InputError

Labels = dict[str, list[int]]
#: nnU-Net's name of the label of voxels that nobody labeled.
IGNORE = "ignore"
#: Labels are read as bytes.
_LARGEST = 255


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
        ignored: The value of voxels that nobody labeled; None where all are.
        sets: Official sets, such as ``{"test": [names of cases]}``.
        folds: The names of the cases of each fold of a cross-validation.
        title: The dataset's name in words.
    """

    format: str
    source: Path
    cases: dict[str, Any]
    modalities: list[str] = field(default_factory=lambda: [""])
    channels: list[str] = field(default_factory=list)
    labels: Labels | None = None
    ignored: int | None = None
    sets: dict[str, list[str]] = field(default_factory=dict)
    folds: list[list[str]] = field(default_factory=list)
    title: str = ""


def is_word_for_ct(name: str) -> bool:
    """Whether a channel or a modality of this name is a CT."""
    return name.strip().casefold() == "ct"


def read_labels(source: Path, labels: Mapping[str, Any]) -> Labels:
    """The labels of a ``dataset.json``: names to values, as nnU-Net has them, or values to names.

    Args:
        source: The file, for messages.
        labels: ``{"background": 0, "tumor": 1, "whole": [1, 2]}`` or ``{"0": "background", …}``.

    Returns:
        For each name but the background's and nnU-Net's ``ignore``, its values in order.

    Raises:
        InputError: If a value is not a whole number, or 0 is not the background, or a part of something
            else.

    Example:
        >>> read_labels(Path("dataset.json"), {"background": 0, "whole": [1, 2], "core": 2})
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
    """The value of voxels that nobody labeled, which nnU-Net calls ``ignore``; None where all are.

    Args:
        source: The file, for messages.
        labels: As for `read_labels`.

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
    others = max((value for values in found.values() for value in values), default=0)
    if len(ignored) > 1 or not others < ignored[0] <= _LARGEST:
        raise InputError(
            f"{source}: labels: ignore is {', '.join(map(str, ignored))}, but must be one value above "
            f"those of all others, {others}, and at most {_LARGEST}; change it here and in the files"
        )
    return ignored[0]


def label_values(source: Path, labels: Mapping[str, Any]) -> Labels:
    """The values of every name in the labels of a ``dataset.json``, whichever way they are written.

    Args:
        source: The file, for messages.
        labels: As for `read_labels`.

    Raises:
        InputError: If a value is not a whole number, or two values have one name.

    Example:
        >>> label_values(Path("dataset.json"), {"0": "background", "1": "tumor", "2": "ignore"})
        {'background': [0], 'tumor': [1], 'ignore': [2]}
    """
    if all(key.isdecimal() for key in labels):
        _check_distinct(source, labels)
        labels = {str(name): int(value) for value, name in labels.items()}
    return {name: _values(source, name, value) for name, value in labels.items()}


def _check_distinct(source: Path, labels: Mapping[str, Any]) -> None:
    for name, count in Counter(map(str, labels.values())).items():
        if count > 1:
            raise InputError(
                f"{source}: labels: {count} values are called {name}; give each a name of its own"
            )


def _values(source: Path, name: str, value: Any) -> list[int]:
    """The values of a label, in order, each once."""
    values = value if isinstance(value, list) else [value]
    if not values or any(type(one) is not int for one in values):
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
