"""Words that several commands on saved predictions share."""

from __future__ import annotations

import argparse
from pathlib import Path

from nacl_monai.audits.channels import ACTIVATIONS
from nacl_monai.audits.options import EVALUATED_REGIONS
from nacl_monai.data.faults import AFFINE_TOLERANCE, distance


def add_patients(parser: argparse._ActionsContainer) -> None:
    """Who the patients of the cases are."""
    parser.add_argument(
        "--patient-pattern",
        metavar="REGEX",
        help=r"whose a case is, the group of a regular expression: '(patient\d+)_'",
    )
    parser.add_argument(
        "--patients", type=Path, metavar="CSV", help="a table with the columns case and patient"
    )


def add_meaning(parser: argparse._ActionsContainer) -> None:
    """What the channels of the probabilities mean."""
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


def add_measures(parser: argparse._ActionsContainer) -> None:
    """What is measured, and how closely grids must agree."""
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
