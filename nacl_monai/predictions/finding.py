"""The way from a folder to a study: layout, channels, cases, patients and calibrator, in this order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from nacl_monai.counting import counted
from nacl_monai.data.patients import patients_of
from nacl_monai.errors import InputError, SettingError, check_no_formula
from nacl_monai.files import check_apart
from nacl_monai.inference.maps import ITK_SNAP, behind_map
from nacl_monai.inference.records import fault_of_name
from nacl_monai.predictions.channels import Channels, numbered, read_dataset, with_structures
from nacl_monai.predictions.identity import salt_of
from nacl_monai.predictions.images import Prediction
from nacl_monai.predictions.labels import Folders, by_name, label_files, pair
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
from nacl_monai.predictions.readers import Digested, named, read_as_asked
from nacl_monai.predictions.reading import Case
from nacl_monai.predictions.study import Study

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
    study = _with_patients(_as_stored(study)).behind_calibrator()
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
