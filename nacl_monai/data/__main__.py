"""``python -m nacl_monai.data phantom brats DIR --cases 6``: write a phantom in an official layout."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from nacl_monai.data.phantoms import PHANTOMS
from nacl_monai.errors import InputError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m nacl_monai.data", description=__doc__)
    commands = parser.add_subparsers(required=True)
    phantom = commands.add_parser("phantom", help="write a small phantom in an official layout")
    phantom.add_argument("data_set", choices=sorted(PHANTOMS))
    phantom.add_argument("directory")
    phantom.add_argument("--cases", type=int, help="labelled cases (default: 20; mrbrains: 7)")
    phantom.add_argument("--seed", type=int, default=0, help="default: 0")
    phantom.add_argument(
        "--full-size",
        action="store_true",
        help="the official matrix, for measurements of memory (acdc, hippocampus: no effect, "
        "as theirs is always the official one)",
    )
    arguments = parser.parse_args(argv)
    given = {} if arguments.cases is None else {"cases": arguments.cases}
    try:
        PHANTOMS[arguments.data_set](
            arguments.directory, **given, seed=arguments.seed, full_size=arguments.full_size
        )
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
