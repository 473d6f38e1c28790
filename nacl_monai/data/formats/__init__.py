"""Formats of a dataset of one's own: each is recognized by what is there, and described alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from nacl_monai.data.folders import existing_folder
from nacl_monai.data.formats.datalist import describe_datalist, is_datalist
from nacl_monai.data.formats.decathlon import describe_decathlon, is_decathlon
from nacl_monai.data.formats.description import Description
from nacl_monai.data.formats.folders import describe_folders, is_folders
from nacl_monai.data.formats.nnunet import describe_nnunet, is_nnunet
from nacl_monai.errors import InputError

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
