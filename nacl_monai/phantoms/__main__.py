"""Writes a phantom: ``nacl-monai phantom DATASET DIR``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from nacl_monai.cli import Parser
from nacl_monai.errors import InputError, print_error
from nacl_monai.phantoms import PHANTOMS


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code, 1 where the phantom cannot be written."""
    options = _parser().parse_args(argv)
    try:
        phantom = PHANTOMS[options.dataset]
        phantom.write(options.directory, options.cases, options.seed, options.full_size)
    except InputError as error:
        print_error(error)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="nacl-monai phantom",
        description="Write a small phantom in the official layout of a dataset.",
    )
    parser.add_argument("dataset", choices=sorted(PHANTOMS))
    parser.add_argument("directory", help="folder to create; afterwards it serves as dataset_dir")
    parser.add_argument("--cases", type=int, help="labeled cases (default: 20; mrbrains: 7)")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument(
        "--full-size",
        action="store_true",
        help="write the official matrix, for measurements of memory (no effect on acdc and "
        "hippocampus, which always have it)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
