"""Checking downloads, and writing phantoms: ``python -m nacl_monai.data COMMAND DATASET DIR``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from nacl_monai.data.check import check_data_set
from nacl_monai.data.phantoms import PHANTOMS
from nacl_monai.errors import InputError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code, 1 where a download has faults."""
    parser = argparse.ArgumentParser(prog="python -m nacl_monai.data", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    check = commands.add_parser("check", help="verify a download, from its headers and labels")
    check.add_argument("data_set")
    check.add_argument("directory", help="the unpacked download, as for dataset_dir")
    check.add_argument("--subset", action="store_true", help="accept fewer cases than are official")
    check.add_argument("--bundles", default="bundles", help="folder of the bundles")

    phantom = commands.add_parser("phantom", help="write a small phantom in an official layout")
    phantom.add_argument("data_set", choices=sorted(PHANTOMS))
    phantom.add_argument("directory")
    phantom.add_argument(
        "--cases",
        type=int,
        default=argparse.SUPPRESS,
        help="labelled cases (default: 20; mrbrains: 7)",
    )
    phantom.add_argument("--seed", type=int, default=0, help="default: 0")
    phantom.add_argument(
        "--full-size",
        action="store_true",
        help="the official matrix, for measurements of memory (acdc, hippocampus: no effect, "
        "as theirs is always the official one)",
    )

    options = vars(parser.parse_args(argv))
    command, data_set, directory = (
        options.pop(key) for key in ("command", "data_set", "directory")
    )
    try:
        if command == "phantom":
            PHANTOMS[data_set](directory, **options)
            return 0
        found = check_data_set(data_set, directory, **options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(found.table())
    for fault in found.faults:
        print(f"fault: {fault}", file=sys.stderr)
    return 1 if found.faults else 0


if __name__ == "__main__":
    sys.exit(main())
