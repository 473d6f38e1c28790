"""``nacl-monai reproduce table1 --datasets acdc``: runs the workflow with Snakemake."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from nacl_monai.cli import attempted, print_written
from nacl_monai.errors import InputError
from nacl_monai.paper.workflow import copy_workflow, snakemake_words

#: What narrows the grid; several values are words of one.
_LISTS = {"datasets": "NAME", "losses": "NAME", "networks": "NAME", "seeds": "N"}
#: Folders go by the environment, since Snakemake reads the values of --config as YAML.
_FOLDERS = {"data_dir": "NACL_DATA_DIR", "runs": "NACL_RUNS"}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code, Snakemake's."""
    options, others = _parser().parse_known_args(argv)
    if options.copy:
        folder, code = attempted(copy_workflow)
        print_written([folder] if folder else [])
        return code
    words, code = attempted(lambda: _words(options, others))
    if words is None:
        return code
    os.environ.update({_FOLDERS[key]: folder for key, folder in _folders(options).items()})
    from snakemake.cli import main as snakemake  # an extra

    snakemake(words)
    return 0


def _words(options: argparse.Namespace, others: Sequence[str]) -> list[str]:
    if find_spec("snakemake") is None:
        raise InputError(
            "snakemake: is not installed; pip install 'snakemake>=9', on Python 3.11 or later"
        )
    settings = {key: " ".join(getattr(options, key) or ()) for key in _LISTS}
    settings |= {"tracking": options.tracking, "pretrained": options.pretrained}
    return snakemake_words(
        options.profile,
        settings,
        others,
        config=options.config,
        forcerun=options.forcerun,
        elsewhere=_folders(options),
    )


def _folders(options: argparse.Namespace) -> dict[str, str]:
    """Those that were given."""
    return {key: folder for key in _FOLDERS if (folder := getattr(options, key))}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nacl-monai reproduce",
        usage="%(prog)s [TARGET …] [options] [options of Snakemake]",
        description="Train and evaluate what a table or figure of the paper needs, and make it. "
        "TARGET is table1 to table4, figure1 to figure11, after_training, posthoc, selective, "
        "report (one page), calibrations, three_d, unet_authors, hyperparameters or widths; without "
        "one, all are made but the last five. Runs that are there are not trained again.",
        epilog="Every other word is Snakemake's: --dry-run, --cores 4, --configfile mine.yaml.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--profile",
        default="local",
        metavar="NAME",
        help="local (default), smoke, slurm, kubernetes, or a folder",
    )
    for key, metavar in _LISTS.items():
        parser.add_argument(f"--{key}", nargs="+", metavar=metavar, help="only these")
    parser.add_argument("--data_dir", metavar="DIR", help="a folder per dataset (default: data)")
    parser.add_argument("--runs", metavar="DIR", help="folder of the runs (default: runs)")
    parser.add_argument("--pretrained", metavar="FILE", help="weights that TransUNet begins with")
    parser.add_argument(
        "--tracking", choices=["mlflow"], help="also log the runs to runs/mlflow.db"
    )
    for short, key, metavar, purpose in (
        ("-C", "config", "KEY=VALUE", "other keys of the workflow's config.yaml"),
        ("-R", "forcerun", "RULE", "what is run again, though it is there"),
    ):
        parser.add_argument(
            f"--{key}", short, nargs="+", action="extend", default=[], metavar=metavar, help=purpose
        )
    parser.add_argument(
        "--copy",
        action="store_true",
        help="write the workflow into workflow/ and end; it is taken from then on, with your changes",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
