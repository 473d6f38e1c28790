"""``nacl-monai fit-prior RATER1 RATER2 …``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from nacl_monai.cli import write_files
from nacl_monai.data.cases import AFFINE_TOLERANCE, distance


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    words = vars(_parser().parse_args(argv))

    def fit() -> list[Path]:
        from nacl_monai.raters.command import FitOptions, fit_prior

        return fit_prior(FitOptions(**words))

    return write_files(fit)


def _parser() -> argparse.ArgumentParser:
    fit = argparse.ArgumentParser(
        prog="nacl-monai fit-prior",
        description="Fit the width of NACL's prior to cases that several raters labeled.",
    )
    fit.add_argument(
        "raters",
        nargs="+",
        type=Path,
        metavar="RATER",
        help="folders of label maps of the same cases",
    )
    fit.add_argument(
        "--output",
        type=Path,
        default=Path("prior.yaml"),
        metavar="YAML",
        help="default: prior.yaml",
    )
    fit.add_argument(
        "--spacing",
        nargs="+",
        type=float,
        metavar="MM",
        help="voxels of the training, one number per axis (default: those of the label maps)",
    )
    fit.add_argument(
        "--volumes",
        action="store_true",
        help="soften volumes, for a 3-D network (default: slices, along the axis of the longest "
        "voxels, or else upward)",
    )
    fit.add_argument(
        "--band",
        type=float,
        default=3.0,
        metavar="MM",
        help="how far from a border voxels count (default: 3)",
    )
    fit.add_argument(
        "--affine_tolerance",
        type=distance,
        default=AFFINE_TOLERANCE,
        metavar="MM",
        help=f"how far apart two label maps may put a voxel (default: {AFFINE_TOLERANCE})",
    )
    fit.add_argument(
        "--patient-pattern",
        metavar="REGEX",
        help=r"whose a case is, the group of a regular expression: '(patient\d+)_'",
    )
    return fit


if __name__ == "__main__":
    sys.exit(main())
