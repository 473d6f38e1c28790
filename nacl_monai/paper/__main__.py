"""The paper's tables and figures: ``python -m nacl_monai.paper COMMAND RUNS … --output DIR``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from nacl_monai.errors import InputError
from nacl_monai.paper.collect import write_evidence
from nacl_monai.paper.page import write_page
from nacl_monai.paper.reproduce import TITLES, write_all, write_target

WRITERS: dict[str, Callable[..., list[Path]]] = {
    "all": write_all,
    "report": write_page,
    "collect": write_evidence,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    options = vars(_parser().parse_args(arguments))
    command, folders, output = (options.pop(key) for key in ("command", "runs", "output"))
    try:
        if command in TITLES:
            files = write_target(command, folders, output, **options)
        else:
            files = WRITERS[command](folders, output, **options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error}; choose another --output", file=sys.stderr)
        return 1
    for path in files:
        print(f"wrote {path}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m nacl_monai.paper",
        description="The paper's tables and figures from evaluated runs; no model is loaded.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for target, title in TITLES.items():
        narrowed = _command(commands, target, f"the paper's {target}: {title}")
        narrowed.add_argument(
            "--datasets", nargs="+", default=(), metavar="NAME", help="only these"
        )
        narrowed.add_argument("--losses", nargs="+", default=(), metavar="NAME", help="only these")
        narrowed.add_argument(
            "--seeds", nargs="+", type=int, default=(), metavar="N", help="only these"
        )
    _command(commands, "all", "every table and figure of the paper that has runs")
    _command(commands, "report", "one HTML page, with the tables and figures in --output")
    _command(commands, "collect", "copies the small files that tables and figures need")
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, purpose: str
) -> argparse.ArgumentParser:
    """A command on all runs of the grid."""
    command = commands.add_parser(name, help=purpose)
    command.add_argument(
        "runs", nargs="+", type=Path, metavar="RUNS", help="folder with runs at any depth"
    )
    command.add_argument(
        "--output", required=True, type=Path, metavar="DIR", help="folder for what is written"
    )
    return command


if __name__ == "__main__":
    sys.exit(main())
