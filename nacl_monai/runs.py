"""A run: what the name of its folder says, and what the folder holds.

A run's folder is ``runs/<dataset>/<network>[3d]_<loss>[_<key>=<value> …]_seed<seed>``; settings at their
defaults, and the dataset, are not in its name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path

from nacl_monai.errors import InputError, SettingError
from nacl_monai.files import read_object
from nacl_monai.output import aside_of

#: The regions that are known by name, as `nacl_monai.metrics.REGIONS` computes them.
KNOWN_REGIONS = (
    "all",
    "foreground",
    "union",
    "boundary",
    "near",
    "predicted",
    "predicted_boundary",
)
#: The first of the classes in ``bins.npz``: whichever class is predicted.
TOP = "top-1"
#: Behind the network in a run's name where it was trained on patches: ``unet3d_nacl_seed0``.
PATCHES = "3d"
#: What to do if ``run.json`` is damaged.
RECORD_REMEDY = "remove it, and start the training again, which goes on and writes another"
#: What to do if a file of an evaluation is damaged.
EVALUATE_AGAIN = "evaluate the run again"
#: What to do if a file of a promise is damaged.
PROMISE_REMEDY = "make it again: nacl-monai promise PREDICTIONS LABELS"
#: Every case keeps as many numbers for each region and class; more bins than this say nothing more.
MOST_BINS = 10_000
_SETTING = re.compile(r"_([a-z_]+)=([^_=/]+)")


def check_class_names(names: Iterable[str], where: str = "classes") -> None:
    """Refuses a class with the name under which files keep the predicted class.

    Raises:
        InputError: If there is one.
    """
    if TOP in names:
        raise InputError(f"{where}: {TOP!r} is what the predicted class is called; rename yours")


def check_num_bins(num_bins: int, name: str = "num_bins") -> None:
    """Refuses a number of bins below 1, between two whole numbers, or beyond what memory holds.

    Raises:
        SettingError: If it is so.
    """
    if not (isinstance(num_bins, Integral) and 1 <= num_bins <= MOST_BINS):
        raise SettingError(
            f"{name}: is {num_bins}; use a whole number, 1 or more and at most {MOST_BINS}"
        )


@dataclass(frozen=True)
class RunName:
    """The name of a run's folder.

    Attributes:
        network: From the menu of networks, with :data:`PATCHES` behind it in 3-D.
        loss: From the menu of losses.
        settings: Keys of the loss or of the run and their values, as text.
        seed: The training's seed.

    Example:
        >>> str(RunName("unet", "focal", (("gamma", "2.0"), ("fold", "1"))))
        'unet_focal_gamma=2.0_fold=1_seed0'
    """

    network: str
    loss: str
    settings: tuple[tuple[str, str], ...] = ()
    seed: int = 0

    def __str__(self) -> str:
        settings = (f"{key}={value}" for key, value in self.settings)
        return "_".join([self.network, self.loss, *settings, f"seed{self.seed}"])

    @classmethod
    def parse(cls, name: str, losses: Collection[str]) -> RunName:
        """Reads the name of a run's folder: the inverse of `str`.

        Args:
            name: The folder's name.
            losses: The names of all losses, which tell where the network's name ends.

        Raises:
            InputError: If the name is not that of a run.

        Example:
            >>> RunName.parse("attention_unet_label_smoothing_seed3", ["nacl", "label_smoothing"])
            RunName(network='attention_unet', loss='label_smoothing', settings=(), seed=3)
        """
        longest = sorted(losses, key=len, reverse=True)  # of which another may be the beginning
        pattern = (
            rf"(?P<network>\w+?)_(?P<loss>{'|'.join(map(re.escape, longest))})"
            rf"(?P<settings>(?:{_SETTING.pattern})*)_seed(?P<seed>\d+)"
        )
        if not (match := re.fullmatch(pattern, name)):
            raise InputError(
                f"{name}: not the name of a run; name it <network>_<loss>[_<key>=<value>]_seed<n>, "
                f"with a loss out of {', '.join(losses)}"
            )
        settings = _SETTING.findall(match["settings"])
        return cls(match["network"], match["loss"], tuple(settings), int(match["seed"]))


def short_name(chosen: object, dims: int = 2) -> str:
    """A network's or loss's name in folders: its menu entry, or its class, MyNet; in 3-D MyNet3d."""
    name = chosen["_target_"] if isinstance(chosen, dict) else chosen
    return re.split(r"::|\.", str(name))[-1] + (PATCHES if dims == 3 else "")


def fold_folders(folder: Path) -> list[Path]:
    """Returns the runs of a cross-validation that is named without its folds, in their order.

    ``NAME_seedN`` stands for ``NAME_fold=0_seedN``, ``NAME_fold=1_seedN``, …
    """
    stem, seed, number = map(re.escape, folder.name.rpartition("_seed"))
    pattern = re.compile(rf"{stem}_fold=\d+{seed}{number}")
    folds = [fold for fold in folder.parent.glob("*_fold=*") if pattern.fullmatch(fold.name)]
    return sorted(folds, key=lambda fold: (len(fold.name), fold.name))


def fold_folder(folder: Path, fold: int) -> Path:
    """The run of one fold of the cross-validation ``folder``, the inverse of `fold_folders`.

    Raises:
        InputError: If the folder's name does not end in ``_seed<n>``.

    Example:
        >>> fold_folder(Path("runs/mine_seed0"), 2).as_posix()
        'runs/mine_fold=2_seed0'
    """
    if not (match := re.fullmatch(r"(.+)(_seed\d+)", folder.name)):
        raise InputError(f"{folder}: not the name of a cross-validation; end it in _seed<n>")
    return folder.with_name(f"{match[1]}_fold={fold}{match[2]}")


@dataclass(frozen=True)
class _Folder:
    """Names of files in a folder. A string as ``path`` becomes a `Path`, since YAML knows no other."""

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))


class _Below:
    """The path of a file or a folder in a folder."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, folder: _Folder, kind: type[_Folder]) -> Path:
        return folder.path / self.name


class RunFolder(_Folder):
    """The files in a run's folder; handlers write them, reports read them."""

    #: The weights of the best epoch.
    model = _Below("model.pt")
    #: The configuration that the run was trained with.
    config = _Below("config.json")
    #: The best epoch, and commands, versions, times and memory of every session.
    record = _Below("run.json")

    #: One row of metrics per validated epoch.
    validation = _Below("validation.csv")
    #: The patients that train, validate and test.
    split = _Below("split.json")
    #: The cases of every set, their files, sizes, times and checksums.
    data = _Below("data.json")
    #: The folder of the states after the newest epochs.
    checkpoints = _Below("checkpoints")
    #: The folder of what ``--restart True`` has moved aside.
    previous = _Below("previous")
    #: The folder of the curves.
    tensorboard = _Below("tensorboard")
    #: The largest logits in every epoch.
    logit_histogram = _Below("logit_histogram.npz")

    @property
    def unfinished(self) -> bool:
        """Whether the training has epochs to go; the record of a first one is still to come."""
        if self.record.is_file():
            return not read_object(self.record, RECORD_REMEDY).get("finished")
        return self.config.is_file()

    def calibrated(self, calibrator: str | None) -> RunFolder:
        """The run with a calibrator behind its network, evaluated apart; None for the run itself."""
        return self if calibrator is None else RunFolder(self.path / "calibrated" / calibrator)

    @property
    def trained(self) -> RunFolder:
        """The run whose weights and split these are: this one, or that which was calibrated."""
        at = () if self.config.is_file() else (self.path.absolute(), self.path.resolve())
        return next((RunFolder(p.parents[1]) for p in at if p.parent.name == "calibrated"), self)

    #: What was fitted in a calibrated run, and on whom.
    calibrator = _Below("calibrator.json")

    @property
    def evaluation(self) -> EvaluationFolder:
        """The folder of the numbers of the test cases."""
        return EvaluationFolder(self.path / "evaluation")


class EvaluationFolder(_Folder):
    """The files of an evaluation."""

    @property
    def aside(self) -> Path:
        """The folder that takes this one's place when the evaluation is finished."""
        return aside_of(self.path)

    #: What the evaluation is of: set, weights, split, settings, versions.
    record = _Below("evaluation.json")
    #: One row of metrics per case.
    cases = _Below("cases.csv")
    #: Means, standard deviations, and the dataset's name.
    summary = _Below("summary.json")
    #: The exact bin sums of every case.
    bins = _Below("bins.npz")
    #: Sums of absolute logits by true class.
    logits = _Below("logits.npz")
    #: The reliability diagram.
    reliability = _Below("reliability.png")
    #: The folder of one slice per case.
    maps = _Below("maps")

    def map_of(self, case: str) -> Path:
        """The slice of one case."""
        return self.maps / f"{case}.npz"


#: The file of what a promise is made from.
CURVES_FILE = "promise.npz"


def curves_file(path: Path) -> Path | None:
    """The ``promise.npz`` that is given, or that of an audit or of an evaluated run; None of others."""
    places = (path / CURVES_FILE, RunFolder(path).evaluation.path / CURVES_FILE)
    return path if path.suffix == ".npz" else next(filter(Path.is_file, places), None)
