"""States on disk: each file is whole, or it is noticed."""

from __future__ import annotations

import re
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from nacl_monai.errors import InputError
from nacl_monai.files import atomic_path, checksum, write_text

_PREFIX = "epoch_"
_NAME = re.compile(rf"{_PREFIX}(\d+)(?:_iteration_(\d+))?")


class Position(NamedTuple):
    """How far a training is.

    Attributes:
        epoch: How many epochs are complete.
        iterations: How many iterations of the next one are done.
    """

    epoch: int = 0
    iterations: int = 0


def save_state(state: Mapping[str, Any], file: str | Path) -> None:
    """Writes what `load_state` reads, whole or not at all."""
    # Through a stream of Python's, because torch's own does not report that the disk is full.
    with atomic_path(file) as temporary, temporary.open("wb") as stream:
        torch.save(dict(state), stream)


def load_state(file: str | Path) -> dict[str, Any]:
    """Reads tensors and plain values, and never code, onto the CPU."""
    loaded: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    return loaded


def save_weights(weights: Mapping[str, Any], file: str | Path) -> None:
    """`save_state`, with the file's checksum beside it."""
    _checksum_file(file).unlink(
        missing_ok=True
    )  # killed in between, there is none rather than a wrong one
    save_state(weights, file)
    write_checksum(file)


def write_checksum(file: str | Path) -> None:
    """Writes ``NAME.sha256`` beside a file, in the format of the program ``sha256sum``."""
    write_text(_checksum_file(file), f"{checksum(file)}  {Path(file).name}\n")


def is_whole(file: str | Path) -> bool:
    """Whether a file that torch wrote still has the bytes that were written.

    If a checksum is beside it, the file has to be the one that it is of.
    """
    try:  # torch itself reads changed bytes without a word; the archive has their checksums
        with zipfile.ZipFile(file) as archive:
            return archive.testzip() is None and _has_checksum(file)
    except (zipfile.BadZipFile, OSError):
        return False


def _has_checksum(file: str | Path) -> bool:
    beside = _checksum_file(file)
    return not beside.is_file() or checksum(file) in beside.read_text(encoding="utf-8")


def _checksum_file(file: str | Path) -> Path:
    return Path(f"{file}.sha256")


def checkpoint_file(folder: str | Path, position: Position) -> Path:
    """The file of the state at ``position``.

    Example:
        >>> [checkpoint_file("", Position(2, done)).name for done in (0, 15)]
        ['epoch_0002.pt', 'epoch_0002_iteration_0015.pt']
    """
    within = f"_iteration_{position.iterations:04d}" if position.iterations else ""
    return Path(folder) / f"{_PREFIX}{position.epoch:04d}{within}.pt"


def checkpoint_positions(folder: str | Path) -> list[Position]:
    """Where the checkpoints in ``folder`` were written, in order."""
    names = [_NAME.fullmatch(file.stem) for file in Path(folder).glob(f"{_PREFIX}*.pt")]
    return sorted(Position(int(name[1]), int(name[2] or 0)) for name in names if name)


def resumable_position(folder: str | Path) -> Position:
    """Where the newest whole checkpoint in ``folder`` was written; the start if there is none at all.

    A damaged file is passed over with a warning.

    Raises:
        InputError: If there are checkpoints, and all of them are damaged.
    """
    positions = checkpoint_positions(folder)
    for position in reversed(positions):
        file = checkpoint_file(folder, position)
        if is_whole(file):
            return position
        print(f"warning: {file}: is damaged; going back to the one before", file=sys.stderr)
    if positions:
        raise InputError(f"{folder}: every checkpoint is damaged; train anew: --restart True")
    return Position()


def make_checkpoint_folder(folder: Path) -> None:
    """Makes ``folder`` and removes what a killed process left half-written in it.

    Raises:
        InputError: If the operating system refuses.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be made ({error.strerror}); choose another output_dir"
        ) from error
    for leftover in folder.glob(f".{_PREFIX}*"):
        leftover.unlink()
