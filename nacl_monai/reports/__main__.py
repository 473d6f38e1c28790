"""Tables and figures of evaluated runs: ``nacl-monai COMMAND RUN … --output DIR``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nacl_monai import reports
from nacl_monai.cli import Parser, write_files
from nacl_monai.output import written_folder
from nacl_monai.runs import TOP


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code.

    Args:
        argv: The command and its arguments; by default those of the process.
    """
    options = vars(_parser().parse_args(argv))
    return write_files(lambda: _write(**options))


def _write(command: str, output: Path, **options: Any) -> list[Path]:
    """Writes the files of a command to a folder, which keeps earlier ones of other names."""
    if command == "page":
        options["shown"] = output
    with written_folder(output, command, whole=False) as folder:
        files = _WRITERS[command]()(output=folder, **options)
    return [output / file.relative_to(folder) for file in files]


def _print_comparison(**options: Any) -> list[Path]:
    table, files = reports.write_comparison(**options)
    print(table, end="")
    return files


#: By the command: what writes its files, loaded when it is asked for.
_WRITERS: dict[str, Callable[[], Callable[..., list[Path]]]] = {
    "compare": lambda: _print_comparison,
    "reliability": lambda: reports.write_reliability,
    "selective": lambda: reports.write_selective,
    "page": lambda: reports.write_pages,
    "logits": lambda: reports.write_logits,
}


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="nacl-monai", description="Tables and figures from evaluated runs; no model is loaded."
    )
    commands = parser.add_subparsers(dest="command", required=True)

    compare = _command(commands, "compare", "table, reliability diagrams and maps side by side")
    compare.add_argument("--case", help="test case in the maps (default: the one of median Dice)")
    compare.add_argument(
        "--show",
        nargs="+",
        choices=["confidence", "entropy"],
        default=["confidence"],
        help="what the maps show (default: confidence)",
    )

    draw = commands.add_parser("draw", help="one kind of figure").add_subparsers(
        dest="command", required=True
    )
    reliability = _command(draw, "reliability", "reliability diagrams of any region or class")
    reliability.add_argument(
        "--region", help="voxels that count (default: near, of the first structure)"
    )
    reliability.add_argument(
        "--class",
        default=TOP,
        dest="class_name",
        metavar="CLASS",
        help=f"a class by name (default: {TOP}, the predicted one)",
    )

    selective = _command(draw, "selective", "error rate among the most confident voxels")
    selective.add_argument(
        "--regions", nargs="+", default=(), metavar="REGION", help="only these (default: all)"
    )

    _command(draw, "logits", "size of the logits per class, and over the epochs of training")

    _command(commands, "page", "all about a run or an audit on one HTML page")
    return parser


def _command(
    commands: argparse._SubParsersAction[Parser], name: str, purpose: str
) -> argparse.ArgumentParser:
    """A command on single runs, with the arguments that all have."""
    command = commands.add_parser(name, help=purpose)
    command.add_argument(
        "folders", nargs="+", type=Path, metavar="RUN", help="folder of a run that was evaluated"
    )
    command.add_argument(
        "--output", type=Path, default=Path(name), metavar="DIR", help=f"default: {name}"
    )
    command.add_argument(
        "--names", nargs="+", metavar="NAME", help="a name per run (default: that of its folder)"
    )
    return command


if __name__ == "__main__":
    sys.exit(main())
