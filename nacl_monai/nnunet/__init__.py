"""Trainers for nnU-Net with the losses of this package, alone and with nnU-Net's Dice.

nnU-Net finds them by its variable ``nnUNet_extTrainer``, for which this package prints the folder::

    export nnUNet_extTrainer="$(python -m nacl_monai.nnunet)"
    nnUNetv2_train 4 2d 0 -tr nnUNetTrainerDiceNACL --npz

Each is a class of this module, made when it is asked for, since nnU-Net is an extra. Settings of a loss
are those of the menu of losses (`nacl_monai.menus`); a subclass changes them::

    from nacl_monai.nnunet import nnUNetTrainerDiceNACL

    class nnUNetTrainerDiceNACL_weight1(nnUNetTrainerDiceNACL):
        loss_settings = {"penalty_weight": 1.0}
"""

from __future__ import annotations

from typing import Any

from nacl_monai.nnunet.finding import TRAINERS, trainers_folder

__all__ = ["TRAINERS", "trainers_folder"]


def __getattr__(name: str) -> Any:
    """The trainer of that name.

    Raises:
        InputError: If nnU-Net is missing.
    """
    if name not in TRAINERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from nacl_monai.nnunet.trainers import make_trainer  # noqa: PLC0415 - loads torch

    return make_trainer(name)
