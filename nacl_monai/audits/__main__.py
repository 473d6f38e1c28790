"""Audits saved predictions of any tool: ``nacl-monai audit PREDICTIONS [PREDICTIONS …] LABELS``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nacl_monai.audits.calibrate import calibrate
from nacl_monai.audits.options import Options
from nacl_monai.audits.words import add_meaning, add_measures, add_patients
from nacl_monai.cli import attempted
from nacl_monai.errors import InputError, SettingError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code, 1 where a case had a fault."""
    given = list(sys.argv[1:] if argv is None else argv)
    if given[:1] == ["calibrate"]:
        return _ended(*attempted(lambda: calibrate(given[1:])))
    words = vars(_parser().parse_args(given))
    run = words.pop("run")
    del words["command"]
    return _ended(*attempted(lambda: run(**words)))


def _ended(faults: Sequence[InputError] | None, code: int) -> int:
    """The exit code, which says whether single cases had a fault."""
    return 1 if faults else code


def _audit(
    folders: Sequence[Path],
    output: Path,
    names: Sequence[str] | None = None,
    raters: Sequence[Path] | None = None,
    rater_names: Sequence[str] | None = None,
    **options: Any,
) -> Sequence[InputError]:
    from nacl_monai.audits.command import audit_folders, distinct_names

    if raters is not None:
        called = distinct_names(raters, rater_names, "--rater-names", "raters")
        by_name = dict(zip(called, raters, strict=True))
        return audit_folders(folders, by_name, output, Options(**options), names)
    if rater_names is not None:
        raise SettingError(
            "--rater-names: are those of --raters, which is missing; give the folders"
        )
    *predictions, labels = folders
    if not predictions:
        raise InputError(f"{labels}: is the only folder; give predictions first, then their labels")
    return audit_folders(predictions, labels, output, Options(**options), names)


def _merge(files: Sequence[Path], output: Path) -> Sequence[InputError]:
    from nacl_monai.audits.command import merge_files

    return merge_files(files, output)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nacl-monai", description="Calibration of saved predictions; no model is loaded."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    audit = commands.add_parser(
        "audit",
        help="audit saved predictions of any tool",
        argument_default=argparse.SUPPRESS,  # what is not said is as `Options` has it
    )
    audit.set_defaults(run=_audit)
    _add_files(audit)
    add_patients(audit)
    add_meaning(audit)
    add_measures(audit)
    audit.add_argument(
        "--calibrator",
        type=Path,
        metavar="FILE",
        help="audit the probabilities behind it: calibrator.json, as calibrate writes it",
    )
    audit.add_argument(
        "--write",
        choices=["nifti"],
        help="also write probabilities, confidence and entropy of every case, as images",
    )
    audit.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (default: 1)")

    merge = commands.add_parser("merge", help="join the audits of several sites, from sums alone")
    merge.set_defaults(run=_merge)
    merge.add_argument("files", nargs="+", type=Path, metavar="BINS", help="bins.npz of an audit")
    merge.add_argument(
        "--output", type=Path, default=Path("merge"), metavar="DIR", help="default: merge"
    )
    return parser


def _add_files(audit: argparse.ArgumentParser) -> None:
    """What is read and written."""
    audit.add_argument(
        "folders",
        nargs="+",
        type=Path,
        metavar="FOLDER",
        help="folders of predictions, one per model, and last that of the label maps, unless --raters "
        "has these",
    )
    audit.add_argument(
        "--raters",
        nargs="+",
        type=Path,
        metavar="LABELS",
        help="several folders of label maps of the same cases, one per rater",
    )
    audit.add_argument(
        "--rater-names",
        nargs="+",
        metavar="NAME",
        help="a name per rater (default: that of the folder)",
    )
    audit.add_argument(
        "--output", type=Path, default=Path("audit"), metavar="DIR", help="default: audit"
    )
    audit.add_argument(
        "--names", nargs="+", metavar="NAME", help="a name per model (default: that of its folder)"
    )


if __name__ == "__main__":
    sys.exit(main())
