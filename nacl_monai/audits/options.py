"""What a command on saved predictions says, and what it means where it says nothing."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nacl_monai.audits.names import Names
from nacl_monai.data.cases import AFFINE_TOLERANCE, distance
from nacl_monai.errors import SettingError
from nacl_monai.runs import MARGIN, check_num_bins

#: The regions of an evaluation, in its order.
EVALUATED_REGIONS = ("foreground", "union", "boundary", "all", "near")
#: All that can be asked for, the keys of `nacl_monai.metrics.REGIONS`, known here without torch.
KNOWN_REGIONS = (
    *EVALUATED_REGIONS,
    "predicted",
    "predicted_boundary",
)
SOFTMAX, SIGMOID = ACTIVATIONS = ("softmax", "sigmoid")
#: What may be averaged over the members of an ensemble.
PROBS, LOGITS = AVERAGED = ("probs", "logits")
_FILES = ("dataset", "patients", "calibrator", "pairs")


@dataclass(frozen=True)
class Options:
    """What a command says; `add_options` has the words.

    Attributes:
        ensemble: What is averaged over the folders of several members, one of `AVERAGED`.
        members: Their folders, but for the first, which is the command's.

    Raises:
        SettingError: If a number counts things and is smaller than 1, or an ensemble has one member.
    """

    dataset: Path | None = None
    activation: str | None = None
    structures: Sequence[str] = ()
    regions: Sequence[str] = EVALUATED_REGIONS
    num_bins: int = 15
    margin: float = MARGIN
    patient_pattern: str | None = None
    patients: Path | None = None
    affine_tolerance: float = AFFINE_TOLERANCE
    jobs: int = 1
    pictures: bool = True
    write: str | None = None
    calibrator: Path | None = None
    prediction_name: str | None = None
    label_name: str | None = None
    pairs: Path | None = None
    from_logits: bool = False
    channels_as_given: bool = False
    ensemble: str | None = None
    members: Sequence[Path] = ()
    shard: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for name in _FILES:  # in Python, text will do
            file = getattr(self, name)
            object.__setattr__(self, name, None if file is None else Path(file))
        object.__setattr__(self, "members", tuple(map(Path, self.members)))
        if self.ensemble not in (None, *AVERAGED):
            raise SettingError(
                f"--ensemble: is {self.ensemble!r}; choose from {', '.join(AVERAGED)}"
            )
        if (self.ensemble is None) == bool(self.members):
            raise SettingError(
                "--ensemble: averages the predictions of several folders; give two or more with it"
            )
        _ = self.names  # refuses expressions that are none
        for option, number in (("--num-bins", self.num_bins), ("--jobs", self.jobs)):
            if number < 1:
                raise SettingError(f"{option}: is {number}; give 1 or more")
        check_num_bins(self.num_bins, "--num-bins")

    @property
    def names(self) -> Names:
        """How cases are found in the names of files."""
        return Names(self.prediction_name, self.label_name, self.pairs)

    @property
    def words(self) -> list[str]:
        """What is said of the data, as another command takes it."""
        words = []
        for name in (*_OF_DATA, *_OF_CHANNELS):
            value = getattr(self, name)
            if value:
                values = (
                    value if isinstance(value, (list, tuple)) else [value] * (value is not True)
                )
                words += [f"--{name.replace('_', '-')}", *map(str, values)]
        return words

    @property
    def margin_words(self) -> list[str]:
        """The margin, as another audit or fit takes it; none where it is the usual one."""
        return [] if self.margin == MARGIN else ["--margin", f"{self.margin:g}"]

    @property
    def files(self) -> list[Path]:
        """The files and folders that it names."""
        files = [file for name in _FILES if (file := getattr(self, name)) is not None]
        return [*files, *self.members]

    @property
    def joins(self) -> list[Any]:
        """What is averaged, and over how many members; empty without an ensemble."""
        return [self.ensemble, 1 + len(self.members)] if self.members else []


#: What a command passes on to the next.
_OF_DATA = ("patient_pattern", "patients", "prediction_name", "label_name", "pairs")
_OF_CHANNELS = (
    "dataset",
    "activation",
    "structures",
    "from_logits",
    "channels_as_given",
    "calibrator",
    "ensemble",
)


def as_one(folders: Sequence[Path], words: dict[str, Any]) -> list[Path]:
    """The folders of models; of an ensemble the first, and the others become members in the words."""
    if words.get("ensemble") is None:
        return list(folders)
    words["members"] = folders[1:]
    return list(folders[:1])


def add_options(parser: argparse._ActionsContainer) -> None:
    """The words that audits and fits share: patients, what channels mean, what is measured."""
    add = parser.add_argument
    pattern = r"whose a case is, the group of a regular expression: '(patient\d+)_'"
    add("--patient-pattern", metavar="REGEX", help=pattern)
    table = "a table with the columns case and patient"
    add("--patients", type=Path, metavar="CSV", help=table)
    of_case = (
        "a prediction's whole name without ending, the group is the case's: 'pred_(.+)_softmax'"
    )
    add("--prediction-name", metavar="REGEX", help=of_case)
    add("--label-name", metavar="REGEX", help="the same of a label map: '(.+)_seg'")
    named = "a table with the columns prediction and label, names without ending"
    add("--pairs", type=Path, metavar="CSV", help=named)
    logits = "logits were saved, and not probabilities"
    add("--from-logits", action="store_true", help=logits)
    given = "channels in this order, though another would agree better with the labels"
    add("--channels-as-given", action="store_true", help=given)
    dataset = "nnU-Net's dataset.json (default: that beside the predictions, or above the labels)"
    add("--dataset", type=Path, metavar="FILE", help=dataset)
    activation = "default: as dataset.json says, or else softmax"
    add("--activation", choices=ACTIVATIONS, help=activation)
    unions = "structures and their label values: the channels of a sigmoid, or what Dice is of"
    add("--structures", nargs="+", metavar="NAME=1,2", help=unions)
    # What is measured, and how closely grids must agree.
    regions = f"voxels that count, beside foreground (default: {' '.join(EVALUATED_REGIONS)})"
    add("--regions", nargs="+", choices=KNOWN_REGIONS, help=regions)
    add("--num-bins", type=int, metavar="N", help="default: 15")
    apart = f"how far apart prediction and label may put a voxel (default: {AFFINE_TOLERANCE})"
    add("--affine_tolerance", type=distance, metavar="MM", help=apart)
    undrawn = "draw no diagram and no slice of a case: numbers alone, in less time"
    add("--no-pictures", dest="pictures", action="store_false", help=undrawn)

    maps = "also write probabilities, confidence and entropy of every case, as images"
    add("--write", choices=["nifti"], help=maps)
    add("--jobs", type=int, metavar="N", help="processes (default: 1)")


def _shard(text: str) -> tuple[int, int]:
    """``3/16`` as two numbers."""
    part, slash, parts = text.partition("/")
    if not (slash and part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise argparse.ArgumentTypeError(f"{text!r} is not one of several parts, such as 3/16")
    return int(part), int(parts)


def add_shard(parser: argparse._ActionsContainer) -> None:
    """The word of an array of jobs."""
    part = "the third of 16 parts of the patients, for an array of jobs; their files are merged"
    parser.add_argument("--shard", type=_shard, metavar="3/16", help=part)


def add_audit_options(parser: argparse._ActionsContainer) -> None:
    """The words of an audit alone."""
    add = parser.add_argument
    behind = "audit the probabilities behind it: calibrator.json, as calibrate writes it"
    add("--calibrator", type=Path, metavar="FILE", help=behind)
    joined = (
        "all folders of predictions are one model: the mean of probabilities (default) or logits"
    )
    add("--ensemble", nargs="?", const=PROBS, choices=AVERAGED, help=joined)


def add_margin(parser: argparse._ActionsContainer) -> None:
    """The word of what is measured around predictions."""
    around = f"how far from a prediction contours, volumes and the region near reach ({MARGIN:g})"
    parser.add_argument("--margin", type=distance, metavar="MM", help=around)
