"""The one table of options of commands on predictions: their meaning, and the verbs that use them.

A row is a field of `Options`. It makes the parsers and their help, checks the arguments in Python,
passes options on to the next command, and refuses an option that would have no effect.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, fields
from enum import Flag, auto
from functools import partial
from pathlib import Path
from typing import Any

from nacl_monai.cli import argument, as_typed, flag, is_path, option, part_of
from nacl_monai.data.cases import AFFINE_TOLERANCE, distance
from nacl_monai.errors import SettingError
from nacl_monai.inference.records import MARGIN
from nacl_monai.output import check_output
from nacl_monai.predictions.names import Names
from nacl_monai.runs import KNOWN_REGIONS, check_num_bins
from nacl_monai.words import check_share, number_within

#: Headings of the help.
WHAT, WHOSE, CHANNELS, _, _ = GROUPS = (
    *("what is asked", "whose the cases are", "what the channels mean"),
    *("what is measured", "what is written"),
)
asked, whose, channels, measured, written = (
    partial(option, group, group in (WHOSE, CHANNELS)) for group in GROUPS
)
#: The regions of an evaluation, in its order.
EVALUATED_REGIONS = ("foreground", "union", "boundary", "all", "near")
SOFTMAX, SIGMOID = ACTIVATIONS = ("softmax", "sigmoid")
#: The ways to average the members of an ensemble.
PROBS, LOGITS = AVERAGED = ("probs", "logits")
#: The share of new cases that somebody looks at by default.
BUDGET = "20%"
#: What hides names, in audit, promise, merge and export.
ANONYMOUS = (
    "hide the names of cases and patients in all files, which then show no voxel of a patient, by the "
    "salt in this one: openssl rand -hex 32 > SALT"
)


class Use(Flag):
    """Verbs, each with the kinds of input that it has."""

    AUDIT = auto()
    CALIBRATE_FOLDERS = auto()
    CALIBRATE_ISLANDS = auto()
    CALIBRATE_RUN = auto()
    CALIBRATE = CALIBRATE_FOLDERS | CALIBRATE_ISLANDS | CALIBRATE_RUN
    PROMISE_FOLDERS = auto()
    PROMISE_SHARD = auto()
    PROMISE_SUMS = auto()
    PROMISE_APPLY = auto()
    PROMISE_CHECK = auto()
    PROMISE_MEAN = auto()
    PROMISE_NEW = PROMISE_APPLY | PROMISE_CHECK | PROMISE_MEAN
    PROMISE = PROMISE_FOLDERS | PROMISE_SHARD | PROMISE_SUMS | PROMISE_NEW
    TRIAGE_NEW = auto()
    TRIAGE_VERDICTS = auto()
    TRIAGE = TRIAGE_NEW | TRIAGE_VERDICTS
    WATCH = auto()
    MAPS = auto()
    VIEW = auto()
    REPORT = auto()


ANY = ~Use(0)
#: What a kind of input is called where an option has no effect on it.
_INPUTS = {
    Use.AUDIT | Use.CALIBRATE_FOLDERS | Use.PROMISE_FOLDERS | Use.REPORT: (
        "a folder of predictions and one of labels"
    ),
    Use.CALIBRATE_ISLANDS: "islands",
    Use.CALIBRATE_RUN: "a run",
    Use.PROMISE_SHARD: "a part of the patients, whose sums alone are written",
    Use.PROMISE_SUMS: "promise.npz, an audit or a run, which are sums already",
    Use.PROMISE_APPLY | Use.TRIAGE_NEW: "new predictions and a promise.json",
    Use.PROMISE_CHECK: "labeled patients who judge a promise",
    Use.PROMISE_MEAN: "the mean volume of many patients",
    Use.WATCH | Use.MAPS | Use.VIEW: "new predictions",
    Use.TRIAGE_VERDICTS: "verdicts on a triage",
}
_OUTPUTS = {
    **dict.fromkeys((Use.CALIBRATE_FOLDERS, Use.CALIBRATE_ISLANDS), "calibrated"),
    Use.PROMISE_CHECK: "check",
    Use.PROMISE_MEAN: "mean",
}
_COUNTED = Use.AUDIT | Use.CALIBRATE_FOLDERS
_LABELED = (
    _COUNTED
    | (Use.CALIBRATE_ISLANDS | Use.PROMISE_FOLDERS | Use.PROMISE_SHARD | Use.PROMISE_CHECK)
    | (Use.TRIAGE_NEW | Use.WATCH | Use.REPORT)
)
_ALL = _LABELED | Use.PROMISE_APPLY | Use.PROMISE_MEAN | Use.MAPS | Use.VIEW
_PROMISED = Use.PROMISE_FOLDERS | Use.PROMISE_SUMS
_NEW = Use.PROMISE_NEW | Use.TRIAGE_NEW | Use.WATCH | Use.MAPS | Use.VIEW
_FITTED = Use.CALIBRATE_FOLDERS | Use.CALIBRATE_RUN
_TESTED = (
    (Use.AUDIT | Use.CALIBRATE_ISLANDS | Use.PROMISE_FOLDERS | Use.PROMISE_SHARD)
    | _NEW
    | Use.REPORT
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of a command; each field is a row of the table.

    Attributes:
        members: The folders of an ensemble's members but the first, which is the command's.
        unnamed: Where arrays are as long as a call lasts, which nothing that is written names.

    Raises:
        SettingError: If a number counts things and is too small, or an ensemble has one member.
    """

    calibrator: Path | None = option(
        WHAT,
        True,
        None,
        _TESTED | Use.CALIBRATE_RUN,
        "calibrator.json, as calibrate writes it: the probabilities behind it; to calibrate a run, "
        "method, region and ensemble in one: signed_distance_all, ensemble",
        "FILE",
    )
    ensemble: str | None = option(
        WHAT,
        True,
        None,
        _TESTED,
        "all folders of predictions are one model: the mean of probabilities (default) or logits; "
        "give cases that no member was trained on",
        nargs="?",
        const=PROBS,
        choices=AVERAGED,
    )
    patient_pattern: str | None = whose(
        None, _ALL, r"whose a case is, the group of a regular expression: '(patient\d+)_'", "REGEX"
    )
    patients: Path | None = whose(
        None,
        _ALL,
        "a table with the columns case and patient; or cases, where each is a patient's only one",
        "CSV",
    )
    prediction_name: str | None = whose(
        None,
        _ALL,
        "a prediction's whole name without ending, the group is the case's: 'pred_(.+)_softmax'",
        "REGEX",
    )
    label_name: str | None = whose(None, _LABELED, "the same of a label map: '(.+)_seg'", "REGEX")
    pairs: Path | None = whose(
        None, _LABELED, "a table with the columns prediction and label, names without ending", "CSV"
    )
    anonymous: Path | None = whose(
        None,
        Use.AUDIT | Use.PROMISE_FOLDERS | Use.PROMISE_SHARD | Use.PROMISE_SUMS,
        ANONYMOUS,
        "SALT",
    )
    salt: Path | None = whose(
        None,
        Use.PROMISE_NEW | Use.TRIAGE_NEW | Use.WATCH,
        "of a promise with hidden names: recognize its patients by this salt; lists and contours name "
        "their cases, and the log of watch has hidden names",
        "SALT",
    )
    from_logits: bool = channels(False, _ALL, "logits were saved, and not probabilities")
    channels_as_given: bool = channels(
        False, _LABELED, "channels in this order, though another would agree better with the labels"
    )
    dataset: Path | None = channels(
        None,
        _ALL,
        "nnU-Net's dataset.json (default: that beside the predictions, or above the labels)",
        "FILE",
    )
    activation: str | None = channels(
        None, _ALL, "default: as dataset.json says, or else softmax", choices=ACTIVATIONS
    )
    structures: Sequence[str] = channels(
        (),
        _ALL,
        "structures and their label values: the channels of a sigmoid, or what Dice is of",
        "NAME=1,2",
    )
    regions: Sequence[str] = measured(
        EVALUATED_REGIONS, _COUNTED, "voxels that count, beside foreground", choices=KNOWN_REGIONS
    )
    num_bins: int = measured(15, _COUNTED, "bins of equal width", "N")
    margin: float = measured(
        MARGIN,
        _COUNTED | Use.CALIBRATE_RUN | _PROMISED | Use.REPORT,
        "how far from a prediction contours, volumes and the region near reach, fixed before these "
        "patients are seen",
        "MM",
        type=distance,
    )
    affine_tolerance: float = measured(
        AFFINE_TOLERANCE,
        _LABELED | Use.MAPS,
        "how far apart two files may put a voxel",
        "MM",
        type=distance,
    )
    level: Sequence[float] = asked(
        (),
        _PROMISED | Use.PROMISE_APPLY | Use.REPORT,
        "the largest shares of patients for whom contours and intervals fail (default: 0.1); of mean "
        "and most, what contours miss (default: 0.05 0.1); with --apply, one of those promised",
        "α",
        type=float,
    )
    miss: Sequence[float] = asked(
        (),
        _PROMISED | Use.PROMISE_APPLY | Use.REPORT,
        "the largest shares of a structure outside in each other patient, of --control each (default: "
        "0.1); with --apply, one of those promised",
        "β",
        type=float,
    )
    family: str = asked(
        "within",
        _PROMISED,
        "what contours are; within: a threshold within a margin",
        choices=("within", "threshold", "margin"),
    )
    control: str = asked(
        "each",
        _PROMISED,
        "what is held: the miss in each of most patients; its mean over patients; or that mean with "
        "--confidence over calibration patients",
        choices=("each", "mean", "most"),
    )
    confidence: float = asked(0.9, _PROMISED, "of --control most", "P")
    measure: Sequence[str] = asked(
        (),
        _PROMISED | Use.REPORT,
        "an interval for a formula of volumes in ml over a patient's cases, 'EF = 1 - ES.LV / ED.LV': "
        "+ - * / ( ), numbers, and structures or PHASE.STRUCTURE",
        "FORMULA",
    )
    phases: str | None = asked(
        None,
        _PROMISED | Use.PROMISE_APPLY | Use.PROMISE_CHECK | Use.TRIAGE_NEW | Use.REPORT,
        "the phase of a case, the group of a regular expression: '_(ED|ES)'; or a table with the "
        "columns case and phase, which new cases need again",
        "REGEX|CSV",
    )
    asymmetric: bool = asked(
        False,
        _PROMISED | Use.REPORT,
        "take both ends of the interval of a --measure by themselves, fixed before patients are seen",
    )
    groups: Path | None = asked(
        None,
        Use.AUDIT | _PROMISED | Use.PROMISE_CHECK | Use.PROMISE_MEAN,
        "a table with the column case, or patient, and others, such as site, scanner and sex: does it "
        "hold in each?",
        "CSV",
    )
    by_group: str | None = asked(
        None,
        _PROMISED,
        "a promise for each value of this column of --groups, too, by its own patients",
        "COLUMN",
    )
    budget: str | None = asked(
        None,
        Use.TRIAGE_NEW | Use.REPORT,
        "how many cases can be looked at, or which share (default: 20%)",
        "N",
    )
    suspects: str | None = asked(
        None,
        Use.AUDIT,
        "how many labels that look wrong are listed, or which share (default: 10% on the page), and "
        "write suspects.csv",
        "N",
    )
    below: float | None = asked(
        None,
        Use.TRIAGE_NEW | Use.REPORT,
        "in place of a budget: look at the cases whose bound of Dice is below this",
        "DICE",
        type=float,
    )
    components: float | None = asked(
        None,
        Use.AUDIT | Use.CALIBRATE_ISLANDS,
        "count islands, 26-connected, of at least so many mm³ (default: 0), and calibrate whether "
        "they are real",
        "MM3",
        type=distance,
        nargs="?",
        const=0.0,
    )
    islands: Path | None = option(
        WHAT,
        False,
        None,
        Use.AUDIT | Use.PROMISE_APPLY | Use.TRIAGE_NEW | Use.MAPS,
        "islands.json, as calibrate --components writes it: the probability that each predicted island "
        "is real",
        "FILE",
    )
    alarm: bool = asked(
        False,
        Use.PROMISE_CHECK | Use.TRIAGE_NEW | Use.WATCH,
        "exit with 3 where new patients break a promise, together are unlike those who calibrated (p < "
        "0.01), or have rung the alarm of watch",
    )
    method: str | None = asked(
        None,
        _FITTED,
        "signed_distance (default: to the predicted border, with a sign), distance, temperature, "
        "class_temperatures, vector or, of a run, local_temperatures; of structures that overlap "
        "signed_distance (default), distance, sigmoid_temperature, structure_temperatures or platt",
        "NAME",
    )
    region: str | None = asked(
        None,
        _FITTED,
        "voxels of the fit (default: all of distance, or near); a label's change what is true",
        choices=KNOWN_REGIONS,
    )
    folds: int = asked(
        5,
        Use.CALIBRATE_FOLDERS | Use.CALIBRATE_ISLANDS,
        "parts of the patients, each tested by the others",
        "N",
    )
    raters: Sequence[Path] = asked(
        (), Use.AUDIT, "several folders of label maps of the same cases, one per rater", "LABELS"
    )
    rater_names: Sequence[str] = asked(
        (), Use.AUDIT, "a name per rater (default: that of the folder)", "NAME"
    )
    names: Sequence[str] = asked(
        (), Use.AUDIT, "a name per model (default: that of its folder)", "NAME"
    )
    dataset_dir: Path | None = asked(None, Use.CALIBRATE_RUN, "where the run's dataset is", "DIR")
    bundles: Path | None = asked(
        None, Use.CALIBRATE_RUN, "the run's bundles (default: bundles)", "DIR"
    )
    new: Path | None = asked(
        None, Use.REPORT, "predictions of new cases, for contours, volumes and a list", "DIR"
    )
    labels: Path | None = asked(
        None,
        Use.TRIAGE_NEW | Use.WATCH,
        "label maps, if there are any: how many of the worst tenth are found, or what patients need",
        "DIR",
    )
    chosen: str | None = asked(
        None,
        Use.PROMISE_CHECK | Use.PROMISE_MEAN,
        "how the labeled patients were chosen; all: every new one of a time; random: drawn by chance",
        choices=("all", "random", "triage"),
    )
    forget: str | None = asked(
        None, Use.WATCH, "remove this patient's name from the log, and leave the numbers", "PATIENT"
    )
    images: Path | None = written(
        None,
        Use.AUDIT | Use.PROMISE_FOLDERS | Use.TRIAGE_NEW | Use.VIEW | Use.REPORT,
        "images for the cases of its page, which show probabilities otherwise",
        "DIR",
    )
    new_images: Path | None = written(
        None, Use.REPORT, "images of the cases of --new, for its page", "DIR"
    )
    threshold: float | None = asked(
        None,
        Use.MAPS,
        "also write where each structure has this probability or more",
        "P",
        type=float,
    )
    reference: Path | None = written(
        None,
        Use.MAPS,
        "images on whose grids the maps are written, as of TotalSegmentator, which resamples them",
        "IMAGES",
    )
    cases: Sequence[str] = asked(
        (), Use.VIEW, "names of cases, at most 12 (default: the first by name)", "NAME"
    )
    output: Path | None = written(
        None,
        ~Use.CALIBRATE_RUN,
        "default: audit, calibrated, promise, check, mean, triage, watch, maps, view or report, as the "
        "command is called",
        "DIR",
    )
    pictures: bool = written(
        True,
        _COUNTED | _PROMISED | Use.TRIAGE_NEW,
        "draw no diagram and no slice of a case: numbers alone, in less time",
    )
    viewer: bool = written(
        True,
        Use.AUDIT | Use.PROMISE_FOLDERS | Use.TRIAGE_NEW | Use.REPORT,
        "leave out of the page the cases that one scrolls through, which are images of patients",
    )
    write: str | None = written(
        None,
        _COUNTED,
        "also write probabilities, confidence and entropy of every case, as images",
        choices=["nifti"],
    )
    jobs: int = written(1, _LABELED | Use.MAPS, "processes", "N")
    shard: tuple[int, int] | None = asked(
        None,
        Use.AUDIT | Use.PROMISE_SHARD,
        "the third of 16 parts of the patients, for an array of jobs; their files are merged",
        "3/16",
        type=part_of,
    )
    members: Sequence[Path] = ()
    unnamed: Path | None = None

    def __post_init__(self) -> None:
        for row in fields(self):
            object.__setattr__(self, row.name, as_typed(row, getattr(self, row.name)))
        object.__setattr__(self, "salt", self.salt or self.anonymous)
        if self.ensemble not in (None, *AVERAGED):
            raise SettingError(
                f"--ensemble: is {self.ensemble!r}; choose from {', '.join(AVERAGED)}"
            )
        if (self.ensemble is None) == bool(self.members):
            raise SettingError(
                "--ensemble: averages the predictions of several folders; give two or more with it"
            )
        if {self.prediction_name, self.label_name, self.pairs} != {None}:
            _ = self.patterns  # refuses wrong expressions
        number_within(self.suspects or BUDGET, 1, "--suspects")
        number_within(self.budget or BUDGET, 1)
        for name, least in {"num_bins": 1, "jobs": 1, "folds": 2}.items():
            if (number := getattr(self, name)) < least:
                raise SettingError(f"{flag(name)}: is {number}; give {least} or more")
        check_num_bins(self.num_bins, "--num-bins")
        self._check_shares()

    def _check_shares(self) -> None:
        shares = {"level": self.level, "miss": self.miss, "confidence": [self.confidence]}
        shares["below"] = [] if self.below is None else [self.below]
        for name, numbers in shares.items():
            for number in numbers:
                check_share(flag(name), number)
        if self.below is not None and self.budget is not None:
            raise SettingError(
                "--below: chooses cases, and so does --budget; leave one of them out"
            )

    def number_of(self, bounds: Sequence[float]) -> int:
        """How many of some cases to look at: those below a bound of Dice, or a budget of them."""
        if self.below is None:
            return number_within(self.budget or BUDGET, len(bounds))
        return sum(bound < self.below for bound in bounds)

    @property
    def shows_patients(self) -> bool:
        """Whether files may hold slices and volumes of patients."""
        return self.pictures and self.anonymous is None

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

    def words(self, use: Use, *, travels: bool = True) -> list[str]:
        """The arguments about the data that another command takes.

        Args:
            use: That command.
            travels: False for all arguments, which repeat the command.
        """
        arguments = []
        for row in rows(use):
            value = getattr(self, row.name)
            is_set = value != row.default and value not in ([], ())
            if is_set and (row.metadata.get("travels") or not travels):
                values = value if isinstance(value, (list, tuple)) else [value]
                texts = [] if isinstance(value, bool) else map(str, values)
                arguments += [flag(row.name), *texts]
        return arguments

    def named(self, text: object) -> str:
        """The text as it is written."""
        return str(text) if self.unnamed is None else str(text).replace(f"{self.unnamed}/", "")

    def command(self, *parts: object) -> str:
        """A command in one line, as a shell takes it."""
        return shlex.join(["nacl-monai", *map(self.named, parts)])

    @property
    def files(self) -> list[Path]:
        """The files and folders that it names, to be read."""
        values = (getattr(self, name) for name in _READ)
        several = (value if isinstance(value, tuple) else [value] for value in values)
        paths = [path for paths in several for path in paths if path is not None]
        return [path for path in paths if not (self.one_each and path == self.patients)]

    @property
    def joins(self) -> list[Any]:
        """The kind of average and the number of members; empty without an ensemble."""
        return [self.ensemble, 1 + len(self.members)] if self.members else []


_READ = sorted(row.name for row in fields(Options) if is_path(row) and row.name != "output")


def rows(use: Use = ANY) -> list[Field[Any]]:
    """The rows of the table that a verb uses, or one kind of it; by default those of all."""
    return [row for row in fields(Options) if "uses" in row.metadata and row.metadata["uses"] & use]


def options_of(use: Use, values: Mapping[str, Any]) -> Options:
    """The options of a command or a function, each of which has an effect.

    Args:
        use: The verb and its kind of input.
        values: The options that were set, by the names of the rows.

    Raises:
        SettingError: If there is no such option, it has no effect, or a value is wrong.

    Example:
        >>> options_of(Use.PROMISE_SUMS, {"pictures": False}).pictures
        False
        >>> options_of(Use.PROMISE_SUMS, {"patients": "people.csv"})
        Traceback (most recent call last):
        nacl_monai.errors.SettingError: --patients: has no effect on promise.npz, an audit or a run, \
which are sums already; leave it out
    """
    if unknown := sorted(values.keys() - {row.name for row in fields(Options)}):
        names = ", ".join(row.name for row in rows(use))
        raise SettingError(f"{unknown[0]}: is no option; choose from {names}")
    uses = {row.name: row.metadata["uses"] for row in rows()}
    for name in values:
        if use not in uses.get(name, use):
            text = next(text for inputs, text in _INPUTS.items() if use in inputs)
            raise SettingError(f"{flag(name)}: has no effect on {text}; leave it out")
    return Options(**values)


def at_output(use: Use, values: Mapping[str, Any], *places: Path) -> tuple[Options, Path]:
    """The options of a command, and the folder that it may write, by default one of its name.

    Args:
        use: The verb and its kind of input.
        values: The options that were set, by the names of the rows.
        *places: The files and folders that it reads.

    Raises:
        InputError: If the folder is another's, or cannot be written.
        SettingError: If an option is wrong, or something that is read is within the folder.
    """
    options, (verb, _, kind) = options_of(use, values), str(use.name).lower().partition("_")
    output = options.output or Path(_OUTPUTS.get(use, verb))
    command = f"{verb} --{kind}" if use in Use.PROMISE_NEW else verb
    check_output(output, command, read=[*places, *options.files])
    return options, output


def add_options(parser: argparse.ArgumentParser, verb: Use) -> None:
    """Adds the options of a verb to its parser, by the groups of the help, without defaults."""
    used = rows(verb)
    for group in GROUPS:
        several = [row for row in used if row.metadata["group"] == group]
        section = parser.add_argument_group(group) if several else parser
        for row in several:
            how = {"dest": row.name, "default": argparse.SUPPRESS, **argument(row)}
            section.add_argument(flag(row.name), **how)
