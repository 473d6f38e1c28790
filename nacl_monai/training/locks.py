"""A folder that is written to belongs to one process at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import ignite.distributed as idist

from nacl_monai.errors import InputError

#: The file that is locked; it stays when the process ends.
LOCK = ".lock"
#: Descriptors, which stay open until the process ends.
_locks: dict[Path, int] = {}


def lock_folder(folder: str | Path) -> None:
    """Makes ``folder`` this process's own, until the process ends in whatever way.

    Among several processes of a run only the first takes it, since only that one writes.

    Args:
        folder: The folder; made if missing.

    Raises:
        InputError: If another process has it, or if nothing can be written there.
    """
    folder = Path(folder).absolute()
    if idist.get_rank() != 0 or _is_locked(folder):
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written ({error.strerror}); choose another folder"
        ) from error
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise InputError(
            f"{folder}: another process is writing there; wait for it, or choose another folder"
        ) from None
    _locks[folder] = lock


def _is_locked(folder: Path) -> bool:
    """Whether this process has locked ``folder``, and not one of the name that has moved since."""
    lock = _locks.pop(folder, None)
    if lock is None:
        return False
    file = folder / LOCK
    if not (file.exists() and os.path.samestat(os.fstat(lock), file.stat())):
        os.close(lock)
        return False
    _locks[folder] = lock
    return True
