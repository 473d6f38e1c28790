"""Writing phantoms: ``python -m nacl_monai.phantoms DATASET DIR``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from nacl_monai.errors import InputError
from nacl_monai.phantoms import PHANTOMS


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m nacl_monai.phantoms",
        description="Write a small phantom in an official layout.",
    )
    parser.add_argument("dataset", choices=sorted(PHANTOMS))
    parser.add_argument("directory")
    parser.add_argument(
        "--cases",
        type=int,
        default=argparse.SUPPRESS,
        help="labeled cases (default: 20; mrbrains: 7)",
    )
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument(
        "--full-size",
        action="store_true",
        help="the official matrix, for measurements of memory (acdc, hippocampus: no effect, "
        "as theirs is always the official one)",
    )
    options = vars(parser.parse_args(argv))
    dataset, directory = options.pop("dataset"), options.pop("directory")
    try:
        PHANTOMS[dataset](directory, **options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
