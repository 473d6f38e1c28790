"""The weights of a network, if they are still those that were trained."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import nn

from .faults import refuse


def load_weights(network: nn.Module, checkpoint: str | Path) -> None:
    """Loads the state dictionary in ``checkpoint`` into ``network``.

    Args:
        network: The network that it was trained with.
        checkpoint: A file of ``torch.save``. If ``NAME.sha256`` is beside it, in the format of the
            program ``sha256sum``, the file has to have that checksum.

    Raises:
        SystemExit: If the file is missing or damaged, is not the one of the checksum, belongs to another
            network, or holds NaN or infinite weights.
    """
    file = Path(checkpoint)
    if not file.is_file():
        refuse(f"{file}: no trained model there; train first, or name another: --checkpoint")
    if not (_is_archive(file) and _has_checksum(file)):
        refuse(
            f"{file}: is damaged, or not the file that was trained; copy it again, or train again"
        )
    try:
        network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    except (AttributeError, RuntimeError, TypeError, UnpicklingError):
        refuse(
            f"{file}: does not fit the network; choose the one it was trained with: --network_def"
        )
    _check_finite(file, network)


def _check_finite(file: Path, network: nn.Module) -> None:
    for name, values in network.state_dict().items():
        if not values.isfinite().all():
            refuse(f"{file}: holds NaN or infinite weights ({name}); train again")


def _is_archive(file: Path) -> bool:
    """Whether every part of the file has the bytes that torch wrote; torch itself does not look."""
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, OSError):
        return False


def _has_checksum(file: Path) -> bool:
    beside = file.with_name(f"{file.name}.sha256")
    if not beside.is_file():
        return True
    return hashlib.sha256(file.read_bytes()).hexdigest() in beside.read_text(encoding="utf-8")
