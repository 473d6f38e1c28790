"""``nacl-monai fit-prior RATER1 RATER2 …``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from nacl_monai.cli import Parser, write_files
from nacl_monai.data.cases import AFFINE_TOLERANCE, distance


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    values = vars(_parser().parse_args(argv))

    def fit() -> list[Path]:
        from nacl_monai.raters.command import FitOptions, fit_prior

        return fit_prior(FitOptions(**values))

    return write_files(fit)


def _parser() -> argparse.ArgumentParser:
    fit = Parser(
        prog="nacl-monai fit-prior",
        description="Fit the width of NACL's prior to cases that several raters labeled.",
    )
    add = fit.add_argument
    folders = "folders of label maps of the same cases"
    add("raters", nargs="+", type=Path, metavar="RATER", help=folders)
    file = Path("prior.yaml")
    add("--output", type=Path, default=file, metavar="YAML", help=f"default: {file}")
    sizes = "voxels of the training, one number per axis (default: those of the label maps)"
    add("--spacing", nargs="+", type=float, metavar="MM", help=sizes)
    slices = "slices, along the axis of the longest voxels, or else upward"
    volumes = f"soften volumes, for a 3-D network (default: {slices})"
    add("--volumes", action="store_true", help=volumes)
    near = "how far from a border voxels count (default: 3)"
    add("--band", type=float, default=3.0, metavar="MM", help=near)
    apart = f"how far apart two label maps may put a voxel (default: {AFFINE_TOLERANCE})"
    add("--affine_tolerance", type=distance, default=AFFINE_TOLERANCE, metavar="MM", help=apart)
    group = r"whose a case is, the group of a regular expression: '(patient\d+)_'"
    add("--patient-pattern", metavar="REGEX", help=group)
    return fit


if __name__ == "__main__":
    sys.exit(main())
