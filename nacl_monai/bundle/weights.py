"""A run's model file: never overwritten, and read with errors that name it."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import nn

from nacl_monai.errors import InputError


def refuse_to_overwrite(file: str | Path) -> None:
    """Raises an `InputError` if ``file``, the result of a run, is already there."""
    if Path(file).exists():
        raise InputError(
            f"{file}: a trained model is already there; choose another output_dir "
            "(--output_dir DIR), or remove that folder to train anew"
        )


def load_weights(network: nn.Module, file: str | Path) -> None:
    """Loads the state dictionary in ``file`` into ``network``.

    Raises:
        InputError: The file is missing or damaged, or belongs to another network.
    """
    try:
        weights = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{file}: no trained model there; train first") from None
    except (UnpicklingError, EOFError, OSError, RuntimeError) as error:
        raise InputError(f"{file}: is damaged; train again") from error
    try:
        network.load_state_dict(weights)
    except (RuntimeError, TypeError) as error:
        raise InputError(
            f"{file}: does not fit the network; choose the one it was trained with "
            "(--network_def, classes, in_channels)"
        ) from error
