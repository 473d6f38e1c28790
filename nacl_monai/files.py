"""Writing files so that a reader never meets half of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkstemp


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its name once the block has succeeded.

    Parent folders are made. If the block raises, whatever stood at ``path`` is untouched and the
    temporary file is gone.

    Example:
        >>> target = getfixture("tmp_path") / "numbers.json"
        >>> with atomic_path(target) as temporary:
        ...     _ = temporary.write_text("[1, 2]")
        >>> target.read_text()
        '[1, 2]'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix is kept because writers such as matplotlib and NumPy read the format from it.
    handle, name = mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> Path:
    """Writes a text file as UTF-8, whole or not at all; returns its path."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)
