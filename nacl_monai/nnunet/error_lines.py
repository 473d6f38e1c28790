"""Errors for people: the message alone, in commands of nnU-Net, which know nothing of them."""

from __future__ import annotations

import sys
from types import TracebackType

from nacl_monai.errors import InputError


def one_line_errors() -> None:
    """From now on an `InputError` ends the process with its message alone, and nothing else does."""
    sys.excepthook = _show


def _show(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if isinstance(error, InputError):
        print(f"error: {error}", file=sys.stderr, flush=True)
    else:
        sys.__excepthook__(kind, error, traceback)
