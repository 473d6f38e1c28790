"""Compare evaluated runs: ``python -m nacl_monai.reports compare RUN [RUN ...] --output DIR``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from nacl_monai.errors import InputError
from nacl_monai.reports.compare import write_comparison


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        text, files = write_comparison(
            options.runs, options.output, names=options.names, case=options.case
        )
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error}; choose another --output", file=sys.stderr)
        return 1
    print(text)
    for path in files:
        print(f"wrote {path}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m nacl_monai.reports",
        description="Tables and figures from evaluated runs; no model is loaded.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser(
        "compare", help="table, reliability diagrams and confidence maps of runs side by side"
    )
    command.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="folder of a run that was evaluated"
    )
    command.add_argument(
        "--output", required=True, type=Path, metavar="DIR", help="folder for tables and figures"
    )
    command.add_argument(
        "--names", nargs="+", metavar="NAME", help="a name per run (default: that of its folder)"
    )
    command.add_argument("--case", help="test volume in the maps (default: the one of median Dice)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
