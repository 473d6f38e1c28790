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
    for name, exhibit in EXHIBITS.items():
        purpose = f"{name}: {exhibit.title}"
        command = _command(commands, name, purpose, partial(write_exhibit, name))
        for option, kind, metavar in (
            ("datasets", str, "NAME"),
            ("losses", str, "NAME"),
            ("seeds", int, "N"),
        ):
            command.add_argument(
                f"--{option}", nargs="+", type=kind, default=(), metavar=metavar, help="only these"
            )
    for name, (purpose, writer) in WRITERS.items():
        _command(commands, name, purpose, writer)
    for name in (*EXHIBITS, "all", "report"):
        commands.choices[name].add_argument(
            "--conventions",
            choices=list(CONVENTIONS),
            default=PROJECT,
            help="how absent structures are scored (default: project)",
        )
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    purpose: str,
    writer: Writer,
) -> argparse.ArgumentParser:
    """A command on all runs of the grid."""
    command = commands.add_parser(name, help=purpose)
    command.add_argument(
        "runs", nargs="+", type=Path, metavar="RUNS", help="folder or archive of runs"
    )
    command.add_argument(
        "--output", type=Path, default=Path("paper"), metavar="DIR", help="default: paper"
    )
    command.set_defaults(writer=writer)
    return command


if __name__ == "__main__":
    sys.exit(main())
