"""Errors for people: the message alone, without a traceback."""

from __future__ import annotations

import errno
import logging
import sys
from types import TracebackType

from nacl_monai.errors import InputError

# What a disk says when it can hold no more, or not any more.
_DISK_ERRORS = {
    errno.EACCES,
    errno.EDQUOT,
    errno.EIO,
    errno.ENOSPC,
    errno.EPERM,
    errno.EROFS,
    errno.ESTALE,
}


def one_line_errors() -> None:
    """From now on an `InputError` ends the process with its message alone and exit code 1.

    So do a full or unwritable disk, and Ctrl-C, which ends the process by SIGINT (130 in a shell).
    MONAI wraps what its configurations raise, so the chain of causes is searched. Every other
    exception keeps its traceback.
    """

    def hook(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        cause: BaseException | None = error
        while cause is not None and (line := _line(cause)) is None:
            cause = cause.__cause__ or cause.__context__
        if cause is None:
            sys.__excepthook__(kind, error, traceback)
        else:
            print(f"error: {line}", file=sys.stderr)

    sys.excepthook = hook
    # Ignite logs what it is about to raise; without a handler of the user's, Python prints that.
    logging.getLogger("ignite").addHandler(logging.NullHandler())


def _line(error: BaseException) -> str | None:
    """What to say of ``error``, if it is one for people."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; the same command goes on where a training's last epoch ended"
    if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
        return f"{error.filename or 'a file of this run'}: {error.strerror}"
    return None
