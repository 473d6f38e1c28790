"""A row of the table of options: its meaning, its value, and its argument on a command line."""

from __future__ import annotations

import argparse
from dataclasses import Field, field
from enum import Flag
from functools import partial
from numbers import Real
from pathlib import Path
from typing import Any

#: Headings of the help.
WHAT, WHOSE, CHANNELS, MEASURED, WRITTEN = GROUPS = (
    "what is asked",
    "whose the cases are",
    "what the channels mean",
    "what is measured",
    "what is written",
)


def option(
    group: str, travels: bool, default: Any, uses: Flag, text: str, metavar: str = "", **how: Any
) -> Any:
    """A row of the table; its annotation says whether it is a path, a number, or several of them.

    Args:
        group: One of `GROUPS`.
        travels: Whether the next command takes it, too.
        default: The default.
        uses: The verbs with their kinds, Use.PROMISE_SUMS; in others it has no effect, and is refused.
        text: The help; the default is added to it.
        metavar: How the help calls its value.
        **how: Other arguments for argparse.
    """
    if metavar:
        how["metavar"] = metavar
    about = {"group": group, "travels": travels, "uses": uses, "help": text, "how": how}
    return field(default=default, metadata=about)


asked, whose, channels, measured, written = (
    partial(option, group, group in (WHOSE, CHANNELS)) for group in GROUPS
)


def is_path(row: Field[Any]) -> bool:
    """Whether a row is of files or folders."""
    return "Path" in str(row.type)


def flag(name: str) -> str:
    """How a command has the name of a row."""
    if name in ("affine_tolerance", "dataset_dir"):  # as bundles have them
        return f"--{name}"
    return f"--{'no-' * (name in ('pictures', 'viewer'))}{name.replace('_', '-')}"


def as_typed(row: Field[Any], value: Any) -> Any:
    """A value as a command has it: in Python, text will do for paths, and a value for several."""
    several = isinstance(row.default, tuple)
    if several and isinstance(value, (str, Path, Real)):
        value = (value,)
    if value is None:
        return None
    if is_path(row):
        return tuple(map(Path, value)) if several else Path(value)
    return str(value) if row.name == "budget" else value


def part_of(text: str) -> tuple[int, int]:
    """``3/16`` as two numbers."""
    part, slash, parts = text.partition("/")
    if not (slash and part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise argparse.ArgumentTypeError(f"{text!r} is not one of several parts, such as 3/16")
    return int(part), int(parts)


def argument(row: Field[Any]) -> dict[str, Any]:
    """What argparse takes of a row, but its name and default."""
    how, text = dict(row.metadata["how"]), row.metadata["help"]
    if is_path(row):
        how["type"] = Path
    if isinstance(row.default, tuple):
        how["nargs"] = "+"
    if isinstance(row.default, bool):
        how["action"] = "store_false" if row.default else "store_true"
    elif row.default:
        several = row.default if isinstance(row.default, tuple) else [row.default]
        text += f" (default: {' '.join(map(str, several))})"
        how.setdefault("type", type(several[0]))
    return {**how, "help": text.replace("%", "%%")}
