"""Prints the folder of the trainers: ``export nnUNet_extTrainer="$(python -m nacl_monai.nnunet)"``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from nacl_monai.cli import Parser, attempted
from nacl_monai.nnunet.finding import TRAINERS, trainers_folder


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    Parser(
        prog="nacl-monai nnunet",
        description="Prints the folder in which nnU-Net finds the trainers of this package, for its "
        "variable nnUNet_extTrainer.",
        epilog=f"The trainers: {', '.join(TRAINERS)}.",
    ).parse_args(argv)
    folder, code = attempted(trainers_folder)
    if folder is not None:
        print(folder)
    return code


if __name__ == "__main__":
    sys.exit(main())
