"""States on disk: each file is whole, or it is noticed."""

from __future__ import annotations

import hashlib
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from nacl_monai.errors import InputError
from nacl_monai.files import atomic_path, write_text

_PREFIX = "epoch_"


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
    write_text(_checksum_file(file), f"{_checksum(file)}  {Path(file).name}\n")


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
    return not beside.is_file() or _checksum(file) in beside.read_text(encoding="utf-8")


def _checksum_file(file: str | Path) -> Path:
    return Path(f"{file}.sha256")


def _checksum(file: str | Path) -> str:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def checkpoint_file(folder: str | Path, epoch: int) -> Path:
    """The file of the state after ``epoch``."""
    return Path(folder) / f"{_PREFIX}{epoch:04d}.pt"


def checkpoint_epochs(folder: str | Path) -> list[int]:
    """The epochs of the checkpoints in ``folder``, in order."""
    names = [file.stem.removeprefix(_PREFIX) for file in Path(folder).glob(f"{_PREFIX}*.pt")]
    return sorted(int(name) for name in names if name.isdecimal())


def resumable_epoch(folder: str | Path) -> int:
    """The epoch of the newest whole checkpoint in ``folder``; 0 if there is none at all.

    A damaged file is passed over with a warning.

    Raises:
        InputError: If there are checkpoints, and all of them are damaged.
    """
    epochs = checkpoint_epochs(folder)
    for epoch in reversed(epochs):
        file = checkpoint_file(folder, epoch)
        if is_whole(file):
            return epoch
        print(f"warning: {file}: is damaged; going back to the one before", file=sys.stderr)
    if epochs:
        raise InputError(f"{folder}: every checkpoint is damaged; train anew: --restart True")
    return 0


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
