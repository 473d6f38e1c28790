"""The paper's tables and figures: ``nacl-monai paper COMMAND RUNS … --output DIR``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from nacl_monai.cli import Parser, write_files
from nacl_monai.output import link_earlier, written_folder
from nacl_monai.paper.exhibits import EXHIBITS
from nacl_monai.paper.page import write_report
from nacl_monai.paper.reproduce import write_all, write_exhibit
from nacl_monai.paper.results import CONVENTIONS, PROJECT

Writer = Callable[..., list[Path]]
_COMMAND = "paper"
_PATIENCE = 600.0  # seconds; a figure takes some
#: Commands that write more than one exhibit: what each does, and by which function.
_WRITERS: dict[str, tuple[str, Writer]] = {
    "all": ("every table and figure that has runs", write_all),
    "report": ("one HTML page, with the tables and figures in --output", write_report),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    options = vars(_parser().parse_args(arguments))
    writer, folders, output = (options.pop(key) for key in ("writer", "runs", "output"))
    return write_files(lambda: _written(writer, folders, output, options))


def _written(
    writer: Writer, folders: Sequence[Path], output: Path, options: Mapping[str, Any]
) -> list[Path]:
    """Writes beside what this command has written earlier, and all of it takes its place at once.

    The workflow draws several figures into one folder at the same time.
    """
    with written_folder(output, _COMMAND, read=folders, wait=_PATIENCE) as aside:
        link_earlier(output, _COMMAND, aside)
        files = writer(folders, aside, shown=output, **options)
    return [output / file.relative_to(aside) for file in files]


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="nacl-monai paper",
        description="The paper's tables and figures from evaluated runs; no model is loaded.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    exhibits: dict[str, tuple[str, Writer]] = {
        name: (f"{name}: {exhibit.title}", partial(write_exhibit, name))
        for name, exhibit in EXHIBITS.items()
    }
    for name, (purpose, writer) in {**exhibits, **_WRITERS}.items():
        command = commands.add_parser(name, help=purpose)
        command.set_defaults(writer=writer)
        add = command.add_argument
        add("runs", nargs="+", type=Path, metavar="RUNS", help="folder or archive of runs")
        add("--output", type=Path, default=Path("paper"), metavar="DIR", help="default: paper")
        absent = "how absent structures are scored (default: project)"
        add("--conventions", choices=list(CONVENTIONS), default=PROJECT, help=absent)
        if name in EXHIBITS:
            for option, kind in (("--datasets", str), ("--losses", str), ("--seeds", int)):
                metavar = "N" if kind is int else "NAME"
                add(option, nargs="+", type=kind, default=(), metavar=metavar, help="only these")
    return parser


if __name__ == "__main__":
    sys.exit(main())
