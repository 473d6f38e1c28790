"""Cases with one file per class: how many there are, and the files in the order of the classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from nacl_monai.audits.channels import Channels
from nacl_monai.audits.images import named_once
from nacl_monai.audits.raters import Pair
from nacl_monai.audits.saved import Prediction
from nacl_monai.errors import InputError


def count_files(prediction: Prediction) -> int:
    """The number of classes where no file names them.

    Raises:
        InputError: If the files of the case are not called 0, 1, 2, …
    """
    names = sorted(prediction.files, key=_number)
    if [_number(name)[0] for name in names] != list(range(len(names))):
        raise InputError(
            f"{prediction.file}: the files of a case are {', '.join(names)}, and nothing says which "
            "labels they stand for; give --dataset dataset.json with their names"
        )
    return len(names)


def _number(name: str) -> tuple[float, str]:
    return (int(name) if name.isdecimal() else float("inf"), name)


def all_in_order(pairs: Sequence[Pair], channels: Channels) -> tuple[list[Pair], list[InputError]]:
    """The cases with their files in the order of the classes, and the faults of others.

    Args:
        pairs: The cases; those with a single file for all classes stay as they are.
        channels: What the channels mean.
    """
    ordered: list[Pair] = []
    faults = []
    for one, label_maps in pairs:
        try:
            ordered.append((_in_order(one, channels), label_maps))
        except InputError as fault:
            faults.append(fault)
    return ordered, faults


def _in_order(prediction: Prediction, channels: Channels) -> Prediction:
    files = prediction.files
    if "" in files:
        return prediction
    by_key, keys = _keyed(files, channels)
    if by_key.keys() != set(keys):
        raise InputError(
            f"{prediction.file}: the files of this case are {', '.join(sorted(files))}, but there are "
            f"{channels.describe()}: {', '.join(channels.names)}; give one file for each"
        )
    return replace(prediction, files={key: by_key[key] for key in keys})


def _keyed(files: Mapping[str, Path], channels: Channels) -> tuple[dict[str, Path], list[str]]:
    """Files and channels by label values where all files have numbers for names, or else by names."""
    if not channels.overlapping and all(map(str.isdecimal, files)):
        values = [str(of[0]) for of in channels.values.values()]
        return named_once((str(int(name)), file) for name, file in files.items()), values
    names = [name.lower() for name in channels.names]
    return named_once((name.lower(), file) for name, file in files.items()), names
