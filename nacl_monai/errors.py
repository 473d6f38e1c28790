"""Errors for people: one line that names the file or key at fault, and the remedy."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

#: What to do with the name of a folder that MONAI would run as code.
FOLDER_REMEDY = "write a path in front of it, such as ./, or rename it"


#: What the operating system reports of a disk that cannot be written, or not any more.
DISK_ERRORS = {
    *(errno.EACCES, errno.EIO, errno.ENOSPC, errno.EPERM, errno.EROFS),
    *(getattr(errno, name) for name in ("EDQUOT", "ESTALE") if hasattr(errno, name)),
}


# How a text begins that a spreadsheet computes.
_FORMULA = ("=", "+", "-", "@")


class InputError(ValueError):
    """A file, a folder, a configuration key or a tensor cannot be used.

    The message is one line, "WHERE: what is wrong; what to do". Commands end with this line and
    ``exit_code`` instead of a traceback (`nacl_monai.training`).
    """

    exit_code = 1


class SettingError(InputError):
    """A wrong option of a command, key of a configuration or argument of a component.

    Nothing has been done then. The exit code is argparse's, so that a script can tell a slip of its own
    from a fault of the data.
    """

    exit_code = 2


def printable(text: object, *, cell: bool = False) -> str:
    r"""A text of files as it leaves the program: what no screen shows is escaped.

    A terminal would act on it.

    Args:
        text: In a log, a table or a message.
        cell: Whether it is a cell for a spreadsheet, which takes some for formulas; an apostrophe is put
            before these.

    Example:
        >>> printable("a\x1b[2Jb"), printable("=1+1", cell=True), printable("-0.5", cell=True)
        ('a\\x1b[2Jb', "'=1+1", '-0.5')
    """
    shown = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in str(text)
    )
    is_formula = cell and shown.startswith(_FORMULA) and not re.fullmatch(r"[-+]\d[\d.]*", shown)
    return f"'{shown}" if is_formula else shown


def print_line(kind: str, text: object, *, answer: bool = False) -> None:
    """Prints ``kind: …``, whatever is in the text, above progress bars.

    Args:
        kind: "error", "fault", "warning" or "note".
        text: Of one line.
        answer: Whether it is a part of a command's answer, and goes to standard output.
    """
    stream, line = sys.stdout if answer else sys.stderr, f"{kind}: {printable(text)}"
    if "tqdm" in sys.modules:
        sys.modules["tqdm"].tqdm.write(line, file=stream)
    else:
        print(line, file=stream)
    stream.flush()


def print_error(error: object) -> None:
    """Prints ``error: …`` to standard error, on a line of its own below progress bars left open."""
    bars = vars(sys.modules["tqdm"].tqdm).get("_instances", ()) if "tqdm" in sys.modules else ()
    for bar in [*bars]:
        bar.close()
    print_line("error", error)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what led to it, the last cause last: libraries wrap errors in others."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def check_no_code(source: str | Path, names: Iterable[str], remedy: str = "rename it") -> None:
    """Refuses names that MONAI would run as code, or take for a key, once they are in a configuration.

    Args:
        source: Where the names are, for the message.
        names: Of files, folders, cases or patients.
        remedy: What to do.

    Raises:
        InputError: If a name begins with ``$``, ``@`` or ``%``, or has a ``#``.
    """
    for name in names:
        if "#" in name:
            raise InputError(f"{source}: {name!r} has a #, which MONAI reads as ::; rename it")
        if name.startswith(("$", "@", "%")):
            raise InputError(
                f"{source}: {name!r} begins with {name[0]}, by which MONAI evaluates a text; {remedy}"
            )


def check_no_formula(source: str | Path, names: Iterable[str]) -> None:
    """Refuses names that a spreadsheet computes where a table has them.

    Args:
        source: Where the names are, for the message.
        names: Of cases or patients.

    Raises:
        InputError: If a name begins with ``=``, ``+``, ``-`` or ``@``.
    """
    for name in names:
        if name.startswith(_FORMULA):
            raise InputError(
                f"{source}: {name!r} begins with {name[0]}, which a spreadsheet takes for a formula; "
                "rename it"
            )
