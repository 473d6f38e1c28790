"""Faults in one line: of one image, or of the whole command."""

from __future__ import annotations

from typing import NoReturn


class ImageFault(SystemExit):
    """One image cannot be segmented; the others can.

    It ends the process like `refuse` unless somebody catches it, as `Segmenter` does. No library in
    between wraps it, since it is not an ``Exception``.

    Attributes:
        line: "WHERE: what is wrong; what to do".
    """

    def __init__(self, line: str) -> None:
        self.line = line
        super().__init__(f"error: {line}")


def refuse(line: str) -> NoReturn:
    """Ends the process with one line and exit code 1."""
    raise SystemExit(f"error: {line}")
