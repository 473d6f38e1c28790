"""``nacl-monai reproduce table1 --datasets acdc``: runs the workflow with Snakemake."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from nacl_monai.cli import Parser, attempted, print_written
from nacl_monai.errors import InputError, SettingError
from nacl_monai.files import write_text
from nacl_monai.wheel import shipped

#: What narrows the grid; several values are words of one.
_LISTS = {"datasets": "NAME", "losses": "NAME", "networks": "NAME", "seeds": "N"}
_TEXTS = ("tracking", "pretrained")
#: Folders go by the environment, since Snakemake reads the values of --config as YAML.
_FOLDERS = {"data_dir": "NACL_DATA_DIR", "runs": "NACL_RUNS"}
_FOLDER = "workflow"
_SNAKEFILE = "Snakefile"
#: What a job of the rule ``experiment`` took here: NACL's 100 epochs, and the memory of any loss's.
_EXPECTED = (
    "Each job of `experiment` is one training: 3.4 hours on hippocampus and 5.6 on ACDC, measured on "
    "one core of a CPU with bfloat16, and 0.6 to 1 GiB; other datasets were not trained here. "
    "--dry-run counts them. The same command goes on where it stopped: "
    "finished trainings are in {runs}, tables and figures in {report}."
)
# What tells a copy from the workflow of another project, which Snakemake's users call alike.
_OURS = "rules/exhibits.smk"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code, Snakemake's."""
    options, further = _parser().parse_known_args(argv)
    if options.copy:
        folder, code = attempted(copy_workflow)
        print_written([folder] if folder else [])
        return code
    arguments, code = attempted(lambda: snakemake_words(options, further))
    if arguments is None:
        return code
    folders = {key: folder for key in _FOLDERS if (folder := getattr(options, key))}
    os.environ.update({_FOLDERS[key]: folder for key, folder in folders.items()})
    if options.profile != "smoke":
        report = os.environ.get("NACL_REPORT", "runs/report")
        text = _EXPECTED.format(runs=options.runs or "runs", report=report)
        print(text, file=sys.stderr, flush=True)
    from snakemake.cli import main as snakemake  # an extra

    snakemake(arguments)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="nacl-monai reproduce",
        usage="%(prog)s [TARGET …] [options] [options of Snakemake]",
        description="Train and evaluate what a table or figure of the paper needs, and make it. "
        "TARGET is table1 to table4, figure1 to figure11, after_training, posthoc, selective, "
        "report (one page), calibrations, three_d, unet_authors, hyperparameters or widths; without "
        "one, all are made but the last five. Runs that are there are not trained again.",
        epilog="Every other word is Snakemake's: --dry-run, --cores 4, --configfile mine.yaml.",
    )
    parser.add_argument(
        "--profile",
        default="local",
        metavar="NAME",
        help="local (default), smoke, slurm, or a folder",
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


def workflow_folder() -> Path:
    """Returns the folder of the workflow: a copy in the working directory, or else the package's.

    Raises:
        InputError: If there is none.
    """
    own = Path(_FOLDER)
    return own if (own / _OURS).is_file() else shipped(_FOLDER)


def copy_workflow() -> Path:
    """Copies the package's workflow into the working directory, where it can be changed.

    Returns:
        The new folder.

    Raises:
        InputError: If there is one already, or if it cannot be written.
    """
    own, source = Path(_FOLDER), shipped(_FOLDER)
    if own.exists():
        raise InputError(f"{own}: is there already; move it away, or change it")
    for file in filter(Path.is_file, source.rglob("*")):
        write_text(own / file.relative_to(source), file.read_text(encoding="utf-8"))
    return own


def snakemake_words(options: argparse.Namespace, further: Sequence[str] = ()) -> list[str]:
    """Returns the words behind ``snakemake``.

    Snakemake heeds the last ``--config`` and the last ``--forcerun`` alone, so each is given once.

    Args:
        options: Those of the command.
        further: Targets, and options of Snakemake.

    Raises:
        InputError: If Snakemake is missing, if there is no such profile, or if a key of the workflow's
            configuration is set twice.
    """
    if find_spec("snakemake") is None:
        raise InputError(
            "snakemake: is not installed; pip install 'snakemake>=9', on Python 3.11 or later"
        )
    settings = {key: " ".join(getattr(options, key) or ()) for key in _LISTS}
    settings |= {key: getattr(options, key) for key in _TEXTS}
    config = [*(f"{key}={value}" for key, value in settings.items() if value), *options.config]
    _check_config(options)
    folder = workflow_folder()
    return [
        *further,  # in front, since some options take all words behind them
        *("--snakefile", str(folder / _SNAKEFILE)),
        *("--workflow-profile", str(_profile(options.profile, folder / "profiles"))),
        *("--forcerun", "render", *options.forcerun),
        *(["--config", *config] if config else []),
    ]


def _check_config(options: argparse.Namespace) -> None:
    """Refuses a key of ``--config`` that is set twice."""
    keys = [pair.partition("=")[0] for pair in options.config]
    for key in keys:
        if key in (*_LISTS, *_TEXTS, *_FOLDERS) and getattr(options, key):
            raise SettingError(f"--config {key}: is set by --{key}, too; leave one of them out")
        if keys.count(key) > 1:
            raise SettingError(f"--config {key}: is set twice; leave one of them out")


def _profile(name: str, profiles: Path) -> Path:
    """The folder of a profile: by its name, or a folder of the user's."""
    for place in (profiles / name, Path(name)):
        if place.is_dir():
            return place.resolve()
    known = ", ".join(sorted(place.name for place in profiles.iterdir()))
    raise SettingError(f"--profile: there is no {name}; choose from: {known}, or name a folder")


if __name__ == "__main__":
    sys.exit(main())
