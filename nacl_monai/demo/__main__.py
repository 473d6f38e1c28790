"""Trains CE+DSC and NACL on the package's MRI data, evaluates and compares them."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from nacl_monai.cli import attempted
from nacl_monai.demo.steps import DATASET, plan, run


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    options, overrides = _parser().parse_known_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    given = (options.dataset, options.dataset_dir, options.output, overrides)
    _, code = attempted(lambda: run(plan(*given)))
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nacl-monai demo",
        description=f"{__doc__} It takes a few minutes on two cores.",
        epilog="Every further --KEY VALUE is one of the trainings, such as --max_epochs 2.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    name = f"default: {DATASET}; acdc is a phantom"
    add("--dataset", default=DATASET, metavar="NAME", help=name)
    data = "default: the data that come with it"
    add("--dataset_dir", type=Path, metavar="DIR", help=data)
    output = "default: runs/demo/DATASET; an earlier one moves"
    add("--output", type=Path, metavar="DIR", help=output)
    return parser


if __name__ == "__main__":
    sys.exit(main())
