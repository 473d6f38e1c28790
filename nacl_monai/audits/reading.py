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

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from nacl_monai.audits.channels import Channels, numbered, read_dataset, with_structures
from nacl_monai.audits.images import Pair, Prediction, Probabilities, read_grid, read_image
from nacl_monai.audits.labels import (
    Folders,
    Labels,
    by_name,
    label_files,
    pair,
    read_labels,
    turned,
)
from nacl_monai.audits.layouts import (
    Layout,
    check_one_layout,
    count_files,
    in_order,
    labels_instead,
    recognized,
)
from nacl_monai.audits.measuring import (
    Measured,
    Settings,
    channel_dice,
    check_order,
    measured,
    pairwise_dice,
    predicted_masks,
)
from nacl_monai.audits.names import Names
from nacl_monai.audits.options import LOGITS, Options
from nacl_monai.audits.pictures import majority, picture, write_maps
from nacl_monai.counting import counted
from nacl_monai.data.faults import VoxelGrid, check_affine, check_same_grid
from nacl_monai.data.patients import patients_of
from nacl_monai.errors import InputError, SettingError
from nacl_monai.files import checksum
from nacl_monai.inference.maps import ITK_SNAP
from nacl_monai.metrics.columns import score_columns
from nacl_monai.metrics.record import listed
from nacl_monai.metrics.voxels import dequantized
from nacl_monai.posthoc import OUTPUTS, Calibrator, read_calibrator
from nacl_monai.posthoc.file import BY_CASE, BY_PATTERN, BY_TABLE
from nacl_monai.progress import progress_bar
from nacl_monai.tensors import sum_tolerance

_PERCENT = 100
#: So large a share of the foreground may have another most probable class than the segmentation.
_UNLIKE = 0.01


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


def named(predictions: Iterable[Prediction], names: Names) -> list[Prediction]:
    """The predictions under the names of their cases; without those that have none."""
    cases = ((names.of_prediction(one.case), one) for one in predictions)
    return [replace(one, case=case) for case, one in cases if case is not None]


def read_as_asked(
    folder: Path,
    layout: Layout,
    predictions: Sequence[Prediction],
    channels: Channels,
    options: Options,
    stems: Collection[str],
) -> Layout:
    """The layout, read as options say: saved logits as probabilities, several folders as one model.

    Args:
        folder: The first folder.
        layout: Its layout.
        predictions: Its cases.
        channels: What the channels mean.
        options: The command's.
        stems: Names of cases, as `recognized` takes them.

    Raises:
        InputError: If a member has other cases or channels.
    """
    layout = _of_logits(layout, channels, options)
    if not options.members:
        return layout
    cases = {one.case for one in predictions}
    members: list[Member] = [(layout.read, {one.case: one for one in predictions})]
    for place in options.members:
        its_layout, given = recognized(place, stems)
        its_cases = {one.case: one for one in named(given, options.names)}
        if unlike := sorted(cases ^ its_cases.keys()):
            raise InputError(
                f"{place}: {listed(unlike, most=3)}: only here or only in {folder}; an ensemble takes "
                "the same cases of every member"
            )
        dataset = None if options.dataset else its_layout.dataset(place)
        its_channels = channels if dataset is None else read_dataset(dataset, options.activation)
        if dataset is not None and options.structures:
            its_channels = with_structures(its_channels, options.structures, options.activation)
        check_one_layout(place, given, its_channels)
        ours, theirs = ((one.activation, *one.values.items()) for one in (channels, its_channels))
        if ours != theirs:
            raise InputError(
                f"{place}: is of {', '.join(its_channels.names)}, but {folder} of "
                f"{', '.join(channels.names)}; an ensemble takes the same channels of every member"
            )
        members.append((_of_logits(its_layout, channels, options).read, its_cases))
    return replace(layout, read=Ensemble(members, channels, options.ensemble == LOGITS))


def _of_logits(layout: Layout, channels: Channels, options: Options) -> Layout:
    if not options.from_logits:
        return layout
    read = partial(activated, read=layout.read, activation=channels.activation)
    return replace(layout, read=read)


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


def activated(
    prediction: Prediction, read: Callable[[Prediction], Probabilities], activation: str
) -> Probabilities:
    """The probabilities of saved logits.

    Raises:
        InputError: If nothing is beyond 0 and 1, as in probabilities.
    """
    predicted = read(prediction)
    logits = torch.from_numpy(predicted.voxels).float()
    if logits.min() >= 0 and logits.max() <= 1:
        raise InputError(
            f"{prediction.file}: reaches from 0 to 1 at most, as probabilities do; leave out "
            "--from-logits"
        )
    probs = OUTPUTS[activation].probs_of(logits).numpy()
    return replace(predicted, voxels=probs, whole=False, step=None)


def through(found: Found, modules: Mapping[str, nn.Module], record: Mapping[str, Any]) -> Found:
    """The same predictions, read through calibrators.

    Args:
        found: From `find`.
        modules: Case → from logits to logits.
        record: What ``evaluation.json`` says of them.
    """
    read = Calibrated(found.layout.read, found.settings.channels, modules)
    return replace(found, layout=replace(found.layout, read=read), calibrated=record)


@dataclass(frozen=True)
class Calibrated:
    """Reads predictions through calibrators: what was saved is checked, then calibrated.

    Attributes:
        read: The layout's function.
        channels: What the channels mean.
        modules: Case → from logits to logits.
    """

    read: Callable[[Prediction], Probabilities]
    channels: Channels
    modules: Mapping[str, nn.Module]

    def __call__(self, prediction: Prediction) -> Probabilities:
        """The calibrated probabilities of a case.

        Raises:
            InputError: If those that were saved cannot be read, or are not what they should be.
        """
        predicted = self.read(prediction)
        check_channels(prediction, predicted, self.channels)
        check_agreement(predicted, self.channels)
        outputs = OUTPUTS[self.channels.activation]
        logits = outputs.logits_of(torch.from_numpy(predicted.voxels), predicted.step)
        with torch.no_grad():
            probs = outputs.probs_of(self.modules[prediction.case](logits[None])[0])
        # The segmentation beside it is of the probabilities that were saved.
        voxels = probs.numpy()
        return replace(predicted, voxels=voxels, whole=False, segmentation=None, step=None)


#: How a member of an ensemble is read, and its cases by name.
Member = tuple[Callable[[Prediction], Probabilities], Mapping[str, Prediction]]


@dataclass(frozen=True)
class Ensemble:
    r"""Reads several predictions of a case as one: each is checked, then all are averaged.

    The mean of probabilities is :math:`\frac{1}{M} \sum_m p_m`; that of logits, as nnU-Net has it, is
    :math:`\mathrm{softmax}(\frac{1}{M} \sum_m \log p_m)`, since what a softmax forgets of the logits is
    forgotten by the softmax of their mean, too.

    Attributes:
        members: Each one's function and cases.
        channels: What the channels mean.
        logits: Whether the mean is of logits.
    """

    members: Sequence[Member]
    channels: Channels
    logits: bool

    def __call__(self, prediction: Prediction) -> Probabilities:
        """The mean probabilities of a case.

        Raises:
            InputError: If one cannot be read, is not what it should be, or is on another grid.
        """
        outputs, total = OUTPUTS[self.channels.activation], torch.zeros(())
        first: Probabilities | None = None
        masks = []
        for read, cases in self.members:
            of_member = in_order(cases[prediction.case], self.channels)
            predicted = read(of_member)
            check_channels(of_member, predicted, self.channels)
            check_agreement(predicted, self.channels)
            first = first or predicted
            if not _on_one_grid(predicted, first):
                raise InputError(
                    f"{predicted.file}: is on another grid than {first.file}; predict the case again"
                )
            probs = torch.from_numpy(predicted.voxels)
            masks += [predicted_masks(probs, self.channels)]
            inside = dequantized(probs[None])[0][0].float()
            total = total + (outputs.logits_of(probs, predicted.step) if self.logits else inside)
        mean = total / len(masks)
        if self.logits:
            mean = outputs.probs_of(mean)
        elif not self.channels.overlapping:
            mean = mean / mean.sum(0)  # what storage rounded
        assert first is not None  # noqa: S101 - there are two members or more
        return replace(
            first,
            voxels=mean.numpy(),
            whole=False,
            segmentation=None,
            step=None,
            pairwise_dice=pairwise_dice(masks),
        )


def _on_one_grid(one: Probabilities, other: Probabilities) -> bool:
    """Whether two predictions have the same shape, and are in the same place where a file says so."""
    alike = one.voxels.shape == other.voxels.shape and one.turned == other.turned
    if one.affine is None or other.affine is None:
        return alike
    return alike and bool(np.allclose(one.affine, other.affine, atol=1e-3))


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


def check_channels(prediction: Prediction, predicted: Probabilities, channels: Channels) -> None:
    """Refuses what the metric would refuse less plainly, before the label is read.

    Raises:
        InputError: If there are other channels than the classes, label maps, logits, or sums that only
            a sigmoid has.
    """
    file, voxels = prediction.file, predicted.voxels
    if (predicted.whole and _are_labels(voxels, channels)) or _are_masks(voxels):
        raise labels_instead(file)
    if len(voxels) != len(channels.values):
        raise InputError(
            f"{file}: has {len(voxels)} channels, but there are {channels.describe()}: "
            f"{', '.join(channels.names)}; give the dataset.json of these predictions with --dataset"
        )
    _check_range(file, voxels, channels)
    if not channels.overlapping:
        _check_sums(file, voxels)


def _are_labels(voxels: npt.NDArray[Any], channels: Channels) -> bool:
    """Whether nothing is above 1; but in bytes, structures that are nowhere have the probability 0."""
    nowhere = channels.overlapping and voxels.dtype == np.uint8 and not voxels.any()
    return bool(voxels.max(initial=0) <= 1) and not nowhere


def _are_masks(voxels: npt.NDArray[Any]) -> bool:
    """Whether nothing is between 0 and 1, and a channel has both: no network draws such a boundary."""
    one = 255 if voxels.dtype == np.uint8 else 1
    planes = (plane for channel in voxels for plane in channel)
    if not all(((plane == 0) | (plane == one)).all() for plane in planes):  # mostly by the first
        return False
    return any((channel == 0).any() and (channel == one).any() for channel in voxels)


def _check_range(file: Path, voxels: npt.NDArray[Any], channels: Channels) -> None:
    low, high = float(voxels.min()), float(voxels.max())
    if np.isnan(low):
        raise InputError(f"{file}: holds NaN; predict the case again, or leave it out")
    # As far as the metric takes it: a calibrator is fitted to what can be audited.
    over = 0 if channels.overlapping else sum_tolerance(torch.from_numpy(voxels).dtype)
    if high == _PERCENT and voxels.dtype == np.uint8:
        ends, below = ((voxels == most).sum() for most in (_PERCENT, _PERCENT - 1))
        if ends > below:  # an end of the scale, and no peak
            raise _percent(file)
    if voxels.dtype != np.uint8 and not 0 <= low <= high <= 1 + over:
        raise InputError(
            f"{file}: reaches from {low:.4g} to {high:.6g}, beyond 0 and 1, as logits do; save "
            f"probabilities, after {channels.activation}"
        )


def _percent(file: Path) -> InputError:
    return InputError(
        f"{file}: reaches to 100, as percent do, but whole numbers are taken for 255ths; save "
        "probabilities from 0 to 1"
    )


def _check_sums(file: Path, voxels: npt.NDArray[Any]) -> None:
    probs, tolerance = dequantized(torch.from_numpy(voxels)[None])
    off = float((probs.sum(1, dtype=torch.float32) - 1).abs().max())
    if off > (tolerance or sum_tolerance(probs.dtype)):
        sums = voxels.sum(0, dtype=np.int64) if voxels.dtype == np.uint8 else np.zeros(1)
        if np.abs(sums - _PERCENT).max() <= len(voxels):  # each is rounded by itself
            raise _percent(file)
        raise InputError(
            f"{file}: the sum over a voxel's classes is off 1 by {off:.4g}; if each channel is a "
            "structure of its own, say --activation sigmoid"
        )


def check_agreement(predicted: Probabilities, channels: Channels) -> None:
    """Compares what the probabilities say with the segmentation beside them, if there is one.

    They differ where one of both is of another prediction, or where the axes were turned unseen. What
    the stored precision cannot tell apart agrees with either. The background that both agree on counts
    for nothing: it would hide a lesion. Structures that overlap are painted over each other in the order
    that ``dataset.json`` has, and are not compared without one.

    Args:
        predicted: The probabilities.
        channels: What they mean.

    Raises:
        InputError: If more than one in a hundred of the voxels in which either has a foreground differ.
    """
    file = predicted.segmentation
    if file is None or (channels.overlapping and not channels.painted):
        return
    image = read_image(file)
    check_affine(str(file), image.affine)
    voxels = turned(image.voxels, image.affine) if predicted.turned else image.voxels
    if voxels.shape != predicted.voxels.shape[1:]:
        raise InputError(f"{predicted.file}: has another shape than {file}; predict the case again")
    says = _painted if channels.overlapping else _most_probable
    shown, unlike = says(predicted.voxels, voxels, channels)
    share = unlike.sum() / max(1, np.count_nonzero((shown != 0) | (voxels != 0)))
    if share > _UNLIKE:
        raise InputError(
            f"{predicted.file}: its most probable classes are not those of {file} in {share:.1%} of the "
            "foreground; predict the case again, or move the segmentation away"
        )


def _most_probable(
    probs: npt.NDArray[Any], segmentation: npt.NDArray[Any], channels: Channels
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """The label values of the most probable classes, and where the segmentation has none of these."""
    values = np.array([of[0] for of in channels.values.values()])
    largest, classes = (one.numpy() for one in torch.from_numpy(probs).max(0))
    unlike = values[classes] != segmentation
    for value, plane in zip(values, probs, strict=True):
        unlike &= (segmentation != value) | (largest - plane > _step(probs.dtype))
    return values[classes], unlike


def _painted(
    probs: npt.NDArray[Any], segmentation: npt.NDArray[Any], channels: Channels
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """The structures above one half, painted over each other, and where the segmentation is unlike."""
    half = 127.5 if probs.dtype == np.uint8 else 0.5
    shown, unsure = np.zeros(segmentation.shape, np.int64), np.zeros(segmentation.shape, np.bool_)
    for value, plane in zip(channels.painted, probs, strict=True):
        shown[plane > half] = value
        unsure |= np.abs(plane - half) <= _step(probs.dtype)
    return shown, (shown != segmentation) & ~unsure


def _step(dtype: np.dtype[Any]) -> float:
    """How far apart two equal probabilities may be stored."""
    return float(np.finfo(dtype).eps) if dtype.kind == "f" else 1.0
