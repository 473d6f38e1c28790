"""Tables and figures of evaluated runs: ``nacl-monai COMMAND RUN … --output DIR``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nacl_monai.cli import write_files
from nacl_monai.reports.compare import write_comparison
from nacl_monai.reports.logits import write_logits
from nacl_monai.reports.page import write_pages
from nacl_monai.reports.reliability import write_reliability
from nacl_monai.reports.selective import write_selective
from nacl_monai.runs import TOP

Writer = Callable[..., list[Path]]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code.

    Args:
        argv: The command and its arguments; by default those of the process.
    """
    options = vars(_parser().parse_args(argv))
    del options["command"]
    write: Writer = options.pop("write")
    return write_files(lambda: write(**options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nacl-monai",
        description="Tables and figures from evaluated runs; no model is loaded.",
    )
    commands = parser.add_subparsers(dest="command", required=True)

    compare = _command(
        commands, "compare", "table, reliability diagrams and maps side by side", _print_comparison
    )
    compare.add_argument("--case", help="test case in the maps (default: the one of median Dice)")
    compare.add_argument(
        "--show",
        nargs="+",
        choices=["confidence", "entropy"],
        default=["confidence"],
        help="what the maps show (default: confidence)",
    )

    reliability = _command(
        commands, "reliability", "reliability diagrams of any region or class", write_reliability
    )
    reliability.add_argument(
        "--region", help="voxels that count (default: foreground, of the first structure)"
    )
    reliability.add_argument(
        "--class",
        default=TOP,
        dest="class_name",
        metavar="CLASS",
        help=f"a class by name (default: {TOP}, the predicted one)",
    )

    selective = _command(
        commands, "selective", "error rate among the most confident voxels", write_selective
    )
    selective.add_argument(
        "--regions", nargs="+", default=(), metavar="REGION", help="only these (default: all)"
    )

    _command(commands, "page", "all about a run or an audit on one HTML page", write_pages)
    _command(
        commands,
        "logits",
        "size of the logits per class, and over the epochs of training",
        write_logits,
    )
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    purpose: str,
    write: Writer,
) -> argparse.ArgumentParser:
    """A command on single runs, with the arguments that all have."""
    command = commands.add_parser(name, help=purpose)
    command.set_defaults(write=write)
    command.add_argument(
        "folders", nargs="+", type=Path, metavar="RUN", help="folder of a run that was evaluated"
    )
    command.add_argument(
        "--output", required=True, type=Path, metavar="DIR", help="folder for what is written"
    )
    command.add_argument(
        "--names", nargs="+", metavar="NAME", help="a name per run (default: that of its folder)"
    )
    return command


def _print_comparison(**options: Any) -> list[Path]:
    table, files = write_comparison(**options)
    print(table, end="")
    return files


if __name__ == "__main__":
    sys.exit(main())
