"""``python -m nacl_monai.export export acdc --network unet --loss nacl``: pack a run for others.

``python -m nacl_monai.export run …`` is ``python -m monai.bundle run …``, held to the same strictness
whatever the configuration.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import fire
import monai.bundle

from nacl_monai.errors import InputError
from nacl_monai.export.bundle import export_bundle
from nacl_monai.export.runs import newest_run
from nacl_monai.runtime.command_line import check_command_line, keys_and_values
from nacl_monai.runtime.error_lines import one_line_errors


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["run"]:
        one_line_errors()
        check_command_line(["monai", *words])
        fire.Fire({"run": monai.bundle.run}, command=words, name="python -m nacl_monai.export")
        return 0
    parser = argparse.ArgumentParser(prog="python -m nacl_monai.export", description=__doc__)
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
    export.add_argument("--bundles", type=Path, metavar="DIR", default=Path("bundles"))
    export.add_argument("--output", type=Path, metavar="DIR", help="default: dist/NAME")
    options, overrides = parser.parse_known_args(words)
    name = f"{options.dataset}_{options.network}_{options.loss}"
    try:
        run = options.run or newest_run(
            options.runs, options.dataset, options.network, options.loss
        )
        chosen = {}
        if not (run / "config.json").is_file():
            chosen = {
                "network_def": f"@networks::{options.network}",
                "loss": f"@losses::{options.loss}",
            }
        written = export_bundle(
            run,
            options.output or Path("dist") / name,
            options.dataset,
            {**chosen, **keys_and_values(overrides)},
            options.bundles,
        )
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for path in written:
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
