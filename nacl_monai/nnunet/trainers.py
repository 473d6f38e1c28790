"""A trainer of nnU-Net in whose loss one term is replaced by a loss of this package.

nnU-Net minimizes Dice + cross-entropy at every resolution of its network. Dice, the weights of the
resolutions and everything but the loss remain nnU-Net's own.
"""

from __future__ import annotations

import inspect
import sys
from collections import ChainMap
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name
from types import TracebackType
from typing import Any, ClassVar

from torch import nn

from nacl_monai.errors import InputError, SettingError, print_error
from nacl_monai.files import read_object
from nacl_monai.losses.base import needs_image
from nacl_monai.menus import read_menu
from nacl_monai.nnunet.finding import TRAINERS, check_installed

# Comes from dataset.json.
_IGNORE = "ignore_index"
# Comes from nnU-Net itself.
_DICE = "dice_weight"


@cache
def make_trainer(name: str) -> type[Any]:
    """Makes a class of nnU-Net's ``nnUNetTrainer``.

    Args:
        name: A key of `TRAINERS`.

    Raises:
        InputError: If nnU-Net is missing or too old.
    """
    check_installed()
    base = import_module("nnunetv2.training.nnUNetTrainer.nnUNetTrainer").nnUNetTrainer
    loss, with_dice = TRAINERS[name]
    choice = read_menu("losses")[loss]
    settings = {name: value for name, value in choice.settings.items() if name != _DICE}
    members = {
        "__module__": "nacl_monai.nnunet",
        "__doc__": f"nnU-Net's trainer with {choice.target}{' and Dice' if with_dice else ''}.",
        "loss_class": resolve_name(choice.target),
        "loss_settings": settings if with_dice else choice.settings,
        "with_dice": with_dice,
    }
    return type(name, (CalibratedTrainer, base), members)


class CalibratedTrainer:
    """The base of our trainers, before ``nnUNetTrainer``.

    Attributes:
        loss_class: The loss that takes the place of cross-entropy.
        loss_settings: Its arguments. A subclass inherits those that it does not name.
            nnU-Net's ``debug.json`` keeps them.
        with_dice: Whether nnU-Net's Dice is added.
    """

    loss_class: ClassVar[Callable[..., nn.Module]]
    loss_settings: Mapping[str, Any] = {}
    with_dice: ClassVar[bool]

    # nnU-Net's
    label_manager: Any
    enable_deep_supervision: bool
    current_epoch: int
    output_folder: str
    print_to_log_file: Callable[..., None]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        settings = (vars(part).get("loss_settings", {}) for part in cls.__mro__)
        cls.loss_settings = dict(ChainMap(*settings))

    def _build_loss(self) -> nn.Module:
        """nnU-Net's loss with ours in place of its cross-entropy, or of all of it.

        Raises:
            InputError: If the dataset or the settings do not suit it. It ends nnU-Net's command in one
                line.
        """
        _one_line_errors()
        if self.label_manager.has_regions:
            raise self._refusal(
                "is for classes of which one is right, but dataset.json has regions; train these by "
                "nnUNetTrainer, or give every label a value of its own"
            )
        loss = self._own_loss()
        self.print_to_log_file(f"{type(loss).__name__}: {self.loss_settings}")
        built: nn.Module = super()._build_loss()  # type: ignore[misc]
        if self.with_dice:
            both = built.loss if self.enable_deep_supervision else built
            if not hasattr(both, "ce"):
                raise self._refusal(
                    f"derives from a trainer whose {type(both).__name__} has no cross-entropy to "
                    "replace; derive from another one"
                )
            both.ce = loss
        elif self.enable_deep_supervision:
            built.loss = loss
        else:
            built = loss
        return built

    def _own_loss(self) -> nn.Module:
        self.loss_settings = {**type(self).loss_settings, **self.loss_settings}
        known = [name for name in inspect.signature(self.loss_class).parameters if name != _IGNORE]
        for name in self.loss_settings:
            if name not in known:
                raise self._refusal(
                    f"loss_settings has {name!r}, which {self.loss_class.__name__} does not know; "
                    f"choose from: {', '.join(known)}"
                )
        loss = self.loss_class(**self.loss_settings, **{_IGNORE: self.label_manager.ignore_label})
        if needs_image(loss):
            raise self._refusal(
                "loss_settings has a prior that needs the image, which nnU-Net hands to no loss; choose "
                "another one"
            )
        if self.enable_deep_supervision and self.loss_settings.get("width_mm") is not None:
            raise self._refusal(
                "loss_settings has a width in mm, but the voxels of nnU-Net's further outputs are "
                "larger than the spacing; give kernel_size and sigma, in voxels"
            )
        return loss

    def on_train_start(self) -> None:
        """Goes on with a training only as it began.

        Raises:
            InputError: If it began with other settings.
        """
        file = Path(self.output_folder) / "debug.json"
        if self.current_epoch and file.is_file():
            began = read_object(file, "train anew, without --c").get("loss_settings")
            if began not in (None, str(self.loss_settings)):
                raise self._refusal(
                    f"loss_settings is {self.loss_settings}, but the training began with {began} "
                    f"({file}); give those, or train anew, without --c"
                )
        super().on_train_start()  # type: ignore[misc]

    def _refusal(self, what: str) -> SettingError:
        return SettingError(f"{type(self).__name__}: {what}")


def _one_line_errors() -> None:
    """From now on an `InputError` ends the process with its message alone, and nothing else does."""
    sys.excepthook = _show


def _show(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if isinstance(error, InputError):
        print_error(error)
    else:
        sys.__excepthook__(kind, error, traceback)
