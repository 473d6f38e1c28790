"""The way from a folder to a study: layout, channels, cases, patients and calibrator, in this order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from nacl_monai.data.cases import patients_of
from nacl_monai.errors import InputError, SettingError, check_no_formula
from nacl_monai.files import check_apart
from nacl_monai.inference.maps import ITK_SNAP, behind_map
from nacl_monai.inference.records import fault_of_name
from nacl_monai.predictions.channels import Channels, numbered, read_dataset_json, with_structures
from nacl_monai.predictions.identity import salt_of
from nacl_monai.predictions.images import Folders, Prediction, by_name, label_files, pair
from nacl_monai.predictions.layouts import (
    Layout,
    check_one_layout,
    count_files,
    dataset_json,
    in_order,
    numbered_cases,
    recognized,
)
from nacl_monai.predictions.names import CHANNEL, images_by_name
from nacl_monai.predictions.options import SIGMOID, Options
from nacl_monai.predictions.readers import Digested, named, read_as_asked
from nacl_monai.predictions.reading import Case
from nacl_monai.predictions.study import Study
from nacl_monai.words import counted

_SHOWN = {
    **dict.fromkeys(("images", "groups"), "is found by the names"),
    "write": "shows the voxels",
}
_DIGITS = 16  # of a checksum in which no two studies are the same


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
    steps = _Steps(folder, labels, options, promised)
    pairs, faults = steps.pairs
    channels = steps.channels
    check_one_layout(folder, [prediction for prediction, _ in pairs], channels)
    cases = []
    for prediction, label_maps in pairs:
        try:
            cases.append(Case(prediction.case, in_order(prediction, channels), label_maps))
        except InputError as fault:
            faults.append(fault)
    layout = replace(steps.stored[0], read=Digested(steps.stored[0].read))
    layout = read_as_asked(folder, layout, steps.predictions, channels, options, steps.stems)
    name, raters = name or folder.resolve().name, steps.places if len(steps.places) > 1 else ()
    labeled = len(steps.labeled)
    study = Study(folder, name, layout, channels, options, cases, tuple(raters), labeled, faults)
    if not cases:
        raise InputError(f"{folder}: no case could be read: {faults[-1]}")
    written = [*channels.names, *channels.structures, *study.patients]
    check_no_formula(folder, written)
    for word in written:
        if reason := fault_of_name(word):
            raise InputError(f"{folder}: {word!r} {reason}, and would name files; rename it")
    check_apart(folder, study.patients)
    study = _with_patients(_as_stored(study)).behind_calibrator()
    return study if promised else _hidden(study)


@dataclass(frozen=True)
class _Steps:
    """The steps from a folder to its cases, each taken once, when another asks for it.

    Attributes:
        folder: As of `find`, as are the others.
    """

    folder: Path
    labels: Folders | None
    options: Options
    promised: Channels | None

    @cached_property
    def places(self) -> Mapping[str, Path]:
        """The folders of the label maps by rater."""
        return {} if self.labels is None else by_name(self.labels)

    @cached_property
    def files(self) -> list[dict[str, Path]]:
        """The label maps of each rater by case."""
        return [self.options.patterns.labels(label_files(place)) for place in self.places.values()]

    @cached_property
    def labeled(self) -> set[str]:
        """The cases that a rater has labeled."""
        return set().union(*self.files)

    @cached_property
    def stems(self) -> set[str]:
        """How names of files begin: those of label maps, or what is before a known channel's."""
        if not self.options.patterns.equal:
            return set()
        if (known := self.promised or self.said) is not None:
            return _before_channels(self.folder, known)
        if self.labeled:
            return self.labeled | {f"{case}{CHANNEL}" for case in self.labeled}
        return numbered_cases(self.folder) if self.folder.is_dir() else set()

    @property
    def said(self) -> Channels | None:
        """The channels, where files or words say them and there is no label map."""
        if self.labeled:
            return None
        options, channels = self.options, None
        dataset = options.dataset or dataset_json(self.folder)
        if dataset is not None and dataset.is_file():
            channels = read_dataset_json(dataset, options.activation)
        if options.structures and options.activation == SIGMOID:
            return with_structures(channels, options.structures, options.activation)
        return channels

    @cached_property
    def stored(self) -> tuple[Layout, list[Prediction]]:
        """The layout, and the cases by the names of their files."""
        return recognized(self.folder, self.stems)

    @cached_property
    def predictions(self) -> list[Prediction]:
        """The predictions under the names of their cases."""
        stored = self.stored[1]
        predictions = named(stored, self.options.patterns)
        if not predictions or not all(self.files):
            raise InputError(
                f"{self.folder}: no prediction or no label map has a name as --prediction-name, "
                f"--label-name or --pairs say, as {stored[0].case!r} has not; correct them"
            )
        return predictions

    @cached_property
    def pairs(self) -> tuple[list[tuple[Prediction, Sequence[Path]]], list[InputError]]:
        """The predictions by name, with the label maps of each rater; and faults."""
        ordered = sorted(self.predictions, key=lambda prediction: prediction.case)
        if not self.files:
            return [(prediction, ()) for prediction in ordered], []
        return pair(ordered, self.files, self.folder)

    @cached_property
    def channels(self) -> Channels:
        """The meaning of the channels, by the first ``dataset.json`` found, or else by their number."""
        options = self.options
        if options.dataset and not options.dataset.is_file():
            raise InputError(f"{options.dataset}: no such file; correct --dataset")
        activation = options.activation
        dataset = options.dataset or self.stored[0].dataset(self.folder) or self.beside_labels
        channels = read_dataset_json(dataset, activation) if dataset else None
        if self.promised is not None:
            return _as_promised(self.folder, channels, self.promised, options)
        if options.structures:
            return with_structures(channels, options.structures, activation)
        return channels or numbered(self.count, activation, self.folder / ITK_SNAP)

    @property
    def beside_labels(self) -> Path | None:
        """The ``dataset.json`` above the label maps, which must say the same for all raters."""
        folders, activation = self.places.values(), self.options.activation
        files = dict.fromkeys(folder.resolve().parent / "dataset.json" for folder in folders)
        found = [file for file in files if file.is_file()]
        for file in found[1:]:
            first = read_dataset_json(found[0], activation)
            if read_dataset_json(file, activation) != replace(first, source=str(file)):
                raise InputError(
                    f"{file}: has other labels than {found[0]}; say which with --dataset"
                )
        return next(iter(found), None)

    @property
    def count(self) -> int:
        """The files of a case, if there are several; or the channels of the first that can be read."""
        predictions = [prediction for prediction, _ in self.pairs[0]]
        if len(predictions[0].files) > 1:
            return count_files(predictions[0])
        faults = []
        for prediction in predictions:
            try:
                return len(self.stored[0].read(prediction).voxels)
            except InputError as fault:
                faults.append(fault)
        raise faults[0]


def _before_channels(folder: Path, known: Channels) -> set[str]:
    """What is before the name of a channel, or its label, in the names of images."""
    values = known.values.items()
    endings = [f"_{ending}" for name, labels in values for ending in (name, *map(str, labels[:1]))]
    names = images_by_name(folder) if folder.is_dir() else ()
    return {
        name.removesuffix(ending) for name in names for ending in endings if name.endswith(ending)
    }


def _hidden(study: Study) -> Study:
    """The study with hidden names, on request, in their own order."""
    salt = salt_of(study.options) if study.options.anonymous else None
    if salt is None:
        return study
    for word, why in _SHOWN.items():
        if getattr(study.options, word):
            raise SettingError(f"--{word}: {why} that --anonymous hides; leave one of them out")
    hide, found = salt.hide, study.cases
    cases = [replace(case, name=hide(case.name), patient=hide(case.patient)) for case in found]
    modules = {hide(name): module for name, module in study.modules.items()}
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
    cases = [replace(case, patient=name) for case, name in pairs]
    study = replace(study, cases=cases, known=bool(known))
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


def _as_promised(
    folder: Path, channels: Channels | None, promised: Channels, options: Options
) -> Channels:
    """The promised channels, which those of the predictions must not contradict."""
    found = channels or promised
    if options.structures:
        found = with_structures(found, options.structures, options.activation)
    alike = found.alike(promised) and options.activation in (None, promised.activation)
    if options.structures:
        alike = alike and [*found.structures.items()] == [*promised.structures.items()]
    if not alike:
        raise InputError(
            f"{folder}: is of {', '.join(options.structures or found.names)} by "
            f"{options.activation or found.activation}, but what {promised.source} promises is of "
            f"{', '.join(promised.names)} by {promised.activation}; give predictions of the same model"
        )
    return replace(promised, painted=found.painted)
