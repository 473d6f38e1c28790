"""``python -m nacl_monai.data phantom acdc DIR --cases 20``: write a phantom in an official layout."""

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
    phantom.add_argument("--cases", type=int, default=20, help="patients (default: 20)")
    phantom.add_argument("--seed", type=int, default=0, help="default: 0")
    arguments = parser.parse_args(argv)
    try:
        PHANTOMS[arguments.data_set](
            arguments.directory, cases=arguments.cases, seed=arguments.seed
        )
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
