"""Errors for people: the message alone, without a traceback."""

from __future__ import annotations

import errno
import logging
import re
import signal
import sys
from collections.abc import Iterator
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

    So do arguments that a component of the configuration refuses, and a full or unwritable disk; and
    Ctrl-C, after which the process ends by SIGINT (130 in a shell).
    MONAI wraps what its configurations raise, so the chain of causes is searched. Every other
    exception keeps its traceback.
    """

    def hook(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        causes = list(_causes(error))
        lines = [line for describe in (_line, _refused_arguments) for line in map(describe, causes)]
        line = next(filter(None, lines), None)
        if line is None:
            sys.__excepthook__(kind, error, traceback)
        else:
            print(f"error: {line}", file=sys.stderr)
        if any(isinstance(cause, KeyboardInterrupt) for cause in causes):
            _end_by_interrupt()

    sys.excepthook = hook
    # Ignite logs what it is about to raise; without a handler of the user's, Python prints that.
    logging.getLogger("ignite").addHandler(logging.NullHandler())


def _end_by_interrupt() -> None:
    """Ends the process as Ctrl-C ends any other, so that a shell loop around it ends too.

    Python does so by itself, but not once other code has run at exit, as torch's compiler does.
    """
    sys.stdout.flush()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.raise_signal(signal.SIGINT)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _refused_arguments(error: BaseException) -> str | None:
    """What to say where MONAI could not make what the configuration names."""
    made = re.match(r"Failed to instantiate component '([^']*)'", str(error))
    if made and isinstance(error.__cause__, TypeError | ValueError):
        return f"{made[1]}: {str(error.__cause__).strip().splitlines()[0]}"
    if isinstance(error, ModuleNotFoundError) and "Cannot locate class or function" in str(error):
        return str(error)
    return None


def _line(error: BaseException) -> str | None:
    """What to say of ``error``, if it is one for people."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; the same command goes on where a training's last epoch ended"
    if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
        return f"{error.filename or 'a file of this run'}: {error.strerror}"
    return None
