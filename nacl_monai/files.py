"""Writing files so that a reader never meets half of one."""

from __future__ import annotations

import atexit
import csv
import hashlib
import json
import os
import platform
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from unicodedata import normalize

from filelock import BaseFileLock, FileLock, Timeout

from nacl_monai.errors import InputError, causes

#: The file in a folder that is locked while a process has the folder.
LOCK = ".lock"

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
        if (place.exists() or place.is_symlink()) and not place.is_dir():
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
    try:
        with partial_folder(path.parent) as aside:
            temporary = aside / path.name
            temporary.touch()
            yield temporary
            with temporary.open("rb+") as stream:
                os.fsync(stream.fileno())  # a crash of the machine then leaves no empty file
            temporary.chmod(0o644)
            temporary.replace(path)
    except Exception as error:
        # Writers wrap the operating system's reason in errors of their own.
        for cause in causes(error):
            if isinstance(cause, OSError):
                what = f"cannot be written ({cause.strerror or cause}); choose another folder"
                raise InputError(f"{path}: {what}") from error
        raise


@contextmanager
def partial_folder(parent: Path) -> Iterator[Path]:
    """Yields a hidden folder that goes with the block, or, if its process is killed, with the next one.

    Args:
        parent: The folder that it is in, which is made.
    """
    parent.mkdir(parents=True, exist_ok=True)
    remove_partial_files(parent)
    lock, aside = _new_partial_folder(parent)
    try:
        yield aside
    finally:
        lock.release()
        shutil.rmtree(aside, ignore_errors=True)


def remove_partial_files(folder: str | Path) -> None:
    """Removes what `partial_folder` left in ``folder`` when its process was killed.

    A file that a process still writes is locked, and stays.
    """
    for aside in abandoned_folders(folder):
        shutil.rmtree(aside, ignore_errors=True)


def abandoned_folders(folder: str | Path) -> Iterator[Path]:
    """What `partial_folder` left in ``folder`` when its process was killed; each is locked meanwhile."""
    for aside in Path(folder).glob(f"{_PARTIAL}*"):
        with suppress(OSError, Timeout), FileLock(aside / LOCK, timeout=0):
            yield aside


def _new_partial_folder(parent: Path) -> tuple[BaseFileLock, Path]:
    """Makes a folder and locks it, unless the file system knows no locks."""
    while True:
        aside = Path(mkdtemp(prefix=_PARTIAL, dir=parent))
        lock = FileLock(aside / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:  # another process takes it for what a killed one left, and removes it
            continue
        except OSError:
            pass
        if aside.exists():  # unless another process has removed it before it was locked
            return lock, aside


# By process, since a fork has what its parent has locked only in its memory.
_held: dict[tuple[int, Path], tuple[BaseFileLock, os.stat_result]] = {}


def lock_folder(folder: str | Path, file: str | Path = LOCK, wait: float = 0) -> None:
    """Makes ``folder`` this process's own, until `unlock_folder` or until the process ends.

    A process may take its own folder again. One that is killed leaves the file of the lock, which keeps
    nobody out.

    Args:
        folder: The folder.
        file: The file that is locked, in the folder if its path is relative; its folder is made if
            missing, and it is removed in the end.
        wait: For how many seconds to wait for another process.

    Raises:
        InputError: If another process has the folder, or if nothing can be written there.

    Example:
        >>> folder = getfixture("tmp_path") / "run"
        >>> lock_folder(folder)
        >>> unlock_folder(folder)
        >>> list(folder.iterdir())
        []
    """
    folder = Path(folder).resolve()  # a link and what it leads to are one folder
    if _is_held(folder):
        return
    _release(folder)
    lock = FileLock(folder / file)
    try:
        Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=wait)
        _held[os.getpid(), folder] = lock, Path(lock.lock_file).stat()
    except Timeout:
        raise InputError(
            f"{folder}: another process is writing there; wait for it, or choose another folder"
        ) from None
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written ({error.strerror}); choose another folder"
        ) from error


def unlock_folder(folder: str | Path) -> None:
    """Gives up a folder that `lock_folder` has taken; nothing where this process has not."""
    folder = Path(folder).resolve()
    if _is_held(folder):
        lock, _ = _held[os.getpid(), folder]
        with suppress(OSError):  # Windows removes no file that is open; filelock does so there
            Path(lock.lock_file).unlink()
    _release(folder)


@atexit.register
def _unlock_all() -> None:
    for process, folder in [*_held]:
        if process == os.getpid():
            unlock_folder(folder)


def _is_held(folder: Path) -> bool:
    """Whether this process has locked ``folder``, and not one of the name that has moved since."""
    if (os.getpid(), folder) not in _held:
        return False
    lock, file = _held[os.getpid(), folder]
    try:
        return os.path.samestat(Path(lock.lock_file).stat(), file)
    except OSError:
        return False


def _release(folder: Path) -> None:
    lock, _ = _held.pop((os.getpid(), folder), (None, None))
    if lock is not None:
        with suppress(OSError):
            lock.release()


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
    except (RecursionError, ValueError):  # the former where lists are nested too deeply
        content = None
    if not isinstance(content, dict):
        raise InputError(f"{path}: is damaged; {remedy}")
    return content


def read_checked(
    path: str | Path, fault_in: Callable[[dict[str, Any]], str], remedy: str, missing: str = ""
) -> dict[str, Any]:
    """The JSON object in a file, if it is as it was written.

    Args:
        path: The file.
        fault_in: What is wrong with an object; empty if nothing.
        remedy: What to do if there is something, for the message.
        missing: What to do if there is no such file; the same by default.

    Raises:
        InputError: Then.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; {missing or remedy}")
    record = read_object(path, remedy)
    if fault := fault_in(record):
        raise InputError(f"{path}: is not as it was written, {fault}; {remedy}")
    return record


def read_table(
    path: str | Path, columns: Sequence[str], remedy: str, unique: Sequence[str] = ()
) -> dict[str, list[str]]:
    r"""The columns of a CSV file as text, by their headings; nothing is guessed.

    Args:
        path: The file, in UTF-8, whether or not a byte-order mark begins it.
        columns: Those that it must have; by default all that it has are looked at.
        remedy: What to do if it is no such table, for the message.
        unique: As `check_unique` takes them.

    Raises:
        InputError: If it is no such table, two columns have one heading, a line has other cells than the
            header, or a heading or a cell of the columns has blanks around it or an invisible character.

    Example:
        >>> table = getfixture("tmp_path") / "sites.csv"
        >>> _ = table.write_text("case,site\nNA,1\n")
        >>> read_table(table, ["case", "site"], "correct it", ["case"])
        {'case': ['NA'], 'site': ['1']}
    """
    headings, *rows = _rows(path, remedy) or [[]]
    _check_headings(path, headings, columns, remedy)
    table = {name: [row[place] for row in rows] for place, name in enumerate(headings)}
    for name in columns or headings:
        _check_tight(path, table[name])
    check_unique(path, table, unique)
    return table


def _rows(path: str | Path, remedy: str) -> list[list[str]]:
    """The cells of all lines that have some, the header's first."""
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream, strict=True)
            lines = [(reader.line_num, cells) for cells in reader if cells]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a table ({error}); {remedy}") from error
    for number, cells in lines:
        if len(cells) != len(lines[0][1]):
            raise InputError(f"{path}: line {number} has other cells than the header; {remedy}")
    return [cells for _, cells in lines]


def _check_headings(
    path: str | Path, headings: Sequence[str], columns: Sequence[str], remedy: str
) -> None:
    _check_tight(path, headings)
    if missing := [name for name in columns if name not in headings]:
        raise InputError(f"{path}: has no column {missing[0]!r}; {remedy}")
    if twice := [name for name, times in Counter(headings).items() if times > 1]:
        raise InputError(f"{path}: has two columns {twice[0]!r}; leave one")


def _check_tight(path: str | Path, cells: Iterable[str]) -> None:
    for cell in cells:
        if cell != cell.strip():
            raise InputError(f"{path}: has blanks around {cell!r}; remove them")
        if not cell.isprintable():
            raise InputError(f"{path}: has an invisible character in {cell!r}; remove it")


def check_unique(
    path: str | Path, table: Mapping[str, Sequence[str]], columns: Sequence[str]
) -> None:
    """Refuses a table from `read_table` whose rows cannot be told apart.

    Raises:
        InputError: If a cell of one of these columns is empty, or there twice.
    """
    for name in columns:
        for cell, times in Counter(table[name]).items():
            if not cell:
                raise InputError(f"{path}: a row has no {name}; add it")
            if times > 1:
                raise InputError(f"{path}: has {times} rows of {cell!r}; leave one")


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
    changed = datetime.fromtimestamp(seconds, UTC)
    return f"{state.st_size} bytes of {changed:%Y-%m-%d %H:%M:%S}.{nanoseconds:09d}"


def git_commit() -> str | None:
    """The commit of this package's source, with ``-dirty`` if it was changed since."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--match="]
    try:
        where = Path(__file__).parent
        git = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return git.stdout.strip() or None


def record_text(record: Mapping[str, Any]) -> str:
    """What a page draws as JSON, with the versions of what computed it; undefined numbers are null."""
    packages = ("nacl_monai", "torch", "numpy", "scipy")
    versions = {"python": platform.python_version(), **{name: version(name) for name in packages}}
    known = json.loads(json.dumps(dict(record)), parse_constant=lambda _: None)
    return json.dumps({**known, "versions": versions}, indent=1, ensure_ascii=False) + "\n"


def version_of(package: str) -> str:
    """The version of a package that is installed by its own name or, as MONAI's weekly, by another.

    Raises:
        ModuleNotFoundError: If it is not installed.
    """
    try:
        return version(package)
    except PackageNotFoundError:
        return str(import_module(package).__version__)


def check_apart(where: object, names: Iterable[str]) -> None:
    """Refuses files that are one wherever neither case nor the form of Unicode tells names apart.

    Raises:
        InputError: If two of the names are such.
    """
    seen: dict[str, int] = {}
    listed = list(names)
    for place, name in enumerate(listed):
        first = seen.setdefault(normalize("NFC", name).casefold(), place)
        if first != place:
            raise InputError(
                f"{where}: {listed[first]!r} and {name!r} would be one file; rename one"
            )
