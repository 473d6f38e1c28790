"""A study: predictions of any tool, with label maps or without, read case by case in one loop."""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from nacl_monai.data.faults import check_same_grid
from nacl_monai.errors import InputError, SettingError
from nacl_monai.files import checksum
from nacl_monai.inference.promised import unlike_spacing
from nacl_monai.posthoc import Calibrator, NoRoomError, read_calibrator
from nacl_monai.predictions.channels import Channels
from nacl_monai.predictions.identity import check_unseen, known_by, salt_of
from nacl_monai.predictions.images import read_labels
from nacl_monai.predictions.layouts import Layout
from nacl_monai.predictions.options import Options
from nacl_monai.predictions.readers import (
    channel_dice,
    check_agreement,
    check_channels,
    check_order,
    highest_byte,
    warn_of_bytes,
    warn_of_voxels,
)
from nacl_monai.predictions.reading import Case, Memory, Reading
from nacl_monai.progress import progress_bar
from nacl_monai.tensors import keep_freed_memory
from nacl_monai.words import counted

Map = Callable[..., Iterable[Any]]
#: The processes of the blocks around, by their number.
_SHARED: dict[int, Map] = {}


@contextmanager
def processes(jobs: int) -> Iterator[Map]:
    """Yields a function like `map` that shares the work among processes, as long as the block runs.

    A block within another of as many processes has the same ones, which import all once.

    Raises:
        InputError: If a process was killed.
    """
    if jobs in _SHARED:
        yield _SHARED[jobs]
        return
    if jobs < 2:
        _start()
        yield map
        return
    # A process that is forked after torch has started threads may hang.
    context = multiprocessing.get_context("spawn")
    threads = max(1, torch.get_num_threads() // jobs)
    try:
        with ProcessPoolExecutor(jobs, context, _start, (threads,)) as pool:
            _SHARED[jobs] = pool.map
            yield pool.map
    except BrokenProcessPool as error:
        raise InputError(
            f"--jobs: one of {jobs} processes was killed, most likely for its memory; give fewer"
        ) from error
    finally:
        _SHARED.pop(jobs, None)


def _start(threads: int | None = None) -> None:
    """Prepares a process that reads volumes."""
    keep_freed_memory()
    if threads is not None:
        torch.set_num_threads(threads)


_T = TypeVar("_T")


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
        segmentation = predicted.segmentation
        predicted = replace(predicted, behind=self.behind, segmentation=None)
        check_channels(case.prediction, predicted, self.channels)
        check_agreement(predicted, segmentation, self.channels)
        tolerance = self.options.affine_tolerance
        labels = [read_labels(file, self.channels, predicted, tolerance) for file in case.labels]
        grids = [rater.grid for rater in labels if rater.grid]
        for grid in grids[1:]:
            check_same_grid(grid, grids[0], tolerance)
        return Reading(case, predicted, labels, self.channels, tolerance)

    def each(
        self,
        compute: Callable[[Reading], _T],
        faults: list[InputError],
        description: str = "Reading",
        jobs: int | None = None,
    ) -> Iterator[tuple[Case, _T]]:
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

    def behind_calibrator(self, calibrator: Calibrator | None = None, digest: str = "") -> Study:
        """The study behind the calibrator that its options name, if they name one.

        Args:
            calibrator: What that file will hold, if it is yet to have its place.
            digest: The checksum of this.

        Raises:
            InputError: If that is of other channels, or was fitted on a patient of the study.
        """
        file = self.options.calibrator
        if file is None:
            return self
        calibrator = calibrator or read_calibrator(file)
        check_unseen(file, calibrator, self)
        assert calibrator.fit is not None  # noqa: S101 - one of predictions has a fit
        modules = dict.fromkeys(self.patients, calibrator.fit.module)
        record = {
            "calibrator": calibrator.name,
            "calibrator_checksum": digest or checksum(file),
            "calibrator_margin": calibrator.margin,
        }
        sizes = calibrator.spacing if calibrator.fit.sees_distance else ()
        return replace(self.through(modules, record), sizes=sizes)


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
