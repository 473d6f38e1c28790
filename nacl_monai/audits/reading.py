"""A folder of predictions and one of labels, or several → the numbers of every case, or its fault."""

from __future__ import annotations

import multiprocessing
import re
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nacl_monai.audits.channels import Channels, numbered, read_dataset, with_structures
from nacl_monai.audits.checks import check_agreement, check_channels
from nacl_monai.audits.images import Pair, Prediction, Probabilities, read_grid
from nacl_monai.audits.labels import Folders, Labels, by_name, label_files, pair, read_labels
from nacl_monai.audits.layouts import Layout, check_one_layout, count_files, in_order, recognized
from nacl_monai.audits.measuring import Measured, Settings, channel_dice, check_order, measured
from nacl_monai.audits.options import Options
from nacl_monai.audits.pictures import majority, picture, write_maps
from nacl_monai.audits.readers import Calibrated, named, read_as_asked
from nacl_monai.counting import counted
from nacl_monai.data.faults import VoxelGrid, check_same_grid
from nacl_monai.data.patients import patients_of
from nacl_monai.errors import InputError, SettingError
from nacl_monai.files import checksum
from nacl_monai.inference.maps import ITK_SNAP
from nacl_monai.metrics.columns import score_columns
from nacl_monai.posthoc import Calibrator, read_calibrator
from nacl_monai.posthoc.file import BY_CASE, BY_PATTERN, BY_TABLE
from nacl_monai.progress import progress_bar


@dataclass(frozen=True)
class Found:
    """What is to be audited.

    Attributes:
        folder: The folder of the predictions.
        name: The model's name in tables and diagrams.
        layout: The layout that was recognized.
        settings: With what the channels mean.
        options: The command's.
        pairs: The cases, by name, with their label map by each rater.
        labeled: Number of label maps.
        faults: The faults of cases that have no partner.
        calibrated: What ``evaluation.json`` says of a calibrator behind the predictions.
    """

    folder: Path
    name: str
    layout: Layout
    settings: Settings
    options: Options
    pairs: Sequence[Pair]
    labeled: int
    faults: Sequence[InputError] = field(default=())
    calibrated: Mapping[str, Any] = field(default_factory=dict)

    @property
    def calibrator(self) -> list[str]:
        """Its name and checksum; empty without one."""
        keys = ("calibrator", "calibrator_checksum")
        return [self.calibrated[key] for key in keys if key in self.calibrated]

    def __str__(self) -> str:
        """The line that is printed."""
        channels = self.settings.channels.describe()
        of = f" of {self.labeled} labeled" if self.labeled != len(self.pairs) else ""
        raters = self.settings.raters
        by = f", {len(raters)} raters: {', '.join(raters)}" if raters else ""
        joins = self.options.joins
        by += f", mean {joins[0]} of {joins[1]} folders" if joins else ""
        return f"{self.folder}: {self.layout.label}, {len(self.pairs)}{of} cases, {channels}{by}"


def find(folder: Path, labels: Folders, options: Options, name: str | None = None) -> Found:
    """Recognizes the layout of a folder and pairs its cases with label maps.

    Args:
        folder: The folder of the predictions.
        labels: Folder of the label maps; with several raters, name → folder.
        options: The command's options.
        name: The model's name; by default the folder's.

    Raises:
        InputError: If the layout is unknown, no case has a label map, nothing says what the channels
            mean, or a calibrator is of other channels or was fitted on a patient of these.
    """
    places = by_name(labels)
    names = options.names
    files = [names.labels(label_files(place)) for place in places.values()]
    labeled = set[str]().union(*files)
    stems = labeled if names.equal else ()
    layout, given = recognized(folder, stems)
    predictions = named(given, names)
    if not predictions or not all(files):
        raise InputError(
            f"{folder}: no prediction or no label map has a name as --prediction-name, --label-name or "
            f"--pairs say, as {given[0].case!r} has not; correct them"
        )
    pairs, faults = pair(predictions, files, folder)
    pairs.sort(key=lambda one: one[0].case)
    channels = _channels(folder, [*places.values()], layout, [one for one, _ in pairs], options)
    check_one_layout(folder, [one for one, _ in pairs], channels)
    ordered: list[Pair] = []
    for one, label_maps in pairs:
        try:
            ordered.append((in_order(one, channels), label_maps))
        except InputError as fault:
            faults.append(fault)
    if options.shard is not None:
        ordered, faults = shard_of(ordered, faults, options)
    layout = read_as_asked(folder, layout, predictions, channels, options, stems)
    settings = Settings(
        channels,
        tuple(dict.fromkeys(("foreground", *options.regions))),
        options.num_bins,
        tuple(places) if len(places) > 1 else (),
        options.margin,
    )
    found = Found(
        folder,
        name or folder.resolve().name,
        layout,
        settings,
        options,
        ordered,
        len(labeled),
        faults,
    )
    if options.calibrator is None:
        return found
    calibrator = read_calibrator(options.calibrator)
    tested = [one.case for one, _ in ordered]
    check_calibrator(options.calibrator, calibrator, channels, tested, options)
    assert calibrator.fit is not None  # noqa: S101 - one of predictions has a fit
    modules = dict.fromkeys(tested, calibrator.fit.module)
    return through(
        found,
        modules,
        {
            "calibrator": calibrator.name,
            "calibrator_checksum": checksum(options.calibrator),
            "calibrator_margin": calibrator.margin,
        },
    )


def shard_of(
    pairs: Sequence[Pair], faults: list[InputError], options: Options
) -> tuple[list[Pair], list[InputError]]:
    """The cases of every so many-th patient, so that both sides of a person are in one shard.

    Args:
        pairs: All cases.
        faults: Of cases that cannot be read; the first shard reports them.
        options: The command's options, with ``shard``.

    Raises:
        SettingError: If there are fewer patients than shards, and none is left for this one.
    """
    assert options.shard is not None  # noqa: S101 - whoever asks has looked
    part, parts = options.shard
    cases = [one.case for one, _ in pairs]
    patients = patients_of(cases, options.patient_pattern, options.patients) or cases
    names = list(dict.fromkeys(patients))
    chosen = {*names[part - 1 :: parts]}
    if not chosen:
        raise SettingError(
            f"--shard: {part}/{parts} is of none of {counted(len(names), 'patient')}; give fewer shards"
        )
    kept = [one for one, patient in zip(pairs, patients, strict=True) if patient in chosen]
    return kept, faults if part == 1 else []


def known_by(options: Options) -> str:
    """How a command knows the patients of its cases, as ``calibrator.json`` says it."""
    if options.patients is not None:
        return BY_TABLE
    return BY_CASE if options.patient_pattern is None else BY_PATTERN


def check_calibrator(
    file: Path,
    calibrator: Calibrator,
    channels: Channels,
    cases: Sequence[str],
    options: Options,
) -> None:
    """Refuses predictions that a calibrator cannot calibrate, or that cannot test it.

    Nobody is tested on what was fitted to them, so both must know the patients in one way: a fit with a
    table needs a table of these cases, a table must not contradict the pattern of the fit, and where the
    fit knew nobody, it must have the patients of its cases, too. Patterns are applied to the cases of
    both.

    Args:
        file: The calibrator's file.
        calibrator: What it says.
        channels: The channels of the predictions.
        cases: Their names.
        options: The command's, which say whose the cases are.

    Raises:
        InputError: If the channels are others, nobody knows whether the patients are, or it was fitted
            on one of them or of the cases.
    """
    if not calibrator.channels:
        raise InputError(
            f"{file}: is a calibrator of a run, not of saved predictions; give one that calibrate "
            "fitted to saved predictions"
        )
    if (calibrator.activation, [*calibrator.channels]) != (channels.activation, channels.names):
        raise InputError(
            f"{file}: was fitted to {', '.join(calibrator.channels)} by {calibrator.activation}, but "
            f"these are {', '.join(channels.names)} by {channels.activation}; give this model's "
            "calibrator"
        )
    pattern, table = options.patient_pattern, options.patients
    patients = patients_of(cases, pattern, table)
    names, fitted = {*cases, *patients}, {*calibrator.patients, *calibrator.cases}
    if table is None:
        if calibrator.known_by == BY_TABLE:
            raise InputError(
                f"{file}: was fitted to patients whom a table names, and nothing says so whether these "
                "are others; give the table with --patients"
            )
        names |= {*_by_pattern(cases, calibrator.patient_pattern).values()}
        fitted |= {*_by_pattern(calibrator.cases, pattern).values()}
    elif calibrator.known_by == BY_CASE:
        fitted |= {*patients_of(calibrator.cases, None, table)}
    else:
        table_says = dict(zip(cases, patients, strict=True))
        for case, patient in _by_pattern(cases, calibrator.patient_pattern).items():
            if patient != table_says[case]:
                raise InputError(
                    f"{table}: {case} is of {table_says[case]!r}, but of {patient!r} by the pattern of "
                    f"{file.name}; give --patient-pattern {calibrator.patient_pattern!r}, or fit with "
                    "the table"
                )
    seen = sorted(names & fitted)
    if seen:
        raise InputError(
            f"{file}: was fitted on {seen[0]}, who cannot test it; give predictions of others"
        )


def _by_pattern(cases: Collection[str], pattern: str | None) -> dict[str, str]:
    """The patients of the cases that a pattern fits; it need not fit the other's names."""
    found = {case: re.search(pattern, case) for case in cases if pattern is not None}
    return {case: match[1] for case, match in found.items() if match}


def through(found: Found, modules: Mapping[str, nn.Module], record: Mapping[str, Any]) -> Found:
    """The same predictions, read through calibrators.

    Args:
        found: From `find`.
        modules: Case → from logits to logits.
        record: What ``evaluation.json`` says of them.
    """
    read = Calibrated(found.layout.read, found.settings.channels, modules)
    return replace(found, layout=replace(found.layout, read=read), calibrated=record)


def _channels(
    folder: Path,
    labels: Sequence[Path],
    layout: Layout,
    predictions: Sequence[Prediction],
    options: Options,
) -> Channels:
    """What the channels mean, by the first ``dataset.json`` that is there, or else by their number."""
    if options.dataset and not options.dataset.is_file():
        raise InputError(f"{options.dataset}: no such file; correct --dataset")
    activation = options.activation
    dataset = options.dataset or layout.dataset(folder) or _beside_labels(labels, activation)
    channels = read_dataset(dataset, activation) if dataset else None
    if options.structures:
        return with_structures(channels, options.structures, activation)
    return channels or numbered(_count(layout, predictions), activation, folder / ITK_SNAP)


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
    for one in predictions:
        try:
            return len(layout.read(one).voxels)
        except InputError as fault:
            faults.append(fault)
    raise faults[0]


def measured_cases(
    found: Found,
    apply: Callable[..., Iterable[Any]] = map,
    keep: Callable[[str, Measured], Measured] = lambda _, measured: measured,
    nifti: Path | None = None,
) -> tuple[list[str], list[list[Measured]], list[InputError]]:
    """Reads and measures case by case, one volume in memory at a time and process.

    Args:
        found: From `find`.
        apply: `map`, or that of `processes`.
        keep: Case and what was measured → what of it is returned.
        nifti: The folder of each case's maps as NIfTI files, if they are asked for.

    Returns:
        The names of the cases that could be measured, by name; their numbers, a list of all cases, or
        of several raters one against their share and then one against each; the faults of other cases.

    Raises:
        InputError: If the channels seem to be in another order, or a calibrator was fitted within
            another margin.
    """
    margin = found.calibrated.get("calibrator_margin")
    if margin not in (None, found.settings.margin):
        raise InputError(
            f"{found.options.calibrator}: was fitted within {margin:g} mm of predictions, not "
            f"{found.settings.margin:g} mm; give --margin {margin:g}"
        )
    one = partial(_measured, found=replace(found, pairs=()), nifti=nifti)
    names: list[str] = []
    numbers: list[list[Measured]] = []
    faults = list(found.faults)
    results = progress_bar(
        apply(one, found.pairs),
        description=f"Auditing {found.name}",
        unit="case",
        total=len(found.pairs),
    )
    dice: Any = 0
    for (prediction, _), result in zip(found.pairs, results, strict=True):
        if isinstance(result, InputError):
            faults.append(result)
        else:
            first, *against_each = result
            dice = dice + first.dice
            names.append(prediction.case)
            numbers.append([keep(prediction.case, replace(first, dice=None)), *against_each])
    if names and not found.options.channels_as_given:
        check_order(found.folder, dice / len(names), found.settings.channels)
    return names, [list(of_view) for of_view in zip(*numbers, strict=True)], faults


@contextmanager
def processes(jobs: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """Yields a function like `map` that shares the work among processes, as long as the block runs.

    Raises:
        InputError: If a process was killed.
    """
    if jobs < 2:
        yield map
        return
    # A process that is forked after torch has started threads may hang.
    context = multiprocessing.get_context("spawn")
    threads = max(1, torch.get_num_threads() // jobs)
    try:
        with ProcessPoolExecutor(jobs, context, torch.set_num_threads, (threads,)) as pool:
            yield pool.map
    except BrokenProcessPool as error:
        raise InputError(
            f"--jobs: one of {jobs} processes was killed, most likely for its memory; give fewer"
        ) from error


def _measured(pair: Pair, found: Found, nifti: Path | None) -> list[Measured] | InputError:
    """The numbers of a case; its fault, if it has one.

    With several raters they are those against their share, and then those against each.

    Raises:
        InputError: If a file of its maps cannot be written.
    """
    # Of MONAI's own deprecations.
    warnings.filterwarnings("ignore", category=FutureWarning, module="monai")
    prediction, label_maps = pair
    channels = found.settings.channels
    try:
        predicted, labels = read_case(pair, found)
        probs = torch.from_numpy(predicted.voxels)
        numbers = measured(prediction.case, probs, labels, found.settings, predicted.step)
        if predicted.pairwise_dice:
            alike = {"pairwise_dice": torch.tensor([predicted.pairwise_dice]).double()}
            columns = score_columns(alike, [*channels.structures])
            added = {name: float(value) for name, value in columns.items()}
            numbers = [replace(one, columns={**one.columns, **added}) for one in numbers]
        numbers[0] = replace(numbers[0], dice=channel_dice(probs, labels[0], channels))
    except InputError as fault:  # the metric knows no files
        where, _, what = str(fault).partition(": ")
        of_metric = where in ("probs", "labels")
        return InputError(f"{prediction.file}: {where} {what}") if of_metric else fault
    if nifti is not None:
        write_maps(nifti, prediction.case, predicted, labels[0], label_maps[0], channels)
    if found.options.pictures:
        shown = picture(predicted, majority(labels, channels), channels)
        numbers[0] = replace(numbers[0], picture=shown)
    return numbers


def read_case(pair: Pair, found: Found) -> tuple[Probabilities, list[Labels]]:
    """The probabilities of a case and its labels by each rater, checked, on one grid.

    Raises:
        InputError: If they cannot be read, are not what they should be, or do not fit each other.
    """
    prediction, files = pair
    predicted, channels = found.layout.read(prediction), found.settings.channels
    check_channels(prediction, predicted, channels)
    check_agreement(predicted, channels)
    tolerance = found.options.affine_tolerance
    labels = [read_labels(file, channels, predicted, tolerance) for file in files]
    if len(files) > 1:
        first, *others = (VoxelGrid(str(file), *read_grid(file)) for file in files)
        for grid in others:
            check_same_grid(grid, first, tolerance)
    return predicted, labels
