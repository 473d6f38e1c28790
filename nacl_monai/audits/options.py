"""What a command on saved predictions says, and what it means where it says nothing."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nacl_monai.audits.channels import ACTIVATIONS
from nacl_monai.data.cases import AFFINE_TOLERANCE, distance
from nacl_monai.errors import SettingError

#: The regions of an evaluation, in its order.
EVALUATED_REGIONS = ("foreground", "union", "boundary", "all")
_FILES = ("dataset", "patients", "calibrator")


@dataclass(frozen=True)
class Options:
    """What a command says; `add_options` has the words.

    Raises:
        SettingError: If a number counts things and is smaller than 1.
    """

    dataset: Path | None = None
    activation: str | None = None
    structures: Sequence[str] = ()
    regions: Sequence[str] = EVALUATED_REGIONS
    num_bins: int = 15
    patient_pattern: str | None = None
    patients: Path | None = None
    affine_tolerance: float = AFFINE_TOLERANCE
    jobs: int = 1
    pictures: bool = True
    write: str | None = None
    calibrator: Path | None = None

    def __post_init__(self) -> None:
        for name in _FILES:  # in Python, text will do
            file = getattr(self, name)
            object.__setattr__(self, name, None if file is None else Path(file))
        for option, number in (("--num-bins", self.num_bins), ("--jobs", self.jobs)):
            if number < 1:
                raise SettingError(f"{option}: is {number}; give 1 or more")

    @property
    def files(self) -> list[Path]:
        """The files that it names."""
        return [file for name in _FILES if (file := getattr(self, name)) is not None]


def add_options(parser: argparse._ActionsContainer) -> None:
    """The words that audits and fits share: patients, what channels mean, what is measured."""
    # Whose a case is.
    parser.add_argument(
        "--patient-pattern",
        metavar="REGEX",
        help=r"whose a case is, the group of a regular expression: '(patient\d+)_'",
    )
    parser.add_argument(
        "--patients", type=Path, metavar="CSV", help="a table with the columns case and patient"
    )
    # What the channels mean.
    parser.add_argument(
        "--dataset",
        type=Path,
        metavar="FILE",
        help="nnU-Net's dataset.json (default: that beside the predictions, or above the labels)",
    )
    parser.add_argument(
        "--activation", choices=ACTIVATIONS, help="default: as dataset.json says, or else softmax"
    )
    parser.add_argument(
        "--structures",
        nargs="+",
        metavar="NAME=1,2",
        help="structures and their label values: the channels of a sigmoid, or what Dice is of",
    )
    # What is measured, and how closely grids must agree.
    parser.add_argument(
        "--regions",
        nargs="+",
        choices=EVALUATED_REGIONS,
        help="voxels that count, beside foreground (default: all of them)",
    )
    parser.add_argument("--num-bins", type=int, metavar="N", help="default: 15")
    parser.add_argument(
        "--affine_tolerance",
        type=distance,
        metavar="MM",
        help=f"how far apart prediction and label may put a voxel (default: {AFFINE_TOLERANCE})",
    )
    parser.add_argument(
        "--no-pictures",
        dest="pictures",
        action="store_false",
        help="keep no slice of the worst cases, which the page shows",
    )


def add_audit_options(parser: argparse._ActionsContainer) -> None:
    """The words of an audit alone."""
    parser.add_argument(
        "--calibrator",
        type=Path,
        metavar="FILE",
        help="audit the probabilities behind it: calibrator.json, as calibrate writes it",
    )
    parser.add_argument(
        "--write",
        choices=["nifti"],
        help="also write probabilities, confidence and entropy of every case, as images",
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (default: 1)")
