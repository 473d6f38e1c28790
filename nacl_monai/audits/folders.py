"""A folder of predictions and one of labels, or several → the numbers of every case."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nacl_monai.audits.calibrator import Calibrated, read_calibrator
from nacl_monai.audits.channels import Channels, numbered, read_dataset, with_structures
from nacl_monai.audits.class_files import all_in_order, count_files
from nacl_monai.audits.labels import label_files
from nacl_monai.audits.layouts import Layout, recognized
from nacl_monai.audits.measuring import Extras, Measured, Settings
from nacl_monai.audits.options import Options
from nacl_monai.audits.raters import Folders, Pair, by_name, pair_with_all
from nacl_monai.audits.reading import measured_files
from nacl_monai.audits.saved import Prediction, Probabilities
from nacl_monai.errors import InputError
from nacl_monai.progress import progress_bar


@dataclass(frozen=True)
class Found:
    """What is to be audited.

    Attributes:
        folder: The folder of the predictions.
        name: The model's name in tables and diagrams.
        layout: The layout that was recognized.
        settings: With what the channels mean.
        pairs: The cases, by name, with their label map by each rater.
        labeled: Number of label maps.
        faults: The faults of cases that have no partner.
        calibrated: What ``evaluation.json`` says of a calibrator behind the predictions.
    """

    folder: Path
    name: str
    layout: Layout
    settings: Settings
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
    files = [label_files(place) for place in places.values()]
    labeled = set[str]().union(*files)
    layout, predictions = recognized(folder, labeled)
    pairs, faults = pair_with_all(predictions, files, folder)
    pairs.sort(key=lambda one: one[0].case)
    dataset = (
        options.dataset
        or layout.dataset(folder)
        or _beside_labels([*places.values()], options.activation)
    )
    channels = _channels(dataset, layout, [one for one, _ in pairs], options)
    ordered, misnamed = all_in_order(pairs, channels)
    settings = Settings(
        channels,
        tuple(dict.fromkeys(("foreground", *options.regions))),
        options.num_bins,
        options.affine_tolerance,
        tuple(places) if len(places) > 1 else (),
    )
    faults += misnamed
    found = Found(
        folder, name or folder.resolve().name, layout, settings, ordered, len(labeled), faults
    )
    return _calibrated(found, options)


def _calibrated(found: Found, options: Options) -> Found:
    """The same predictions, through the calibrator that the command names, if it names one."""
    if options.calibrator is None:
        return found
    calibrator = read_calibrator(options.calibrator)
    cases = [one.case for one, _ in found.pairs]
    calibrator.check(found.settings.channels, cases, options.patient_pattern, options.patients)
    return through(found, dict.fromkeys(cases, calibrator.module), calibrator.as_record())


def through(found: Found, modules: Mapping[str, nn.Module], record: Mapping[str, Any]) -> Found:
    """The same predictions, read through calibrators.

    Args:
        found: From `find`.
        modules: Case → from logits to logits.
        record: What ``evaluation.json`` says of them.
    """
    read = Calibrated(found.layout.read, found.settings.channels, modules)
    return replace(found, layout=replace(found.layout, read=read), calibrated=record)


def _beside_labels(folders: Sequence[Path], activation: str | None) -> Path | None:
    """The ``dataset.json`` above the label maps, which must say the same for all raters."""
    files = dict.fromkeys(folder.resolve().parent / "dataset.json" for folder in folders)
    found = [file for file in files if file.is_file()]
    for file in found[1:]:
        first = read_dataset(found[0], activation)
        if read_dataset(file, activation) != replace(first, source=str(file)):
            raise InputError(f"{file}: has other labels than {found[0]}; say which with --dataset")
    return next(iter(found), None)


def _channels(
    dataset: Path | None, layout: Layout, predictions: Sequence[Prediction], options: Options
) -> Channels:
    if options.dataset and not options.dataset.is_file():
        raise InputError(f"{options.dataset}: no such file; correct --dataset")
    channels = read_dataset(dataset, options.activation) if dataset else None
    if options.structures:
        return with_structures(channels, options.structures, options.activation)
    return channels or numbered(_count(layout, predictions), options.activation)


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
    extras: Extras = Extras(),  # noqa: B008 - it cannot change
    keep: Callable[[str, Measured], Measured] = lambda _, measured: measured,
) -> tuple[list[str], list[list[Measured]], list[InputError]]:
    """Reads and measures case by case, one volume in memory at a time and process.

    Args:
        found: From `find`.
        apply: `map`, or that of `processes`.
        extras: What is made of each case besides.
        keep: Case and what was measured → what of it is returned.

    Returns:
        The names of the cases that could be measured, by name; their numbers, a list of all cases, or
        of several raters one against their share and then one against each; the faults of other cases.

    Raises:
        InputError: If a file cannot be written.
    """
    one = partial(_measured, read=found.layout.read, settings=found.settings, extras=extras)
    names: list[str] = []
    numbers: list[list[Measured]] = []
    faults = list(found.faults)
    results = progress_bar(
        apply(one, found.pairs),
        description=f"Auditing {found.name}",
        unit="case",
        total=len(found.pairs),
    )
    for (prediction, _), result in zip(found.pairs, results, strict=True):
        if isinstance(result, InputError):
            faults.append(result)
        else:
            first, *against_each = result
            names.append(prediction.case)
            numbers.append([keep(prediction.case, first), *against_each])
    return names, [list(of_view) for of_view in zip(*numbers, strict=True)], faults


def _measured(
    one: Pair,
    read: Callable[[Prediction], Probabilities],
    settings: Settings,
    extras: Extras,
) -> list[Measured] | InputError:
    return measured_files(*one, read, settings, extras)


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
