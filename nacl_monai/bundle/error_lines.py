"""Errors for people: the message alone, without a traceback."""

from __future__ import annotations

import sys
from types import TracebackType

from nacl_monai.errors import InputError


def one_line_errors() -> None:
    """From now on an `InputError` ends the process with its message alone and exit code 1.

    MONAI wraps what its configurations raise, so the chain of causes is searched. Every other
    exception keeps its traceback.
    """

    def hook(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, InputError):
            cause = cause.__cause__ or cause.__context__
        if cause is None:
            sys.__excepthook__(kind, error, traceback)
        else:
            print(f"error: {cause}", file=sys.stderr)

    sys.excepthook = hook
