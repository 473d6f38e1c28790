"""Two folders of pairs: ``images/NAME[_0000].nii.gz`` and ``labels/NAME.nii.gz``."""

from __future__ import annotations

import re
from pathlib import Path

from nacl_monai.data.formats.description import Description, check_endings
from nacl_monai.data.own_cases import ENDINGS
from nacl_monai.errors import InputError

_PAIRS = (("images", "labels"), ("imagesTr", "labelsTr"))
_TEST = {"images": ("imagesTs", "labelsTs"), "imagesTr": ("imagesTs", "labelsTs")}
_CHANNEL = re.compile(r"_\d{4}$")


def is_folders(root: Path) -> bool:
    """Whether a folder of images and one of labels are there."""
    return any((root / images).is_dir() and (root / labels).is_dir() for images, labels in _PAIRS)


def describe_folders(root: Path) -> Description:
    """Looks at the names of the files.

    If every image ends in ``_0000``, ``_0001``, …, and no label does, these are its channels.

    Raises:
        InputError: If there is a ``dataset.json`` of no known format, if a file cannot be read, if there
            are several endings, or if some images have channels and others have none.
    """
    if (root / "dataset.json").is_file():
        raise InputError(
            f"{root / 'dataset.json'}: has neither channel_names (nnU-Net's) nor modality and training "
            "(the Decathlon's); complete or remove it"
        )
    images, labels = next(
        pair for pair in _PAIRS if all((root / folder).is_dir() for folder in pair)
    )
    folders = [[images, labels]]
    if all((root / folder).is_dir() for folder in _TEST[images]):
        folders.append(list(_TEST[images]))
    for folder in (folder for pair in folders for folder in pair):
        check_endings(root / folder, ENDINGS, "no other file can be read, so convert it")
    files = [path.name for path in sorted((root / images).glob("[!.]*")) if path.is_file()]
    if not files:
        raise InputError(f"{root / images}: holds no images; put NAME.nii.gz there")
    ending = next(ending for ending in ENDINGS if files[0].endswith(ending))
    for folder in (folder for pair in folders for folder in pair):
        check_endings(root / folder, [ending], f"as {files[0]} does; convert one of both")
    labeled = {path.name for path in (root / labels).glob(f"[!.]*{ending}")}
    # A number at the end of a name is no channel if the label's name has it, too.
    channels = [""] if labeled & set(files) else _channels(root / images, files, ending)
    tested = sorted(path.name for path in (root / folders[-1][1]).glob(f"[!.]*{ending}"))
    return Description(
        format="two folders of pairs",
        source=root / images,
        cases={
            "_target_": "nacl_monai.data.paired_cases",
            "dataset_dir": "@dataset_dir",
            "folders": folders,
            "channels": channels,
            "file_ending": ending,
        },
        modalities=channels,
        sets=({"test": [name.removesuffix(ending) for name in tested]} if len(folders) > 1 else {}),
    )


def _channels(folder: Path, files: list[str], ending: str) -> list[str]:
    """What the names of the channels' files end with, in their order."""
    found = {name: _CHANNEL.search(name.removesuffix(ending)) for name in files}
    channels = sorted({match[0] for match in found.values() if match})
    odd = [name for name, match in found.items() if not match]
    if channels and odd:
        raise InputError(
            f"{folder / odd[0]}: has no channel in its name as others have, such as {channels[0]}; "
            "rename it"
        )
    return channels or [""]
