"""The folder of what a command writes: written aside, and put in its place at once.

A command that writes several files belongs in `written_folder`::

    with written_folder(options.output, "compare") as folder:
        write_text(folder / "table.md", table)

A record in the folder, :data:`RECORD`, names the files of each command. The next time, the command
replaces those, and keeps every other file, of a user or of another command.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path, PurePath
from typing import Any

from nacl_monai.errors import DISK_ERRORS, InputError, SettingError
from nacl_monai.files import check_folder, lock_folder, read_object, unlock_folder, write_text

#: The record of who wrote which files of a folder.
RECORD = ".written.json"
_open: set[tuple[int, Path]] = set()  # by process: a fork ends before its parent
# What a file manager leaves in any folder, and a process that was killed.
_NOBODYS = (".DS_Store", "._*", "Thumbs.db", "desktop.ini", ".partial-*")


@contextmanager
def written_folder(
    output: str | Path, command: str, *, whole: bool = True, wait: float = 0, **rules: Any
) -> Iterator[Path]:
    """Yields a new folder beside ``output``, which takes its place as soon as the block has succeeded.

    If the block fails, or if its process is killed, ``output`` stays as it was.

    Args:
        output: The folder to write; its parents are made.
        command: Who writes it, such as ``"compare"``. Only its own earlier files are replaced.
        whole: Whether all earlier files of the command go, or only those of the same names, as where
            each call draws another figure.
        wait: For how many seconds to wait for another process that writes there.
        rules: As `check_output` takes them.

    Yields:
        The folder to write to.

    Raises:
        InputError: If ``output`` is no folder or one that no command of this package wrote, if nothing
            can be written there, or if another process writes it.
        SettingError: If something that is read is within ``output``.

    Example:
        >>> output = getfixture("tmp_path") / "results"
        >>> for text in ("old", "new"):
        ...     with written_folder(output, "compare") as folder:
        ...         _ = (folder / "table.md").write_text(text)
        >>> (output / "table.md").read_text()
        'new'
    """
    missing = [parent for parent in Path(output).absolute().parents if not parent.exists()]
    aside = open_output(output, command, wait=wait, **rules)
    try:
        yield aside
    except BaseException as error:
        abandon_output(output)
        with suppress(OSError):
            for parent in missing:
                parent.rmdir()
        if isinstance(error, OSError) and _is_of_disk(error, aside):
            raise _unwritable(output, error, **rules) from error
        raise
    close_output(output, command, replace=rules.get("replace", True), whole=whole)


def visible_files(folder: Path) -> list[Path]:
    """The files in a folder, sorted, without hidden ones."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def aside_of(output: str | Path) -> Path:
    """The folder beside ``output`` that takes its place; of a link, beside what it leads to."""
    return _beside(output, "new")


def check_output(
    output: str | Path,
    command: str,
    *,
    option: str = "--output",
    read: Iterable[str | Path] = (),
    replace: bool = True,
) -> None:
    """Refuses what `written_folder` refuses, before anything is read or written.

    Args:
        output: The folder to write.
        command: Who writes it.
        option: The option that chooses another folder, for messages.
        read: Files and folders that the command reads, none of which may be within ``output``.
        replace: Whether the command may replace what it has written earlier; otherwise ``output`` must
            be missing or empty, and nothing is recorded.

    Raises:
        InputError: If it is refused.
        SettingError: If something that is read is within ``output``.
    """
    output = Path(output)
    remedy = f"choose another {option}"
    _check_not_read(output, read, option)
    check_folder(output, remedy)
    if Path.cwd().is_relative_to(output.resolve()):
        raise InputError(f"{output}: is where this command runs, and would be taken away; {remedy}")
    places = (output, aside_of(output).parent) if output.exists() else (_standing(output),)
    for place in places:
        _check_writable(place, remedy)
    whose = f"which `nacl-monai {command}` did not write" if replace else "and must be new"
    held = sorted(path.name for path in output.glob("*") if not _is_nobodys(path.name))
    if held and not (replace and (output / RECORD).is_file()):
        raise InputError(f"{output}: holds {held[0]}, {whose}; {remedy}, or move it away")
    _written(output)  # which may be damaged


def _check_not_read(output: Path, read: Iterable[str | Path], option: str) -> None:
    for path in read:
        if Path(path).resolve().is_relative_to(output.resolve()):
            raise SettingError(
                f"{option}: is {output}, of which {path} is read, and would be replaced; choose another"
            )


def check_new_file(file: Path) -> None:
    """Refuses a file that could not be written, or that is there, before anything is read.

    Raises:
        InputError: If something is at ``file``, or its folder cannot be written.
    """
    if os.path.lexists(file):
        raise InputError(f"{file}: is there already; remove it, or choose another --output")
    check_folder(file.parent, "choose another --output")
    _check_writable(_standing(file), "choose another --output")


def open_output(output: str | Path, command: str, *, wait: float = 0, **rules: Any) -> Path:
    """Begins what `written_folder` does where a ``with`` cannot be, as in a configuration.

    Returns:
        The empty folder to write to, until `close_output` or `abandon_output`, or until the process
        ends.
    """
    aside = aside_of(output)
    if wait:  # another process may be replacing what is in it
        check_folder(Path(output), "choose another --output")
    else:
        check_output(output, command, **rules)
    lock_folder(output, _beside(output, "lock"), wait)
    try:
        _put_back(output)  # where a process was killed
        check_output(output, command, **rules)  # as another process may have left it until the lock
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
    except BaseException as error:
        unlock_folder(output)
        if isinstance(error, OSError):
            raise _unwritable(output, error, **rules) from error
        raise
    _open.add((os.getpid(), Path(output).resolve()))
    return aside


def close_output(
    output: str | Path, command: str, *, replace: bool = True, whole: bool = True
) -> None:
    """Puts what was written aside in its place, with the files of others that were there.

    Raises:
        InputError: If a file would replace another's, or if the operating system refuses. What was
            written then stays aside.
    """
    path, old, aside = Path(output).resolve(), _beside(output, "old"), aside_of(output)
    remains = f"what was written is in {aside}"
    try:
        if replace:
            _join(path, aside, command, whole, remains)
        shutil.rmtree(old, ignore_errors=True)
        if path.exists():
            path.rename(old)
        aside.rename(path)
    except OSError as error:
        raise InputError(f"{output}: cannot be replaced ({error.strerror}); {remains}") from error
    finally:
        _put_back(output)
        _open.discard((os.getpid(), path))
        unlock_folder(output)
    shutil.rmtree(old, ignore_errors=True)


def _join(path: Path, aside: Path, command: str, whole: bool, remains: str) -> None:
    """Records the files of a command, and keeps those of others."""
    written, new = _written(path), _files(aside)
    there = {name for name in _files(path) if not _is_nobodys(Path(name).name)}
    earlier = there.intersection(written.get(command, []))
    kept = there - {RECORD} - (earlier if whole else earlier & new)
    if collisions := sorted(new & kept):
        raise InputError(
            f"{path}: holds {collisions[0]}, which `nacl-monai {command}` did not write, and so is not "
            f"replaced; {remains}"
        )
    written[command] = sorted(new | (earlier & kept))
    text = json.dumps(written, indent=1, ensure_ascii=False)
    write_text(aside / RECORD, text + "\n")
    for name in sorted(kept):
        _keep(path / name, aside / name)


def abandon_output(output: str | Path) -> None:
    """Removes the files written aside."""
    shutil.rmtree(aside_of(output), ignore_errors=True)
    _put_back(output)
    _open.discard((os.getpid(), Path(output).resolve()))
    unlock_folder(output)


@atexit.register
def _abandon_all() -> None:
    for process, output in [*_open]:
        if process == os.getpid():
            abandon_output(output)


def _written(output: Path) -> dict[str, list[str]]:
    """The files of every command in a folder."""
    record, remedy = output / RECORD, "move its folder away"
    found = read_object(record, remedy) if record.exists() else {}
    for names in found.values():
        if not (isinstance(names, list) and all(map(_is_below, names))):
            raise InputError(f"{record}: is not as it was written; {remedy}")
    return found


def _is_below(name: object) -> bool:
    """Whether a name leads to a file below a folder."""
    path = PurePath(name) if isinstance(name, str) else PurePath("/")
    return not path.is_absolute() and ".." not in path.parts


def link_earlier(output: str | Path, command: str, folder: Path) -> None:
    """Puts the earlier files of a command that adds to them into its new folder.

    Args:
        output: Where the files are.
        command: Who wrote them.
        folder: From `written_folder`. A file that `nacl_monai.files.write_text` writes anew there leaves
            the earlier one as it is.
    """
    for name in _written(Path(output)).get(command, []):
        if (Path(output) / name).is_file():
            _keep(Path(output) / name, folder / name)


def _standing(path: Path) -> Path:
    """The path, or the first folder above it that there is."""
    return next(place for place in (path, *path.absolute().parents) if place.exists())


def _check_writable(folder: Path, remedy: str) -> None:
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{folder}: cannot be written; {remedy}")


def _is_nobodys(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in _NOBODYS)


def _put_back(output: str | Path) -> None:
    """Undoes half a replacement."""
    if _beside(output, "old").is_dir() and not Path(output).exists():
        _beside(output, "old").rename(Path(output).resolve())


def _beside(output: str | Path, suffix: str) -> Path:
    path = Path(output).resolve()
    return path.with_name(f".{path.name}.{suffix}")


def _files(folder: Path) -> set[str]:
    """Every file below a folder, and every link."""
    paths = folder.rglob("*")
    files = (path for path in paths if path.is_symlink() or not path.is_dir())
    return {path.relative_to(folder).as_posix() for path in files}


def _keep(file: Path, to: Path) -> None:
    """The same file at another place, which is a copy where the file system knows no links."""
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(file, to, follow_symlinks=False)
    except OSError:
        shutil.copy2(file, to, follow_symlinks=False)


def _is_of_disk(error: OSError, aside: Path) -> bool:
    """Whether an error is about the output, not the input."""
    return error.errno in DISK_ERRORS and (
        error.filename is None or Path(error.filename).is_relative_to(aside)
    )


def _unwritable(
    output: str | Path, error: OSError, option: str = "--output", **_: object
) -> InputError:
    return InputError(f"{output}: cannot be written ({error.strerror}); choose another {option}")
