"""Writing files so that a reader never meets half of one."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from tempfile import mkstemp
from typing import Any

from nacl_monai.errors import InputError

_PARTIAL = ".partial-"


def check_folder(path: str | Path, remedy: str) -> None:
    """Refuses a folder to write to where something else is in its place or above it.

    A file, a pipe or a device would be replaced where the rights suffice; no other program works
    without ``/dev/null``.

    Args:
        path: The folder, which may be missing.
        remedy: What to do, for the message.

    Raises:
        InputError: If it is refused.
    """
    for place in (Path(path), *Path(path).parents):
        if place.exists() and not place.is_dir():
            raise InputError(f"{place}: is not a folder; {remedy}")


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside ``path`` that takes its name once the block has succeeded.

    Parent folders are made. If the block raises, an earlier file at ``path`` is untouched and the
    temporary file is gone. One that a killed process left in the folder is removed first.

    Args:
        path: The file to write.

    Raises:
        InputError: If the operating system refuses, because the disk is full or read-only, say; or if
            something else than a file is there, such as a device.

    Example:
        >>> target = getfixture("tmp_path") / "numbers.json"
        >>> with atomic_path(target) as temporary:
        ...     _ = temporary.write_text("[1, 2]")
        >>> target.read_text()
        '[1, 2]'
    """
    path = Path(path)
    check_folder(path.parent, "choose another folder")
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: is not a file; choose another name")
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_partial_files(path.parent)
        handle, temporary = _new_partial_file(path)
        try:
            yield temporary
            os.fsync(handle)  # a crash of the machine after the renaming leaves no empty file
            temporary.chmod(0o644)
            temporary.replace(path)
        finally:
            os.close(handle)  # and with it the lock, which keeps others from removing the file
    except Exception as error:
        refusal = _refusal(error)
        if refusal is None:
            raise
        raise InputError(f"{path}: cannot be written ({refusal}); choose another folder") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def remove_partial_files(folder: str | Path) -> None:
    """Removes what `atomic_path` left in ``folder`` when its process was killed.

    A file that a process still writes is locked, and stays.
    """
    for partial in Path(folder).glob(f"{_PARTIAL}*"):
        with suppress(OSError), partial.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            partial.unlink()


def write_text(path: str | Path, text: str) -> Path:
    """Writes a text file as UTF-8, whole or not at all; returns its path.

    Raises:
        InputError: If the operating system refuses.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def read_object(path: str | Path, remedy: str) -> dict[str, Any]:
    """The JSON object in a file, whether or not a byte-order mark begins it.

    Args:
        path: The file.
        remedy: What to do if it holds none, for the message.

    Raises:
        InputError: Then.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise InputError(f"{path}: is damaged; {remedy}")
    return content


def checksum(path: str | Path) -> str:
    """The SHA-256 of a file, as the program ``sha256sum`` prints it."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while part := stream.read(2**20):
            digest.update(part)
    return digest.hexdigest()


def stamp(path: str | Path) -> str:
    """Size and time of change of a file: another one as soon as anything has touched it.

    The time is the one that the system itself notes (``ctime``). The time of modification proves
    nothing: copies and archives set it back.
    """
    state = Path(path).stat()
    seconds, nanoseconds = divmod(state.st_ctime_ns, 10**9)
    changed = datetime.fromtimestamp(seconds, timezone.utc)
    return f"{state.st_size} bytes of {changed:%Y-%m-%d %H:%M:%S}.{nanoseconds:09d}"


def _new_partial_file(path: Path) -> tuple[int, Path]:
    """Makes a file beside ``path`` and locks it, as long as the handle is open."""
    while True:
        # The suffix is kept because writers such as matplotlib and NumPy read the format from it.
        prefix = f"{_PARTIAL}{path.stem}-"
        handle, name = mkstemp(prefix=prefix, suffix=path.suffix, dir=path.parent)
        with suppress(OSError):  # not every file system knows locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        if Path(name).exists():  # unless another process has removed it before it was locked
            return handle, Path(name)
        os.close(handle)


def _refusal(error: BaseException | None) -> str | None:
    """The operating system's reason, if it is the cause: writers wrap it in errors of their own."""
    while error is not None:
        if isinstance(error, OSError):
            return error.strerror or str(error)
        error = error.__cause__ or error.__context__
    return None
