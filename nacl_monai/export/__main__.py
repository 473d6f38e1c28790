"""``nacl-monai export acdc --network unet --loss nacl``: pack a run for others."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nacl_monai.cli import write_files
from nacl_monai.export.bundle import export_bundle
from nacl_monai.export.runs import newest_run
from nacl_monai.runs import RunFolder
from nacl_monai.runtime.command_line import keys_and_values


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command ``export``; returns the exit code."""
    options, words = _parser().parse_known_args(argv)
    return write_files(lambda: _export(options, keys_and_values(words)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nacl-monai", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="export")
    export = commands.add_parser(
        "export",
        help="pack a finished run into a stock MONAI bundle",
        epilog="Overrides that a run without config.json was trained with follow as --key value.",
    )
    export.add_argument("dataset", help="one of the folders in bundles/")
    export.add_argument("--network", default="unet", help="of the run (default: unet)")
    export.add_argument("--loss", default="nacl", help="of the run (default: nacl)")
    export.add_argument("--run", type=Path, metavar="DIR", help="default: the newest finished one")
    export.add_argument("--runs", type=Path, metavar="DIR", default=Path("runs"))
    export.add_argument("--bundles", type=Path, metavar="DIR", help="default: bundles")
    export.add_argument(
        "--trust",
        action="store_true",
        help="execute code of the run's config.json that no bundle has",
    )
    export.add_argument("--output", type=Path, metavar="DIR", help="default: dist/NAME")
    return parser


def _export(options: argparse.Namespace, overrides: dict[str, Any]) -> list[Path]:
    dataset, network, loss = options.dataset, options.network, options.loss
    run = options.run or newest_run(options.runs, dataset, network, loss)
    if not RunFolder(run).config.is_file():
        chosen = {"network_def": f"@networks::{network}", "loss": f"@losses::{loss}"}
        overrides = {**chosen, **overrides}
    output = options.output or Path("dist") / f"{dataset}_{network}_{loss}"
    return export_bundle(run, output, dataset, overrides, options.bundles, options.trust)


if __name__ == "__main__":
    sys.exit(main())
