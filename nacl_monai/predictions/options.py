"""The one table of options of commands on predictions: their meaning, and the verbs that use them.

A row is a field of `Options`. It makes the parsers and their help, checks the arguments in Python,
passes options on to the next command, and refuses an option that would have no effect.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, fields
from pathlib import Path
from typing import Any

from nacl_monai.counting import check_share, number_within
from nacl_monai.data.cases import AFFINE_TOLERANCE, distance
from nacl_monai.errors import SettingError
from nacl_monai.predictions.names import Names
from nacl_monai.predictions.rows import (
    GROUPS,
    KINDS,
    WHAT,
    argument,
    as_typed,
    asked,
    channels,
    flag,
    is_path,
    measured,
    option,
    part_of,
    whose,
    written,
)
from nacl_monai.runs import KNOWN_REGIONS, MARGIN, check_num_bins

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
_COUNTED = "audit:folders calibrate:folders"
_LABELED = (
    f"{_COUNTED} calibrate:components promise:folders promise:shard promise:check "
    "triage:apply watch:new report:folders"
)
_ALL = f"{_LABELED} promise:apply promise:mean maps:new view:new"
_PROMISED = "promise:folders promise:sums"
_NEW = "promise:apply promise:mean promise:check triage:apply watch:new maps:new view:new"
_FITTED = "calibrate:folders calibrate:run"
_TESTED = f"audit:folders calibrate:components promise:folders promise:shard {_NEW} report:folders"


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of a command; each field is a row of the table.

    Attributes:
        members: The folders of an ensemble's members but the first, which is the command's.
        unnamed: Where arrays are as long as a call lasts, which nothing that is written names.

    Raises:
        SettingError: If a number counts things and is smaller than 1, or an ensemble has one member.
    """

    calibrator: Path | None = option(
        WHAT,
        True,
        None,
        f"{_TESTED} calibrate:run",
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
        "audit:folders promise:folders promise:shard promise:sums",
        ANONYMOUS,
        "SALT",
    )
    salt: Path | None = whose(
        None,
        "promise:apply promise:mean promise:check triage:apply watch:new",
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
        EVALUATED_REGIONS,
        _COUNTED,
        "voxels that count, beside foreground",
        choices=KNOWN_REGIONS,
    )
    num_bins: int = measured(15, _COUNTED, "bins of equal width", "N")
    margin: float = measured(
        MARGIN,
        f"{_COUNTED} calibrate:run {_PROMISED} report:folders",
        "how far from a prediction contours, volumes and the region near reach, fixed before these "
        "patients are seen",
        "MM",
        type=distance,
    )
    affine_tolerance: float = measured(
        AFFINE_TOLERANCE,
        f"{_LABELED} maps:new",
        "how far apart two files may put a voxel",
        "MM",
        type=distance,
    )
    level: Sequence[float] = asked(
        (),
        f"{_PROMISED} promise:apply report:folders",
        "the largest shares of patients for whom contours and intervals fail (default: 0.1); of mean "
        "and most, what contours miss (default: 0.05 0.1); with --apply, one of those promised",
        "α",
        type=float,
    )
    miss: Sequence[float] = asked(
        (),
        f"{_PROMISED} promise:apply report:folders",
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
        f"{_PROMISED} report:folders",
        "an interval for a formula of volumes in ml over a patient's cases, 'EF = 1 - ES.LV / ED.LV': "
        "+ - * / ( ), numbers, and structures or PHASE.STRUCTURE",
        "FORMULA",
    )
    phases: str | None = asked(
        None,
        f"{_PROMISED} promise:apply promise:check triage:apply report:folders",
        "the phase of a case, the group of a regular expression: '_(ED|ES)'; or a table with the "
        "columns case and phase, which new cases need again",
        "REGEX|CSV",
    )
    asymmetric: bool = asked(
        False,
        f"{_PROMISED} report:folders",
        "take both ends of the interval of a --measure by themselves, fixed before patients are seen",
    )
    groups: Path | None = asked(
        None,
        f"audit:folders {_PROMISED} promise:check promise:mean",
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
        "triage:apply report:folders",
        "how many cases can be looked at, or which share (default: 20%)",
        "N",
    )
    suspects: str | None = asked(
        None,
        "audit:folders",
        "how many labels that look wrong are listed, or which share (default: 10% on the page), and "
        "write suspects.csv",
        "N",
    )
    below: float | None = asked(
        None,
        "triage:apply report:folders",
        "in place of a budget: look at the cases whose bound of Dice is below this",
        "DICE",
        type=float,
    )
    components: float | None = asked(
        None,
        "audit:folders calibrate:components",
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
        "audit:folders promise:apply triage:apply maps:new",
        "islands.json, as calibrate --components writes it: the probability that each predicted island "
        "is real",
        "FILE",
    )
    alarm: bool = asked(
        False,
        "promise:check triage:apply watch:new",
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
        "calibrate:folders calibrate:components",
        "parts of the patients, each tested by the others",
        "N",
    )
    raters: Sequence[Path] = asked(
        (),
        "audit:folders",
        "several folders of label maps of the same cases, one per rater",
        "LABELS",
    )
    rater_names: Sequence[str] = asked(
        (), "audit:folders", "a name per rater (default: that of the folder)", "NAME"
    )
    names: Sequence[str] = asked(
        (), "audit:folders", "a name per model (default: that of its folder)", "NAME"
    )
    dataset_dir: Path | None = asked(None, "calibrate:run", "where the run's dataset is", "DIR")
    bundles: Path | None = asked(
        None, "calibrate:run", "the run's bundles (default: bundles)", "DIR"
    )
    new: Path | None = asked(
        None, "report:folders", "predictions of new cases, for contours, volumes and a list", "DIR"
    )
    labels: Path | None = asked(
        None,
        "triage:apply watch:new",
        "label maps, if there are any: how many of the worst tenth are found, or what patients need",
        "DIR",
    )
    chosen: str | None = asked(
        None,
        "promise:check promise:mean",
        "how the labeled patients were chosen; all: every new one of a time; random: drawn by chance",
        choices=("all", "random", "triage"),
    )
    forget: str | None = asked(
        None,
        "watch:new",
        "remove this patient's name from the log, and leave the numbers",
        "PATIENT",
    )
    images: Path | None = written(
        None,
        "audit:folders promise:folders triage:apply view:new report:folders",
        "images for the cases of its page, which show probabilities otherwise",
        "DIR",
    )
    new_images: Path | None = written(
        None, "report:folders", "images of the cases of --new, for its page", "DIR"
    )
    threshold: float | None = asked(
        None,
        "maps:new",
        "also write where each structure has this probability or more",
        "P",
        type=float,
    )
    reference: Path | None = written(
        None,
        "maps:new",
        "images on whose grids the maps are written, as of TotalSegmentator, which resamples them",
        "IMAGES",
    )
    cases: Sequence[str] = asked(
        (), "view:new", "names of cases, at most 12 (default: the first by name)", "NAME"
    )
    output: Path | None = written(
        None,
        "audit calibrate:folders calibrate:components promise triage watch:new maps:new view:new "
        "report:folders",
        "default: audit, calibrated, promise, check, mean, triage, watch, maps, view or report, as the "
        "command is called",
        "DIR",
    )
    pictures: bool = written(
        True,
        f"{_COUNTED} {_PROMISED} triage:apply",
        "draw no diagram and no slice of a case: numbers alone, in less time",
    )
    viewer: bool = written(
        True,
        "audit:folders promise:folders triage:apply report:folders",
        "leave out of the page the cases that one scrolls through, which are images of patients",
    )
    write: str | None = written(
        None,
        _COUNTED,
        "also write probabilities, confidence and entropy of every case, as images",
        choices=["nifti"],
    )
    jobs: int = written(1, f"{_LABELED} maps:new", "processes", "N")
    shard: tuple[int, int] | None = asked(
        None,
        "audit:folders promise:shard",
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
        _ = self.patterns  # refuses wrong expressions
        number_within(self.suspects or BUDGET, 1, "--suspects")
        for name in ("num_bins", "jobs"):
            if (number := getattr(self, name)) < 1:
                raise SettingError(f"{flag(name)}: is {number}; give 1 or more")
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
        """How many of some cases to look at: those below a bound of Dice, or a budget of them.

        Raises:
            SettingError: If the budget is neither a number nor a share.
        """
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

    def words(self, use: str, *, travels: bool = True) -> list[str]:
        """The arguments about the data that another command, ``"promise:apply"``, takes.

        Args:
            use: Verb and kind.
            travels: False for all arguments, which repeat the command.
        """
        arguments = []
        for row in rows(use):
            value = getattr(self, row.name)
            is_set = value != row.default and value not in ([], ())
            if is_set and (row.metadata.get("travels") or not travels):
                values = value if isinstance(value, (list, tuple)) else [value]
                arguments += [
                    flag(row.name),
                    *([] if isinstance(value, bool) else map(str, values)),
                ]
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


def check_used(use: str, values: Mapping[str, Any]) -> None:
    """Refuses options that have no effect on a kind of input.

    Args:
        use: Verb and kind, ``"promise:sums"``.
        values: The options that were set, by the names of the rows.

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
    for name in values:
        if name in known - used:
            kind = KINDS[use.partition(":")[2]]
            raise SettingError(f"{flag(name)}: has no effect on {kind}; leave it out")


def options_of(use: str, values: Mapping[str, Any]) -> Options:
    """The options of a command or a function, each of which has an effect.

    Args:
        use: Verb and kind, ``"audit:folders"``.
        values: The options that were set, by the names of the rows.

    Raises:
        SettingError: If there is no such option, it has no effect, or a value is wrong.
    """
    unknown = sorted(values.keys() - {row.name for row in fields(Options)})
    if unknown:
        names = ", ".join(row.name for row in rows(use))
        raise SettingError(f"{unknown[0]}: is no option; choose from {names}")
    check_used(use, values)
    return Options(**values)


def add_options(parser: argparse.ArgumentParser, verb: str) -> None:
    """Adds the options of a verb to its parser, by the groups of the help, without defaults."""
    used = rows(verb)
    for group in GROUPS:
        several = [row for row in used if row.metadata["group"] == group]
        section = parser.add_argument_group(group) if several else parser
        for row in several:
            section.add_argument(
                flag(row.name), dest=row.name, default=argparse.SUPPRESS, **argument(row)
            )
