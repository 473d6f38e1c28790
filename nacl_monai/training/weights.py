"""A run's model file, read with errors that name it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import nn

from nacl_monai.errors import InputError
from nacl_monai.training.state_files import is_whole, load_state


def load_weights(network: nn.Module, file: str | Path) -> nn.Module:
    """Loads the state dictionary in ``file`` into ``network``, and returns it.

    Args:
        network: The network that it was trained with.
        file: As `nacl_monai.training.BestModel` writes it.

    Raises:
        InputError: If the file is missing or damaged, is not the one of the checksum beside it, belongs
            to another network, or holds NaN or infinite weights.
    """
    if not Path(file).is_file():
        raise InputError(f"{file}: no trained model there; train first")
    if not is_whole(file):
        raise InputError(
            f"{file}: is damaged, or not the file that was trained; put it back, or start the training "
            "again, which restores it if it can"
        )
    try:
        network.load_state_dict(load_state(file))
    except (UnpicklingError, RuntimeError, TypeError) as error:
        raise InputError(
            f"{file}: does not fit the network; choose the one it was trained with "
            "(--network_def, classes, in_channels)"
        ) from error
    check_finite(file, network.state_dict(), "train again")
    return network


def check_finite(file: str | Path, weights: Mapping[str, torch.Tensor], remedy: str) -> None:
    """Refuses weights that compute nothing.

    Raises:
        InputError: If one is NaN or infinite.
    """
    for name, values in weights.items():
        if not values.isfinite().all():
            raise InputError(f"{file}: holds NaN or infinite weights ({name}); {remedy}")
