"""A study: predictions of any tool, with label maps or without, found, named and read in one place."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from torch import nn

from nacl_monai.counting import counted
from nacl_monai.data.faults import VoxelGrid, check_same_grid
from nacl_monai.data.patients import patients_of
from nacl_monai.errors import InputError, SettingError, check_no_formula
from nacl_monai.files import check_apart, checksum
from nacl_monai.inference.maps import ITK_SNAP, behind_map
from nacl_monai.inference.promised import unlike_spacing
from nacl_monai.inference.records import fault_of_name
from nacl_monai.posthoc import Calibrator, NoRoomError, read_calibrator
from nacl_monai.predictions.channels import Channels, numbered, read_dataset, with_structures
from nacl_monai.predictions.checks import (
    channel_dice,
    check_agreement,
    check_channels,
    check_order,
    highest_byte,
    warn_of_bytes,
    warn_of_voxels,
)
from nacl_monai.predictions.identity import Salt, check_calibrator, known_by, salt_of
from nacl_monai.predictions.images import Prediction, read_grid
from nacl_monai.predictions.labels import Folders, by_name, label_files, pair, read_labels
from nacl_monai.predictions.layouts import (
    Layout,
    check_one_layout,
    count_files,
    dataset_file,
    in_order,
    numbered_cases,
    recognized,
)
from nacl_monai.predictions.names import CHANNEL, images_by_name
from nacl_monai.predictions.options import SIGMOID, Options
from nacl_monai.predictions.processes import processes
from nacl_monai.predictions.readers import Digested, named, read_as_asked
from nacl_monai.predictions.reading import Case, Memory, Reading
from nacl_monai.progress import progress_bar

T = TypeVar("T")
_SHOWN = {
    **dict.fromkeys(("images", "groups"), "is found by the names"),
    "write": "shows the voxels",
}
_DIGITS = 16  # of a checksum in which no two studies are the same


@dataclass(frozen=True)
class Study:
    """Predictions of one model, from `find`.

    Attributes:
        folder: The folder of the predictions.
        name: The model's name in tables and diagrams.
        layout: The layout that was recognized, and how its cases are read.
        channels: What the channels mean.
        options: The command's.
        cases: By name.
        raters: The names of several raters; empty of one.
        labeled: Number of label maps.
        faults: Of cases that cannot be read: no partner, a missing file.
        known: Whether patients were given.
        shard: Which part of which patients it has, "1/2 of …"; None of all.
        calibrated: What ``evaluation.json`` says of a calibrator behind the predictions.
        joins: The kind of average and the number of members of an ensemble; empty without one.
        stored: What maps that this package wrote say of both.
        sizes: The least and the largest size of a voxel to which its calibrator by distance was fitted.
        modules: The calibrator of each case, if there are any.
        memory: Of cases that were read, so that small ones are read once, whatever is made of them.
    """

    folder: Path
    name: str
    layout: Layout
    channels: Channels
    options: Options
    cases: Sequence[Case]
    raters: Sequence[str] = ()
    labeled: int = 0
    faults: Sequence[InputError] = ()
    known: bool = False
    shard: str | None = None
    calibrated: Mapping[str, Any] = field(default_factory=dict)
    modules: Mapping[str, nn.Module] = field(default_factory=dict)
    joins: Sequence[Any] = ()
    stored: Mapping[str, Any] = field(default_factory=dict)
    sizes: Sequence[Sequence[float]] = ()
    memory: Memory = field(default_factory=Memory, compare=False, repr=False)

    @property
    def behind(self) -> dict[str, Any]:
        """The calibrator and the ensemble that its probabilities went through, as maps keep it."""
        return {**self.calibrated, **({"ensemble": [*self.joins]} if self.joins else {})}

    @property
    def calibrator(self) -> list[str]:
        """Its name and checksum; empty without one."""
        keys = ("calibrator", "calibrator_checksum")
        return [self.calibrated[key] for key in keys if key in self.calibrated]

    @property
    def patients(self) -> dict[str, str]:
        """Case → patient."""
        return {case.name: case.patient for case in self.cases}

    def patients_of(self, cases: Iterable[Case]) -> list[str]:
        """The patient of each of these cases, as sums keep them; empty if unknown."""
        return [case.patient for case in cases] if self.known else []

    @property
    def known_by(self) -> str:
        """How patients are known, as files keep it."""
        return known_by(self.options)

    @property
    def identity(self) -> dict[str, str | None]:
        """The shard and how patients are known, as definitions of sums keep it."""
        salt = salt_of(self.options)
        return {
            **({"anonymous": salt.mark} if salt else {}),
            "shard": self.shard,
            "known_by": self.known_by,
            "patient_pattern": self.options.patient_pattern,
            **({"prediction_name": name} if (name := self.options.prediction_name) else {}),
        }

    def __str__(self) -> str:
        """The line that is printed."""
        few = f" of {self.labeled} labeled" if self.labeled not in (0, len(self.cases)) else ""
        raters = self.raters
        by = f", {len(raters)} raters: {', '.join(raters)}" if raters else ""
        joins = self.joins
        by += f", mean {joins[0]} of {joins[1]} folders" if joins else ""
        count = counted(len(self.cases), "case")
        count = f"{len(self.cases)}{few} cases" if few else count
        return f"{self.folder}: {self.layout.label}, {count}, {self.channels.describe()}{by}"

    def check_unseen(self, file: Path, whose: Calibrator, salt: Salt | None = None) -> None:
        """Refuses a study to which a fit to others cannot be applied.

        Args:
            file: The file of the fit, for messages.
            whose: The patients and channels of the fit.
            salt: What hid their names, if something did.

        Raises:
            InputError: See `nacl_monai.predictions.identity.check_calibrator`.
        """
        check_calibrator(file, whose, self.channels, [*self.patients], self.options, salt)

    def unplaced(self) -> list[Path]:
        """The predictions of which no file says where they are: a turned volume goes unnoticed."""
        predictions = (case.prediction for case in self.cases)
        return [
            prediction.file for prediction in predictions if not self.layout.is_placed(prediction)
        ]

    def read(self, case: Case) -> Reading:
        """The probabilities of a case and its labels by each rater, checked, on one grid.

        Raises:
            InputError: If they cannot be read, are not what they should be, or do not fit each other.
        """
        reading = self.memory.readings.get(case.prediction.file)
        if reading is None:
            reading = self._read(case)
            self.memory.keep(reading)
        if reading.predicted.behind != self.behind:
            predicted = replace(reading.predicted, behind=self.behind)
            reading = replace(reading, predicted=predicted)
        reading, module = replace(reading, case=case), self.modules.get(case.name)
        return reading if module is None else reading.through(module)

    def _read(self, case: Case) -> Reading:
        """The case as its files have it."""
        predicted = self.layout.read(case.prediction)
        if predicted.behind != self.stored:
            raise InputError(
                f"{case.prediction.file}: went through another calibrator or ensemble than the first "
                "map, as its header says; write the maps anew together"
            )
        predicted = replace(predicted, behind=self.behind)
        check_channels(case.prediction, predicted, self.channels)
        check_agreement(predicted, self.channels)
        tolerance = self.options.affine_tolerance
        labels = [read_labels(file, self.channels, predicted, tolerance) for file in case.labels]
        if len(case.labels) > 1:
            first, *rest = (VoxelGrid(str(file), *read_grid(file)) for file in case.labels)
            for grid in rest:
                check_same_grid(grid, first, tolerance)
        return Reading(case, predicted, labels, self.channels, tolerance)

    def each(
        self,
        compute: Callable[[Reading], T],
        faults: list[InputError],
        description: str = "Reading",
        jobs: int | None = None,
    ) -> Iterator[tuple[Case, T]]:
        """Reads and computes case by case, one volume in memory at a time and process.

        Args:
            compute: The function of a case; it is pickled for other processes.
            faults: Takes those of cases that cannot be read or computed; the others go on.
            description: Of the progress bar.
            jobs: Processes; by default those of the options.

        Yields:
            Each case that could be read, by name, and its result.

        Raises:
            InputError: If two cases have the same probabilities; at the end, if no case could be read,
                or the channels seem to be in another order.
        """
        faults.extend(self.faults)
        compute_one = partial(_computed, study=replace(self, cases=()), compute=compute)
        count, dice, bytes_of_cases = 0, np.zeros(()), set[int | None]()
        unlike = dict[str, Path]()
        seen: dict[str, Case] = {}
        with processes(self.options.jobs if jobs is None else jobs) as apply:
            results = progress_bar(
                apply(compute_one, self.cases),
                description=description,
                unit="case",
                total=len(self.cases),
            )
            for case, result in zip(self.cases, results, strict=True):
                if isinstance(result, InputError):
                    faults.append(result)
                else:
                    value, of_case, digest, byte, size = result
                    _check_once(case, digest, seen)
                    bytes_of_cases.add(byte)
                    unlike.setdefault(size, case.prediction.file)
                    count, dice = count + 1, dice + of_case
                    yield case, value
        if not count:
            reason = f": {faults[-1]}" if faults else ""
            raise InputError(f"{self.folder}: no case could be read{reason}")
        warn_of_bytes(self.folder, bytes_of_cases)
        warn_of_voxels(self.options.calibrator, unlike)
        if dice.ndim:
            check_order(self.folder, dice / count, self.channels)

    def check_not_behind(self) -> None:
        """Refuses to calibrate maps that went through a calibrator before they were written.

        Raises:
            InputError: If they did, as their header says.
        """
        if "calibrator" in self.stored:
            raise InputError(
                f"{self.folder}: went through {self.stored['calibrator']} already, as its maps say, and "
                "nothing is calibrated twice; leave out --calibrator, or give what that was applied to"
            )

    def through(self, modules: Mapping[str, nn.Module], record: Mapping[str, Any]) -> Study:
        """The same predictions, read through calibrators.

        Args:
            modules: Case → from logits, image and spacing to logits.
            record: What ``evaluation.json`` says of them.

        Raises:
            InputError: If they went through one already, before they were written as maps.
        """
        self.check_not_behind()
        return replace(self, modules=modules, calibrated=record)


def _check_once(case: Case, digest: str, seen: dict[str, Case]) -> None:
    """Refuses a prediction that is another's under a second name; all may be constant, though."""
    first = seen.setdefault(digest, case) if digest else case
    if first is not case:
        raise InputError(
            f"{case.prediction.file}: has the very probabilities of {first.prediction.file}, so that "
            "one patient would count twice; leave one of them out"
        )


def _computed(
    case: Case, study: Study, compute: Callable[..., Any]
) -> tuple[Any, Any, str, int | None, str] | InputError:
    """The result for a case, Dice of its channels, digest, highest byte, unlike voxels; or its fault."""
    # Of MONAI's own deprecations.
    warnings.filterwarnings("ignore", category=FutureWarning, module="monai")
    dice: Any = 0
    try:
        reading = study.read(case)
        if reading.labels and not study.options.channels_as_given:
            classes = None if study.channels.overlapping else reading.predicted.classes
            dice = channel_dice(reading.stored, reading.labels[0], study.channels, classes)
        highest = highest_byte(reading.predicted, reading.labels)
        size = ""
        if study.modules and study.sizes and reading.affine is not None:
            size = unlike_spacing(reading.spacing, study.sizes)
        return compute(reading), dice, reading.predicted.digest, highest, size
    except (NoRoomError, SettingError):  # no case is at fault
        raise
    except InputError as fault:  # the function knows no files
        where, _, what = str(fault).partition(": ")
        of_arrays = where in ("probs", "labels", "spacing")
        return InputError(f"{case.prediction.file}: {where} {what}") if of_arrays else fault


def find(
    folder: Path,
    labels: Folders | None,
    options: Options,
    name: str | None = None,
    promised: Channels | None = None,
) -> Study:
    """Recognizes the layout of a folder, names its cases, and pairs them with label maps.

    Args:
        folder: The folder of the predictions.
        labels: Folder of the label maps; with several raters, name → folder; None without labels.
        options: The command's options.
        name: The model's name; by default the folder's.
        promised: What the channels must mean; by default what files say.

    Raises:
        InputError: If the layout is unknown, no case has a label map, nothing says what the channels
            mean or they are others than promised, or a calibrator is of other channels or was fitted on
            a patient of these.
    """
    places = {} if labels is None else by_name(labels)
    files = [options.patterns.labels(label_files(place)) for place in places.values()]
    labeled = set[str]().union(*files)
    stems = _stems(folder, labeled, promised, options) if options.patterns.equal else set[str]()
    layout, stored = recognized(folder, stems)
    predictions = _named(folder, stored, files, options)
    pairs, faults = _paired(predictions, files, folder)
    used = [prediction for prediction, _ in pairs]
    channels = _channels(folder, [*places.values()], layout, used, options, promised)
    check_one_layout(folder, used, channels)
    cases = list(_cases(pairs, channels, faults))
    layout = replace(layout, read=Digested(layout.read))
    layout = read_as_asked(folder, layout, predictions, channels, options, stems)
    study = Study(
        folder,
        name or folder.resolve().name,
        layout,
        channels,
        options,
        cases,
        tuple(places) if len(places) > 1 else (),
        len(labeled),
        faults,
    )
    if not cases:
        raise InputError(f"{folder}: no case could be read: {faults[-1]}")
    _check_written(folder, [*channels.names, *channels.structures, *(case.name for case in cases)])
    check_apart(folder, (case.name for case in cases))
    study = behind_calibrator(_with_patients(_as_stored(study)))
    return study if promised else _hidden(study)


def _named(
    folder: Path,
    stored: Sequence[Prediction],
    files: Sequence[Mapping[str, Path]],
    options: Options,
) -> list[Prediction]:
    """The predictions under the names of their cases."""
    predictions = named(stored, options.patterns)
    if not predictions or not all(files):
        raise InputError(
            f"{folder}: no prediction or no label map has a name as --prediction-name, --label-name or "
            f"--pairs say, as {stored[0].case!r} has not; correct them"
        )
    return predictions


def _hidden(study: Study) -> Study:
    """The study with hidden names, on request, in their own order."""
    salt = salt_of(study.options) if study.options.anonymous else None
    if salt is None:
        return study
    for word, why in _SHOWN.items():
        if getattr(study.options, word):
            raise SettingError(f"--{word}: {why} that --anonymous hides; leave one of them out")
    cases = [
        replace(case, name=salt.hide(case.name), patient=salt.hide(case.patient))
        for case in study.cases
    ]
    modules = {salt.hide(name): module for name, module in study.modules.items()}
    return replace(study, cases=sorted(cases, key=lambda case: case.name), modules=modules)


def _as_stored(study: Study) -> Study:
    """The study with what the header of its first map says, or with the ensemble of the options.

    Raises:
        InputError: If the map is the mean of an ensemble, and is to be averaged again.
    """
    file, joins = study.cases[0].prediction.file, study.options.joins
    stored = behind_map(file)
    if joins and "ensemble" in stored:
        raise InputError(
            f"{file}: is the mean of an ensemble, as its header says; give the members' own predictions"
        )
    calibrated = {key: value for key, value in stored.items() if key != "ensemble"}
    joins = stored.get("ensemble", joins)
    return replace(study, stored=stored, calibrated=calibrated, joins=joins)


def _check_written(folder: Path, names: Sequence[str]) -> None:
    """Refuses names of cases and structures that cannot be those of files, or in a table."""
    check_no_formula(folder, names)
    for name in names:
        if fault := fault_of_name(name):
            raise InputError(f"{folder}: {name!r} {fault}, and would name files; rename it")


def _paired(
    predictions: Sequence[Prediction], files: Sequence[Mapping[str, Path]], folder: Path
) -> tuple[list[tuple[Prediction, Sequence[Path]]], list[InputError]]:
    """The predictions by name, with the label maps of every rater where there are any; and faults."""
    ordered = sorted(predictions, key=lambda prediction: prediction.case)
    if not files:
        return [(prediction, ()) for prediction in ordered], []
    return pair(ordered, files, folder)


def _cases(
    pairs: Sequence[tuple[Prediction, Sequence[Path]]], channels: Channels, faults: list[InputError]
) -> Iterator[Case]:
    """The cases whose files are those of the channels; the faults of the others."""
    for prediction, label_maps in pairs:
        try:
            yield Case(prediction.case, in_order(prediction, channels), label_maps)
        except InputError as fault:
            faults.append(fault)


def _said(folder: Path, labeled: set[str], options: Options) -> Channels | None:
    """The channels, where files or words say them and there is no label map."""
    if labeled:
        return None
    dataset = options.dataset or dataset_file(folder)
    channels = None
    if dataset is not None and dataset.is_file():
        channels = read_dataset(dataset, options.activation)
    if options.structures and options.activation == SIGMOID:
        return with_structures(channels, options.structures, options.activation)
    return channels


def _stems(
    folder: Path, labeled: set[str], promised: Channels | None, options: Options
) -> set[str]:
    """How names of files begin: those of label maps, or what is before a known channel's."""
    known = promised or _said(folder, labeled, options)
    if known is not None:
        return _before_channels(folder, known)
    if labeled:
        return labeled | {f"{case}{CHANNEL}" for case in labeled}
    return numbered_cases(folder) if folder.is_dir() else set()


def _before_channels(folder: Path, known: Channels) -> set[str]:
    """What is before the name of a channel, or its label, in the names of images."""
    values = known.values.items()
    endings = [f"_{ending}" for name, labels in values for ending in (name, *map(str, labels[:1]))]
    names = images_by_name(folder) if folder.is_dir() else ()
    return {
        name.removesuffix(ending) for name in names for ending in endings if name.endswith(ending)
    }


def _with_patients(study: Study) -> Study:
    """The study with its patients; of a shard, those of every so many-th patient.

    Both sides of a person are in one shard. The first reports the faults of cases that cannot be read.

    Raises:
        SettingError: If there are fewer patients than shards, and none is left for this one.
    """
    options, names = study.options, [case.name for case in study.cases]
    known = patients_of(names, options.patient_pattern, options.table)
    known = names if options.one_each else known
    pairs = zip(study.cases, known or names, strict=True)
    study = replace(
        study, cases=[replace(case, patient=name) for case, name in pairs], known=bool(known)
    )
    return study if options.shard is None else _shard_of(study, *options.shard)


def _shard_of(study: Study, part: int, parts: int) -> Study:
    """The cases of every so many-th patient, who know the study by a checksum of all names."""
    cases, salt = study.cases, salt_of(study.options)
    names = sorted(salt.hide(case.name) if salt else case.name for case in cases)
    whole = hashlib.sha256(json.dumps(names).encode()).hexdigest()[:_DIGITS]
    people = list(dict.fromkeys(case.patient for case in cases))
    chosen = {*people[part - 1 :: parts]}
    if not chosen:
        raise SettingError(
            f"--shard: {part}/{parts} is of none of {counted(len(people), 'patient')}; give fewer shards"
        )
    cases = [case for case in cases if case.patient in chosen]
    faults = study.faults if part == 1 else ()
    return replace(study, cases=cases, faults=faults, shard=f"{part}/{parts} of {whole}")


def behind_calibrator(
    study: Study, calibrator: Calibrator | None = None, digest: str = ""
) -> Study:
    """The study behind the calibrator that its options name, if they name one.

    Args:
        study: The study.
        calibrator: What that file will hold, and its checksum, if it is yet to have its place.
        digest: This checksum.

    Raises:
        InputError: If that is of other channels, or was fitted on a patient of the study.
    """
    file = study.options.calibrator
    if file is None:
        return study
    calibrator = calibrator or read_calibrator(file)
    study.check_unseen(file, calibrator)
    assert calibrator.fit is not None  # noqa: S101 - one of predictions has a fit
    modules = dict.fromkeys(study.patients, calibrator.fit.module)
    record = {
        "calibrator": calibrator.name,
        "calibrator_checksum": digest or checksum(file),
        "calibrator_margin": calibrator.margin,
    }
    sizes = calibrator.spacing if calibrator.fit.sees_distance else ()
    return replace(study.through(modules, record), sizes=sizes)


def _channels(
    folder: Path,
    labels: Sequence[Path],
    layout: Layout,
    predictions: Sequence[Prediction],
    options: Options,
    promised: Channels | None,
) -> Channels:
    """The meaning of the channels, by the first ``dataset.json`` found, or else by their number."""
    if options.dataset and not options.dataset.is_file():
        raise InputError(f"{options.dataset}: no such file; correct --dataset")
    activation = options.activation
    dataset = options.dataset or layout.dataset(folder) or _beside_labels(labels, activation)
    channels = read_dataset(dataset, activation) if dataset else None
    if promised is not None:
        return _as_promised(folder, channels, promised, options)
    if options.structures:
        return with_structures(channels, options.structures, activation)
    return channels or numbered(_count(layout, predictions), activation, folder / ITK_SNAP)


def _as_promised(
    folder: Path, channels: Channels | None, promised: Channels, options: Options
) -> Channels:
    """The promised channels, which those of the predictions must not contradict."""
    found = channels or promised
    if options.structures:
        found = with_structures(found, options.structures, options.activation)
    ours, theirs = (
        (
            side.activation,
            *side.values.items(),
            *(side.structures.items() if options.structures else ()),
        )
        for side in (promised, found)
    )
    if ours != theirs or options.activation not in (None, promised.activation):
        raise InputError(
            f"{folder}: is of {', '.join(options.structures or found.names)} by "
            f"{options.activation or found.activation}, but what {promised.source} promises is of "
            f"{', '.join(promised.names)} by {promised.activation}; give predictions of the same model"
        )
    return replace(promised, painted=found.painted)


def _beside_labels(folders: Sequence[Path], activation: str | None) -> Path | None:
    """The ``dataset.json`` above the label maps, which must say the same for all raters."""
    files = dict.fromkeys(folder.resolve().parent / "dataset.json" for folder in folders)
    found = [file for file in files if file.is_file()]
    for file in found[1:]:
        first = read_dataset(found[0], activation)
        if read_dataset(file, activation) != replace(first, source=str(file)):
            raise InputError(f"{file}: has other labels than {found[0]}; say which with --dataset")
    return next(iter(found), None)


def _count(layout: Layout, predictions: Sequence[Prediction]) -> int:
    """The files of a case, if there are several; or the channels of the first that can be read."""
    if len(predictions[0].files) > 1:
        return count_files(predictions[0])
    faults = []
    for prediction in predictions:
        try:
            return len(layout.read(prediction).voxels)
        except InputError as fault:
            faults.append(fault)
    raise faults[0]
