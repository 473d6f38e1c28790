"""``nacl-monai export acdc --network unet --loss nacl``: pack a run for others."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nacl_monai.bundles.commands import LOSS, NETWORK
from nacl_monai.cli import write_files
from nacl_monai.runs import RunFolder, short_name

_DEFAULTS = {"network_def": f"@networks::{NETWORK}", "loss": f"@losses::{LOSS}"}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command ``export``; returns the exit code."""
    options, words = _parser().parse_known_args(argv)
    return write_files(lambda: _export(options, words))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nacl-monai", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="export")
    export = commands.add_parser(
        "export",
        help="pack a finished run into a stock MONAI bundle",
        epilog="Overrides that a run without config.json was trained with follow as --key value.",
    )
    export.add_argument("dataset", help="one of the folders in bundles/")
    export.add_argument(
        "--network",
        help="of the run, by its menu or its class (default: that of --run, else unet)",
    )
    export.add_argument("--loss", help="the same (default: that of --run, else nacl)")
    export.add_argument("--dims", type=int, metavar="N", help="3: of patches (the same, else 2)")
    export.add_argument("--seed", type=int, metavar="N", help="the same (default: any)")
    export.add_argument("--run", type=Path, metavar="DIR", help="default: the newest finished one")
    export.add_argument("--runs", type=Path, metavar="DIR", default=Path("runs"))
    export.add_argument("--bundles", type=Path, metavar="DIR", help="default: bundles")
    export.add_argument(
        "--trust",
        action="store_true",
        help="execute code of the run's config.json that no bundle has",
    )
    export.add_argument(
        "--calibrator", metavar="NAME", help="put it behind the network: temperature_union"
    )
    export.add_argument("--onnx", action="store_true", help="write models/model.onnx as well")
    export.add_argument("--output", type=Path, metavar="DIR", help="default: dist/NAME")
    return parser


def _export(options: argparse.Namespace, words: Sequence[str]) -> list[Path]:
    """Exports the run that is named, or the newest of a network and a loss."""
    from nacl_monai.bundles.command_line import keys_and_values
    from nacl_monai.bundles.export import export_bundle
    from nacl_monai.training.run_settings import read_record

    overrides = keys_and_values(words)
    run = options.run or _newest_run(options)
    print(f"packing {run}", flush=True)
    config = RunFolder(run).config
    record = read_record(config) if config.is_file() else _DEFAULTS
    chosen = {
        **({} if config.is_file() else _DEFAULTS),
        **_choice("network_def", "networks", options.network, record),
        **_choice("loss", "losses", options.loss, record),
        **{key: value for key in ("dims", "seed") if (value := vars(options)[key]) is not None},
        **overrides,
    }
    output = options.output or Path("dist") / _name(options.dataset, {**record, **chosen})
    return export_bundle(
        *(run, output, options.dataset, chosen, options.bundles, options.trust),
        calibrator=options.calibrator,
        onnx=options.onnx,
    )


def _newest_run(options: argparse.Namespace) -> Path:
    from nacl_monai.bundles.finished_runs import newest_run

    return newest_run(
        options.runs,
        options.dataset,
        short_name(options.network or NETWORK, options.dims),
        short_name(options.loss or LOSS),
        options.seed,
    )


def _choice(key: str, menu: str, name: str | None, record: Mapping[str, Any]) -> dict[str, str]:
    """The override by which ``key`` is the entry ``name`` of a menu, or the class of that name."""
    if name is None:
        return {}
    if "." not in name:
        return {key: f"@{menu}::{name}"}
    is_definition = isinstance(record.get(key), dict)
    return {f"{key}::_target_" if is_definition else key: name}


def _name(dataset: str, settings: Mapping[str, Any]) -> str:
    """The name of a bundle: dataset, network and loss."""
    network, loss = ({**_DEFAULTS, **settings}[key] for key in _DEFAULTS)
    return f"{dataset}_{short_name(network, settings.get('dims', 2))}_{short_name(loss)}"


if __name__ == "__main__":
    sys.exit(main())
