"""Trains CE+DSC and NACL on the package's MRI data, evaluates and compares them."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nacl_monai.cli import Parser, attempted
from nacl_monai.demo.steps import DATASET, ENVIRONMENT, plan, run
from nacl_monai.errors import SettingError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    options, overrides = _parser().parse_known_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if options.quick:
        return _quick(options.output, [options.dataset_dir, *overrides], options.dataset)
    choices = (options.dataset, options.dataset_dir, options.output, overrides)
    _, code = attempted(lambda: run(plan(*choices)))
    return code


def _quick(output: Path | None, rest: Sequence[Any], dataset: str) -> int:
    from nacl_monai.demo.quick import run_quick

    def quick() -> None:
        if any(rest) or dataset != DATASET:
            raise SettingError("--quick: has its own network and data; leave out all but --output")
        os.environ.update(ENVIRONMENT)  # before torch is imported
        run_quick(*([output] if output else []))

    return attempted(quick)[1]


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="nacl-monai demo",
        description=f"{__doc__} It takes a few minutes on two cores.",
        epilog="Every further --KEY VALUE is one of the trainings, such as --max_epochs 2.",
    )
    add = parser.add_argument
    quick = "train nothing: take the trained network in the package"
    add("--quick", action="store_true", help=quick)
    name = f"default: {DATASET}; acdc is a phantom"
    add("--dataset", default=DATASET, metavar="NAME", help=name)
    data = "default: the data that come with it"
    add("--dataset_dir", type=Path, metavar="DIR", help=data)
    output = "default: runs/demo/DATASET; an earlier one moves"
    add("--output", type=Path, metavar="DIR", help=output)
    return parser


if __name__ == "__main__":
    sys.exit(main())
