"""The paper's tables and figures: ``nacl-monai paper COMMAND RUNS … --output DIR``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from nacl_monai.cli import write_files
from nacl_monai.paper.exhibits import EXHIBITS
from nacl_monai.paper.page import write_page
from nacl_monai.paper.reproduce import write_all, write_exhibit
from nacl_monai.paper.results import CONVENTIONS, PROJECT

Writer = Callable[..., list[Path]]
#: Commands that write more than one exhibit: what each does, and by which function.
WRITERS: dict[str, tuple[str, Writer]] = {
    "all": ("every table and figure that has runs", write_all),
    "report": ("one HTML page, with the tables and figures in --output", write_page),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    options = vars(_parser().parse_args(arguments))
    writer, folders, output = (options.pop(key) for key in ("writer", "runs", "output"))
    return write_files(lambda: writer(folders, output, **options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nacl-monai paper",
        description="The paper's tables and figures from evaluated runs; no model is loaded.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    exhibits: dict[str, tuple[str, Writer]] = {
        name: (f"{name}: {exhibit.title}", partial(write_exhibit, name))
        for name, exhibit in EXHIBITS.items()
    }
    for name, (purpose, writer) in {**exhibits, **WRITERS}.items():
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
