"""Audits saved predictions of any tool: ``nacl-monai audit PREDICTIONS [PREDICTIONS …] LABELS``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nacl_monai.cli import attempted
from nacl_monai.data.faults import AFFINE_TOLERANCE
from nacl_monai.errors import InputError, SettingError
from nacl_monai.predictions.channels import ACTIVATIONS
from nacl_monai.predictions.command import audit_folders, distinct_names, merge_files
from nacl_monai.predictions.folders import Options
from nacl_monai.predictions.measuring import EVALUATED_REGIONS


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code, 1 where a case had a fault."""
    words = vars(_parser().parse_args(argv))
    run = words.pop("run")
    del words["command"]
    faults, code = attempted(lambda: run(**words))
    for fault in faults or []:
        print(f"fault: {fault}", file=sys.stderr)
    return 1 if faults else code


def _audit(
    folders: Sequence[Path],
    output: Path,
    names: Sequence[str] | None,
    raters: Sequence[Path] | None,
    rater_names: Sequence[str] | None,
    **options: Any,
) -> Sequence[InputError]:
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nacl-monai", description="Calibration of saved predictions; no model is loaded."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    audit = commands.add_parser("audit", help="audit saved predictions of any tool")
    audit.set_defaults(run=_audit)
    _add_files(audit)
    _add_meaning(audit)
    audit.add_argument(
        "--regions",
        nargs="+",
        default=EVALUATED_REGIONS,
        choices=EVALUATED_REGIONS,
        help="voxels that count, beside foreground (default: all of them)",
    )
    audit.add_argument("--num-bins", type=int, default=15, metavar="N", help="default: 15")
    audit.add_argument(
        "--affine_tolerance",
        type=float,
        default=AFFINE_TOLERANCE,
        metavar="MM",
        help=f"how far apart prediction and label may put a voxel (default: {AFFINE_TOLERANCE})",
    )
    audit.add_argument(
        "--no-pictures",
        dest="pictures",
        action="store_false",
        help="keep no slice of the worst cases, which the page shows",
    )
    audit.add_argument(
        "--write",
        choices=["nifti"],
        help="also write probabilities, confidence and entropy of every case, as images",
    )
    audit.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (default: 1)")

    merge = commands.add_parser("merge", help="join the audits of several sites, from sums alone")
    merge.set_defaults(run=merge_files)
    merge.add_argument("files", nargs="+", type=Path, metavar="BINS", help="bins.npz of an audit")
    merge.add_argument("--output", type=Path, required=True, metavar="DIR")
    return parser


def _add_files(audit: argparse.ArgumentParser) -> None:
    """What is read and written, and whose the cases are."""
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
    audit.add_argument(
        "--patient-pattern",
        metavar="REGEX",
        help=r"whose a case is, the group of a regular expression: '(patient\d+)_'",
    )
    audit.add_argument(
        "--patients", type=Path, metavar="CSV", help="a table with the columns case and patient"
    )


def _add_meaning(audit: argparse.ArgumentParser) -> None:
    """What the channels of the probabilities mean."""
    audit.add_argument(
        "--dataset",
        type=Path,
        metavar="FILE",
        help="nnU-Net's dataset.json (default: that beside the predictions, or above the labels)",
    )
    audit.add_argument(
        "--activation", choices=ACTIVATIONS, help="default: as dataset.json says, or else softmax"
    )
    audit.add_argument(
        "--structures",
        nargs="+",
        default=(),
        metavar="NAME=1,2",
        help="structures and their label values: the channels of a sigmoid, or what Dice is of",
    )


if __name__ == "__main__":
    sys.exit(main())
