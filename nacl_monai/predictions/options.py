"""The one table of options: what each word of a command on predictions means, and who uses it.

A row is a field of `Options`. It makes the parsers and their help, checks what Python is given, says
which words travel to the next command, and refuses a word that would have no effect.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from nacl_monai.data.cases import AFFINE_TOLERANCE, distance
from nacl_monai.errors import SettingError
from nacl_monai.predictions.names import Names
from nacl_monai.runs import KNOWN_REGIONS, MARGIN, check_num_bins

#: The regions of an evaluation, in its order.
EVALUATED_REGIONS = ("foreground", "union", "boundary", "all", "near")
SOFTMAX, SIGMOID = ACTIVATIONS = ("softmax", "sigmoid")
#: What may be averaged over the members of an ensemble.
PROBS, LOGITS = AVERAGED = ("probs", "logits")
#: What a command may be about; a verb has one or several of them.
KINDS = {
    "folders": "a folder of predictions and one of labels",
    "shard": "a part of the patients, whose sums alone are written",
    "sums": "promise.npz, an audit or a run, which are sums already",
    "apply": "new predictions and a promise.json",
    "run": "a run",
}
#: Headings of the help.
WHAT, WHOSE, CHANNELS, MEASURED, WRITTEN = GROUPS = (
    "what is asked",
    "whose the cases are",
    "what the channels mean",
    "what is measured",
    "what is written",
)
_READ = "audit:folders calibrate:folders promise:folders promise:shard"
_READ_NEW = f"{_READ} promise:apply triage:apply"
_PROMISED = "promise:folders promise:sums"
_FITTED = "calibrate:folders calibrate:run"
_TESTED = "audit:folders promise:folders promise:shard promise:apply triage:apply"


def _shard(text: str) -> tuple[int, int]:
    """``3/16`` as two numbers."""
    part, slash, parts = text.partition("/")
    if not (slash and part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise argparse.ArgumentTypeError(f"{text!r} is not one of several parts, such as 3/16")
    return int(part), int(parts)


def option(default: Any, uses: str, group: str, text: str, **how: Any) -> Any:
    """A row of the table.

    Args:
        default: What is meant where nothing is said.
        uses: The verbs with their kinds, "promise:sums"; in others it has no effect, and is refused.
        group: One of `GROUPS`.
        text: The help; the default is added to it.
        **how: ``travels``, whether the next command takes it, too; and what argparse is told.
    """
    return field(
        default=default, metadata={"uses": uses.split(), "group": group, "help": text, **how}
    )


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a command says; each field is a row of the table.

    Attributes:
        members: The folders of an ensemble's members but the first, which is the command's.

    Raises:
        SettingError: If a number counts things and is smaller than 1, or an ensemble has one member.
    """

    calibrator: Path | None = option(
        None,
        f"{_TESTED} calibrate:run",
        WHAT,
        "calibrator.json, as calibrate writes it: the probabilities behind it; to calibrate a run, "
        "method, region and ensemble in one: distance_all, ensemble",
        type=Path,
        metavar="FILE",
        travels=True,
    )
    ensemble: str | None = option(
        None,
        _TESTED,
        WHAT,
        "all folders of predictions are one model: the mean of probabilities (default) or logits",
        nargs="?",
        const=PROBS,
        choices=AVERAGED,
        travels=True,
    )
    patient_pattern: str | None = option(
        None,
        _READ_NEW,
        WHOSE,
        r"whose a case is, the group of a regular expression: '(patient\d+)_'",
        metavar="REGEX",
        travels=True,
    )
    patients: Path | None = option(
        None,
        _READ_NEW,
        WHOSE,
        "a table with the columns case and patient; or cases, where each is a patient's only one",
        type=Path,
        metavar="CSV",
        travels=True,
    )
    prediction_name: str | None = option(
        None,
        _READ_NEW,
        WHOSE,
        "a prediction's whole name without ending, the group is the case's: 'pred_(.+)_softmax'",
        metavar="REGEX",
        travels=True,
    )
    label_name: str | None = option(
        None,
        f"{_READ} triage:apply",
        WHOSE,
        "the same of a label map: '(.+)_seg'",
        metavar="REGEX",
        travels=True,
    )
    pairs: Path | None = option(
        None,
        f"{_READ} triage:apply",
        WHOSE,
        "a table with the columns prediction and label, names without ending",
        type=Path,
        metavar="CSV",
        travels=True,
    )
    from_logits: bool = option(
        False, _READ_NEW, CHANNELS, "logits were saved, and not probabilities", travels=True
    )
    channels_as_given: bool = option(
        False,
        f"{_READ} triage:apply",
        CHANNELS,
        "channels in this order, though another would agree better with the labels",
        travels=True,
    )
    dataset: Path | None = option(
        None,
        _READ_NEW,
        CHANNELS,
        "nnU-Net's dataset.json (default: that beside the predictions, or above the labels)",
        type=Path,
        metavar="FILE",
        travels=True,
    )
    activation: str | None = option(
        None,
        _READ_NEW,
        CHANNELS,
        "default: as dataset.json says, or else softmax",
        choices=ACTIVATIONS,
        travels=True,
    )
    structures: Sequence[str] = option(
        (),
        _READ_NEW,
        CHANNELS,
        "structures and their label values: the channels of a sigmoid, or what Dice is of",
        nargs="+",
        metavar="NAME=1,2",
        travels=True,
    )
    regions: Sequence[str] = option(
        EVALUATED_REGIONS,
        "audit:folders calibrate:folders",
        MEASURED,
        "voxels that count, beside foreground",
        nargs="+",
        choices=KNOWN_REGIONS,
    )
    num_bins: int = option(
        15, "audit:folders calibrate:folders", MEASURED, "bins of equal width", metavar="N"
    )
    margin: float = option(
        MARGIN,
        "audit:folders calibrate:folders calibrate:run promise:folders promise:sums",
        MEASURED,
        "how far from a prediction contours, volumes and the region near reach, fixed before these "
        "patients are seen",
        type=distance,
        metavar="MM",
    )
    affine_tolerance: float = option(
        AFFINE_TOLERANCE,
        f"{_READ} triage:apply",
        MEASURED,
        "how far apart two files may put a voxel",
        type=distance,
        metavar="MM",
    )
    level: Sequence[float] = option(
        (),
        f"{_PROMISED} promise:apply",
        WHAT,
        "the largest shares that contours miss, or of which intervals fail (default: 0.05 0.1); with "
        "--apply, one of those promised",
        nargs="+",
        type=float,
        metavar="α",
    )
    family: str = option(
        "within",
        _PROMISED,
        WHAT,
        "what contours are; within: a threshold within a margin",
        choices=("within", "threshold", "margin"),
    )
    control: str = option(
        "mean",
        _PROMISED,
        WHAT,
        "over patients on average, or with --confidence over calibration patients",
        choices=("mean", "most"),
    )
    confidence: float = option(0.9, _PROMISED, WHAT, "of --control most", metavar="P")
    budget: str = option(
        "20%", "triage:apply", WHAT, "how many cases can be looked at, or which share", metavar="N"
    )
    method: str | None = option(
        None,
        _FITTED,
        WHAT,
        "distance (default: to the predicted border), temperature, class_temperatures, vector or, of a "
        "run, local_temperatures; of structures that overlap distance (default), sigmoid_temperature, "
        "structure_temperatures or platt",
        metavar="NAME",
    )
    region: str | None = option(
        None,
        _FITTED,
        WHAT,
        "voxels of the fit (default: all of distance, or near); a label's change what is true",
        choices=KNOWN_REGIONS,
    )
    folds: int = option(
        5,
        "calibrate:folders",
        WHAT,
        "parts of the patients, each tested by the others",
        metavar="N",
    )
    raters: Sequence[Path] = option(
        (),
        "audit:folders",
        WHAT,
        "several folders of label maps of the same cases, one per rater",
        nargs="+",
        type=Path,
        metavar="LABELS",
    )
    rater_names: Sequence[str] = option(
        (),
        "audit:folders",
        WHAT,
        "a name per rater (default: that of the folder)",
        nargs="+",
        metavar="NAME",
    )
    names: Sequence[str] = option(
        (),
        "audit:folders",
        WHAT,
        "a name per model (default: that of its folder)",
        nargs="+",
        metavar="NAME",
    )
    dataset_dir: Path | None = option(
        None, "calibrate:run", WHAT, "where the run's dataset is", type=Path, metavar="DIR"
    )
    bundles: Path | None = option(
        None,
        "calibrate:run",
        WHAT,
        "the run's bundles (default: bundles)",
        type=Path,
        metavar="DIR",
    )
    labels: Path | None = option(
        None,
        "triage:apply",
        WHAT,
        "label maps, if there are any, to say how many of the worst tenth are found",
        type=Path,
        metavar="DIR",
    )
    images: Path | None = option(
        None,
        "audit:folders promise:folders triage:apply",
        WRITTEN,
        "images for the cases of its page, which show probabilities otherwise",
        type=Path,
        metavar="DIR",
    )
    output: Path | None = option(
        None,
        "audit calibrate:folders promise triage",
        WRITTEN,
        "default: audit, calibrated, promise or triage, as the command is called",
        type=Path,
        metavar="DIR",
    )
    pictures: bool = option(
        True,
        "audit:folders calibrate:folders promise:folders promise:sums triage:apply",
        WRITTEN,
        "draw no diagram and no slice of a case: numbers alone, in less time",
    )
    viewer: bool = option(
        True,
        "audit:folders promise:folders triage:apply",
        WRITTEN,
        "leave out of the page the cases that one scrolls through, which are images of patients",
    )
    write: str | None = option(
        None,
        "audit:folders calibrate:folders",
        WRITTEN,
        "also write probabilities, confidence and entropy of every case, as images",
        choices=["nifti"],
    )
    jobs: int = option(1, f"{_READ} triage:apply", WRITTEN, "processes", metavar="N")
    shard: tuple[int, int] | None = option(
        None,
        "audit:folders promise:shard",
        WHAT,
        "the third of 16 parts of the patients, for an array of jobs; their files are merged",
        type=_shard,
        metavar="3/16",
    )
    members: Sequence[Path] = ()

    def __post_init__(self) -> None:
        for row in fields(self):  # in Python, text will do
            value = getattr(self, row.name)
            if row.name in _PATHS and value is not None:
                several = isinstance(row.default, tuple)
                path = tuple(map(Path, value)) if several else Path(value)
                object.__setattr__(self, row.name, path)
        if self.ensemble not in (None, *AVERAGED):
            raise SettingError(
                f"--ensemble: is {self.ensemble!r}; choose from {', '.join(AVERAGED)}"
            )
        if (self.ensemble is None) == bool(self.members):
            raise SettingError(
                "--ensemble: averages the predictions of several folders; give two or more with it"
            )
        _ = self.patterns  # refuses expressions that are none
        for name in ("num_bins", "jobs"):
            if (number := getattr(self, name)) < 1:
                raise SettingError(f"{flag(name)}: is {number}; give 1 or more")
        check_num_bins(self.num_bins, "--num-bins")

    @property
    def one_each(self) -> bool:
        """Whether each case is said to be of a patient of its own."""
        return self.patients == Path("cases")

    @property
    def table(self) -> Path | None:
        """The table of the patients."""
        return None if self.one_each else self.patients

    @property
    def patterns(self) -> Names:
        """How cases are found in the names of files."""
        return Names(self.prediction_name, self.label_name, self.pairs)

    def words(self, use: str, *, travels: bool = True) -> list[str]:
        """What another command, ``"promise:apply"``, takes of what is said of the data.

        Args:
            use: Verb and kind.
            travels: False for all that is said, which makes the same again.
        """
        words = []
        for row in rows(use):
            value = getattr(self, row.name)
            is_set = value != row.default and value not in ([], ())
            if is_set and (row.metadata.get("travels") or not travels):
                values = value if isinstance(value, (list, tuple)) else [value]
                words += [flag(row.name), *([] if isinstance(value, bool) else map(str, values))]
        return words

    @property
    def margin_words(self) -> list[str]:
        """The margin, as another audit or fit takes it; none where it is the usual one."""
        return [] if self.margin == MARGIN else ["--margin", f"{self.margin:g}"]

    @property
    def files(self) -> list[Path]:
        """The files and folders that it names, to be read."""
        values = (getattr(self, name) for name in sorted(_PATHS - {"output"}))
        several = (value if isinstance(value, tuple) else [value] for value in values)
        paths = [path for paths in several for path in paths if path is not None]
        return [path for path in paths if not (self.one_each and path == self.patients)]

    @property
    def joins(self) -> list[Any]:
        """What is averaged, and over how many members; empty without an ensemble."""
        return [self.ensemble, 1 + len(self.members)] if self.members else []


#: The rows that are files or folders.
_PATHS = {row.name for row in fields(Options) if row.metadata.get("type") is Path} | {"members"}


def rows(use: str = "") -> list[Field[Any]]:
    """The rows of the table that a verb uses, "promise", or one kind of it, "promise:apply"."""
    verb = use.partition(":")[0]
    return [
        row
        for row in fields(Options)
        if any(
            name in (use, verb) or name.startswith(f"{use}:" if use else "")
            for name in row.metadata.get("uses", ())
        )
    ]


def flag(name: str) -> str:
    """How a command has the name of a row."""
    if name in ("affine_tolerance", "dataset_dir"):  # as bundles have them
        return f"--{name}"
    return f"--{'no-' * (name in ('pictures', 'viewer'))}{name.replace('_', '-')}"


def check_used(use: str, given: Mapping[str, Any]) -> None:
    """Refuses words that have no effect on what a command is about.

    Args:
        use: Verb and kind, ``"promise:sums"``.
        given: What was said, by the names of the rows.

    Raises:
        SettingError: If one is of another verb or kind.

    Example:
        >>> check_used("promise:sums", {"pictures": False})
        >>> check_used("promise:sums", {"patients": "people.csv"})
        Traceback (most recent call last):
        nacl_monai.errors.SettingError: --patients: has no effect on promise.npz, an audit or a run, \
which are sums already; leave it out
    """
    known = {row.name for row in rows()}
    used = {row.name for row in rows(use)}
    for name in given:
        if name in known - used:
            kind = KINDS[use.partition(":")[2]]
            raise SettingError(f"{flag(name)}: has no effect on {kind}; leave it out")


def options_of(use: str, given: Mapping[str, Any]) -> Options:
    """The options of a command or a function, each of which has an effect.

    Args:
        use: Verb and kind, ``"audit:folders"``.
        given: What was said, by the names of the rows.

    Raises:
        SettingError: If there is no such option, it has no effect, or a value cannot be meant.
    """
    unknown = sorted(given.keys() - {row.name for row in fields(Options)})
    if unknown:
        names = ", ".join(row.name for row in rows(use))
        raise SettingError(f"{unknown[0]}: is no option; choose from {names}")
    check_used(use, given)
    return Options(**given)


def as_one(folders: Sequence[Path], words: dict[str, Any]) -> list[Path]:
    """The folders of models; of an ensemble the first, and the others become members in the words."""
    if words.get("ensemble") is None:
        return list(folders)
    words["members"] = folders[1:]
    return list(folders[:1])


def add_options(parser: argparse.ArgumentParser, verb: str) -> None:
    """Adds what a verb uses to its parser, a group of the help each; what is not said stays unsaid."""
    used = rows(verb)
    for group in GROUPS:
        several = [row for row in used if row.metadata["group"] == group]
        section = parser.add_argument_group(group) if several else parser
        for row in several:
            section.add_argument(
                flag(row.name), dest=row.name, default=argparse.SUPPRESS, **_how(row)
            )


def _how(row: Field[Any]) -> dict[str, Any]:
    """What argparse is told of a row."""
    ours = ("uses", "group", "help", "travels")
    how = {name: value for name, value in row.metadata.items() if name not in ours}
    text = row.metadata["help"]
    if isinstance(row.default, bool):
        how["action"] = "store_false" if row.default else "store_true"
    elif row.default:
        several = row.default if isinstance(row.default, tuple) else [row.default]
        text += f" (default: {' '.join(f'{one}' for one in several)})"
        how.setdefault("type", type(several[0]))
    return {**how, "help": text.replace("%", "%%")}
