"""Two folders of pairs: ``images/NAME[_0000].nii.gz`` and ``labels/NAME.nii.gz``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from nacl_monai.data.folders import names_in
from nacl_monai.data.formats.description import Description, check_endings
from nacl_monai.data.own_cases import ENDINGS
from nacl_monai.errors import InputError

_PAIRS = (("images", "labels"), ("imagesTr", "labelsTr"))
_TEST = ("imagesTs", "labelsTs")
_CHANNEL = re.compile(r"_\d{4}$")


def is_folders(root: Path) -> bool:
    """Whether a folder of images and one of labels are there."""
    return any(_is_there(root, pair) for pair in _PAIRS)


def describe_folders(root: Path) -> Description:
    """Looks at the names of the files.

    If every image ends in ``_0000``, ``_0001``, …, and no label does, these are its channels. If the
    folders ``imagesTs`` and ``labelsTs`` are there, they are an official test set.

    Raises:
        InputError: If there is a ``dataset.json`` of no known format, if a file cannot be read, if there
            are several endings, or if some images have channels and others have none.
    """
    _check_alone(root)
    training = next(pair for pair in _PAIRS if _is_there(root, pair))
    pairs = [training, _TEST] if _is_there(root, _TEST) else [training]
    ending = _common_ending(root, [*chain(*pairs)])
    channels = _channels(root, training, ending)
    return Description(
        format="two folders of pairs",
        source=root / training[0],
        cases={
            "_target_": "nacl_monai.data.paired_cases",
            "dataset_dir": "@dataset_dir",
            "folders": [list(pair) for pair in pairs],
            "channels": channels,
            "file_ending": ending,
        },
        modalities=channels,
        sets={"test": sorted(names_in(root / _TEST[1], ending))} if _TEST in pairs else {},
    )


def _is_there(root: Path, pair: Sequence[str]) -> bool:
    return all((root / folder).is_dir() for folder in pair)


def _check_alone(root: Path) -> None:
    if (root / "dataset.json").is_file():
        raise InputError(
            f"{root / 'dataset.json'}: has neither channel_names (nnU-Net's) nor modality and training "
            "(the Decathlon's); complete or remove it"
        )


def _common_ending(root: Path, folders: Sequence[str]) -> str:
    """The ending of all files, which is that of the first image."""
    for folder in folders:
        check_endings(root / folder, ENDINGS, "no other file can be read, so convert it")
    first = _first_file(root / folders[0])
    ending = next(ending for ending in ENDINGS if first.endswith(ending))
    for folder in folders:
        check_endings(root / folder, [ending], f"as {first} does; convert one of both")
    return ending


def _first_file(images: Path) -> str:
    names = sorted(path.name for path in images.glob("[!.]*"))
    if not names:
        raise InputError(f"{images}: holds no images; put NAME.nii.gz there")
    return names[0]


def _channels(root: Path, pair: Sequence[str], ending: str) -> list[str]:
    """What the names of the channels' files end with, in their order."""
    images, labels = (names_in(root / folder, ending) for folder in pair)
    # A number at the end of a name is not a channel if the label's name has it, too.
    return [""] if images & labels else _numbers(root / pair[0], sorted(images), ending)


def _numbers(folder: Path, names: Sequence[str], ending: str) -> list[str]:
    """The numbers of channels at the end of names, which all have one or none has."""
    found = [_CHANNEL.search(name) for name in names]
    channels = sorted({match[0] for match in found if match})
    if channels and None in found:
        odd = folder / f"{names[found.index(None)]}{ending}"
        raise InputError(
            f"{odd}: has no channel in its name as others have, such as {channels[0]}; rename it"
        )
    return channels or [""]
