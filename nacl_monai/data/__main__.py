"""Checks a download: ``nacl-monai check DATASET DIR``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from nacl_monai.data.check import check_dataset
from nacl_monai.errors import InputError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code, 1 where a download has faults."""
    options = _parser().parse_args(argv)
    try:
        summary = check_dataset(
            options.dataset,
            options.directory,
            bundles=options.bundles,
            subset=options.subset,
            affine_tolerance=options.affine_tolerance,
            preprocess=options.preprocess,
        )
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(summary.table())
    for fault in summary.faults:
        print(f"fault: {fault}", file=sys.stderr)
    return 1 if summary.faults else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nacl-monai", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="verify a download, reading it as a training does")
    check.add_argument("dataset")
    check.add_argument("directory", help="the unpacked download, as for dataset_dir")
    check.add_argument("--subset", action="store_true", help="accept fewer cases than are official")
    check.add_argument(
        "--preprocess",
        action="store_true",
        help="preprocess and crop every case too, and say how many voxels of each class are lost",
    )
    check.add_argument(
        "--affine_tolerance",
        type=_distance,
        metavar="MM",
        help="how far apart image and label may put a voxel (default: as the bundle says)",
    )
    check.add_argument("--bundles", metavar="DIR", help="folder of the bundles (default: bundles)")
    return parser


def _distance(text: str) -> float:
    distance = float(text)
    if not 0 <= distance < float("inf"):
        raise ValueError
    return distance


if __name__ == "__main__":
    sys.exit(main())
