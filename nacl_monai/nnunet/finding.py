"""How nnU-Net finds the trainers: their names, and the folder where it looks."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path

from nacl_monai.errors import InputError

#: What a trainer is called by, and its loss in the menu.
LOSSES = {name: name.lower() for name in ("NACL", "MbLS", "SVLS")}
LOSSES |= {"LS": "label_smoothing", "ECP": "ecp", "Focal": "focal", "CE": "cross_entropy"}

#: Name of each trainer → its loss in the menu, and whether nnU-Net's Dice is added.
TRAINERS = {
    f"nnUNetTrainer{dice}{word}": (LOSSES[word], bool(dice))
    for dice, word in product(("Dice", ""), LOSSES)
} | {
    "nnUNetTrainerNACLMixed": ("nacl_mixed", False),
    "nnUNetTrainerDiceNACLMixed": ("nacl_mixed_dice", True),
}

#: The first version of nnU-Net that looks for trainers outside its own folder.
LOWEST_VERSION = (2, 8)


def trainers_folder() -> Path:
    """Returns the folder in which nnU-Net finds the trainers, for its ``nnUNet_extTrainer``.

    Raises:
        InputError: If nnU-Net is missing or too old, or cannot be told of the folder.
    """
    check_installed()
    folder = Path(__file__).resolve().parent / "extension"
    if os.pathsep in str(folder):
        raise InputError(
            f"{folder}: has {os.pathsep!r} in its name, by which nnU-Net separates folders; "
            "install this package elsewhere"
        )
    return folder


def check_installed() -> None:
    """Refuses to go on without nnU-Net.

    Raises:
        InputError: If it is missing or too old.
    """
    lowest = ".".join(map(str, LOWEST_VERSION))
    try:
        installed = version("nnunetv2")
    except PackageNotFoundError:
        raise InputError(
            f"nnunetv2: is not installed here; pip install 'nnunetv2>={lowest}'"
        ) from None
    if tuple(map(int, installed.split(".")[:2])) < LOWEST_VERSION:
        raise InputError(
            f"nnunetv2: is {installed}, which finds no trainers outside its own folder; "
            f"pip install 'nnunetv2>={lowest}'"
        )
