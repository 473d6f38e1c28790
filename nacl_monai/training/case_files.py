"""The names of an evaluator's cases, their measurements, and the files that keep them.

Handlers for an evaluator of MONAI or Ignite: `CalibrationError` measures; `Audited` writes the files of
an audit after the last case, and `ReliabilityPlot` a picture.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.handlers import IgniteMetricHandler
from monai.utils.enums import CommonKeys

from nacl_monai.audits.measuring import curve_of, picture
from nacl_monai.errors import InputError
from nacl_monai.evaluations.evaluation_files import write_numbers
from nacl_monai.evaluations.slices import write_slice
from nacl_monai.evaluations.tables import leading_text
from nacl_monai.inference.promised import Array
from nacl_monai.inference.records import BY_DATASET
from nacl_monai.metrics import DEFAULT_ERRORS, CalibrationMetric
from nacl_monai.metrics.columns import score_columns
from nacl_monai.metrics.curves import CURVES_FILE, joined_curves
from nacl_monai.metrics.record import Measurement
from nacl_monai.metrics.regions import Region, case_spacings
from nacl_monai.predictions.arrays import ArrayReading, array_reading
from nacl_monai.predictions.channels import Channels
from nacl_monai.predictions.options import SIGMOID, SOFTMAX
from nacl_monai.predictions.reading import Reading
from nacl_monai.runs import EvaluationFolder
from nacl_monai.training.evaluation_record import EvaluationRecord
from nacl_monai.training.outputs import (
    batch_entries,
    batch_files,
    case_names,
    case_outputs,
    label_of,
    probabilities_and_labels,
    probabilities_of,
)
from nacl_monai.training.processes import joined
from nacl_monai.training.run_record import trackers
from nacl_monai.words import counted, with_settings_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class CalibrationError(IgniteMetricHandler):
    """ECE, CECE and other calibration errors of whole cases, for an evaluator of MONAI or Ignite.

    At the end of a run ``engine.state.metrics`` holds ``ece_<region>`` and ``cece_<region>`` (paper,
    equations 10 and 11; mean over cases), their pooled values and more, for every region: the keys
    of `nacl_monai.metrics.CalibrationMetric.aggregate`. The bins remain in ``metric_fn``, from which
    `Audited` writes them.

    Args:
        num_bins: Equal bins ``(lo, hi]`` of [0, 1]; the paper uses 15.
        errors: Names of the errors, as `CalibrationMetric` takes them; by default all that it measures
            unless asked for others.
        regions: Names in `nacl_monai.metrics.REGIONS`, or a mapping that adds functions of your own, as
            `CalibrationMetric` takes it.
        output_transform: Picks probabilities and labels from ``engine.state.output``. By default these
            are under ``probabilities``, or else under ``pred``, and under ``label``; the label may be
            one-hot.
        **settings: Further ones of `CalibrationMetric`, of one rater.

    Raises:
        InputError: If an error or a region is unknown; while the evaluator runs, if ``pred`` holds
            labels and no probabilities.
    """

    metric_fn: CalibrationMetric

    @with_settings_of(Measurement, "num_raters", "rater")
    def __init__(
        self,
        num_bins: int = 15,
        errors: Sequence[str] = DEFAULT_ERRORS,
        regions: Sequence[str] | Mapping[str, Region | None] = ("foreground",),
        *,
        output_transform: Callable[[Any], Any] = probabilities_and_labels,
        **settings: Any,
    ) -> None:
        metric = CalibrationMetric(num_bins, errors, regions, **settings)
        super().__init__(metric_fn=metric, output_transform=output_transform, save_details=False)


class CaseHandler(ABC):
    """Collects the names of an evaluator's cases and writes once, after the last one.

    The name of a case is what its batch has under ``case``. Without that key it is that of the file of
    the image, or is a number where nobody knows the file: see `case_names`. The patient, whom reports
    take as the unit of statistics, is what the batch has under ``patient``.

    Attach it after the metrics that it reads. Under several processes, names are gathered in the
    order in which MONAI gathers its metrics, that of the ranks, and only rank 0 writes.
    """

    def attach(self, engine: Engine) -> None:
        """Registers the handler with ``engine``, an evaluator of MONAI."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish)

    @abstractmethod
    def write(self, engine: Engine, cases: list[str], patients: list[str]) -> None:
        """Writes what ``engine`` measured.

        Args:
            engine: The evaluator, after its last case.
            cases: Names, in the order of the metrics' cases.
            patients: Names in the same order; empty if unknown.
        """

    def _start(self) -> None:
        self._cases: list[str] = []
        self._files: list[str] = []
        self._patients: list[str] = []

    def _collect(self, engine: Engine) -> None:
        named = batch_entries(engine, "case")
        self._cases += named
        self._files += [] if named else batch_files(engine)
        self._patients += batch_entries(engine, "patient")

    def _finish(self, engine: Engine) -> None:
        cases, files, patients = map(joined, (self._cases, self._files, self._patients))
        if idist.get_rank() == 0:
            self.write(engine, cases or case_names(files), patients)


#: The tool of the predictions, in the definition of a promise's sums.
_EVALUATOR = "evaluator"


@dataclass(eq=False)
class Audited(CaseHandler):
    """Writes what an audit of the evaluator's predictions writes, and prints the summary.

    ``cases.csv`` has one row per case: ``case``, and ``patient`` where it is known; each metric of
    each structure, ``<metric>_<structure>``, and its mean over the structures that are present,
    ``<metric>``; each calibration error over each region, ``<error>_<region>``. An undefined value
    (an absent structure, an empty region) is an empty field.
    ``summary.json`` holds the mean, the standard deviation and the number of defined values of every
    column, and ``bins.npz`` the exact bin sums of every case, from which all calibration follows.
    ``promise.npz`` is what `nacl-monai promise` makes promises from without the images; where the
    calibration metric measures margins in voxels, no size in mm is known, and it says so.

    ``maps/<case>.npz`` is the slice with most foreground in the label, which is the same for all
    methods. Arrays: ``image`` float32 (first channel), ``label`` and ``prediction`` uint8,
    ``confidence`` float32 (the largest probability), ``entropy`` float32 (``−Σ p ln p / ln C``, from 0,
    certain, to 1, equal probabilities), each ``(rows, columns)`` as one looks at it: where an axis pair
    runs right and anterior, anterior is up; ``slice``, its position; ``classes`` (C,), their names. For
    structures that overlap, see `case_slice`. Voxels to be ignored are shown as background.

    Structures, ignored label and size of voxels are those of the calibration metric.

    Args:
        output_dir: Folder of the files.
        classes: Names of all classes, background first; of structures that may overlap, the names are
            the metric's.
        calibration: The evaluator's calibration metric.
        dataset: Name of the dataset, for the summary.
        metrics: Names of further metrics, of the structures of the calibration metric's decisions, as in
            ``engine.state.metric_details``.
        calibrator: Name of what is behind the network; None without.
        record: The source of the evaluation's weights, run and set of the split; None if unknown.

    Raises:
        InputError: While the evaluator runs, if there are no probabilities, or other channels; in the
            end, if it has no such metric, or one of other structures.
    """

    output_dir: str | Path
    classes: Sequence[str]
    calibration: CalibrationError
    dataset: str
    metrics: Sequence[str] = ()
    calibrator: str | None = None
    record: EvaluationRecord | None = None

    def write(self, engine: Engine, cases: list[str], patients: list[str]) -> None:
        """Writes the files; see the class."""
        metric, folder = self.calibration.metric_fn, EvaluationFolder(Path(self.output_dir))
        behind = [self.calibrator] if self.calibrator else []
        scores = {name: self._score(engine, name) for name in self.metrics}
        columns = score_columns(scores, metric.decided) | metric.columns()
        record = metric.record(cases, self.classes, patients, calibrator=behind)
        table = write_numbers(folder, self.dataset, record, columns)
        curves = [curve for _, curve in self._kept if curve]
        if curves:
            definition = self._definition(behind)
            joined_curves(cases, curves, patients, definition).write(folder.path / CURVES_FILE)
        else:
            print(
                f"no {CURVES_FILE}: nothing says how large voxels are; give margin_spacing: pixdim"
            )
        self._name_slices(folder, cases)
        names = ("dice", "hd95", "ece_foreground", "cece_foreground")
        means = ", ".join(f"{name} {table[name].mean():.4f}" for name in names if name in table)
        print(f"{counted(len(table), 'case')}, mean over cases: {means}")
        if led := leading_text(record.pooled_numbers):
            print(f"all cases together [95% interval over patients]: {led}")

    def _name_slices(self, folder: EvaluationFolder, cases: Sequence[str]) -> None:
        for case, (arrays, _) in zip(cases, self._kept, strict=True):
            if isinstance(arrays, Path):
                arrays.replace(folder.map_of(case))
            else:
                write_slice(folder.map_of(case), arrays)

    def _score(self, engine: Engine, metric: str) -> torch.Tensor:
        """The values of a metric for every case, ``(cases, structures)``."""
        details: dict[str, torch.Tensor] = getattr(engine.state, "metric_details", {})
        structures = self.calibration.metric_fn.decided
        if metric not in details:
            raise InputError(
                f"Audited: the evaluator has no metric {metric!r} with details; attach it under this "
                f"name, or choose from {', '.join(details) or 'none'}"
            )
        columns = details[metric].shape[1]
        if columns != len(structures):
            raise InputError(
                f"Audited: {metric!r} is of {columns} structures, but the decisions of the calibration "
                f"metric are on {len(structures)} ({', '.join(structures)}); give both the same ones"
            )
        return details[metric]

    def _channels(self) -> Channels:
        what = self.calibration.metric_fn.measurement
        values = {
            name: (k,)
            for k, name in enumerate(what.structures or self.classes, bool(what.structures))
        }
        if what.structures:
            return Channels(SIGMOID, values, what.ignore_index)
        scored = {name: tuple(classes) for name, classes in (what.decisions or {}).items()}
        return Channels(SOFTMAX, values, what.ignore_index, scored=scored)

    def _definition(self, behind: Sequence[str]) -> dict[str, Any]:
        identity = dict[str, Any]()
        if self.record is not None:
            run = self.record.files["weights"].absolute().parent.name
            weights = self.record.record.get("weights")
            identity = {"weights": weights, "split": self.record.set, "run": run}
        return self._channels().definition(_EVALUATOR, behind, **identity, known_by=BY_DATASET)

    def _start(self) -> None:
        super()._start()
        self._kept: list[tuple[Path | dict[str, Any], dict[str, Array] | None]] = []

    def _collect(self, engine: Engine) -> None:
        """Takes what is kept of each case of a batch.

        Slices are written under numbers, since names are known only in the end. Processes other than
        the first keep theirs, which that one writes.
        """
        super()._collect(engine)
        for output in case_outputs(engine.state.output):
            reading = self._reading(output)
            sized = self.calibration.metric_fn.measurement.margin_spacing is not None
            curve = curve_of(reading) if sized else None
            arrays: Any = picture(_shown(reading), output.get(CommonKeys.IMAGE))
            if idist.get_rank() == 0:
                file = EvaluationFolder(Path(self.output_dir)).map_of(f".{len(self._kept)}")
                write_slice(file, arrays)
                arrays = file
            self._kept.append((arrays, curve))

    def _reading(self, output: Mapping[str, Any]) -> ArrayReading:
        what, probs, label = (
            self.calibration.metric_fn.measurement,
            probabilities_of(output),
            label_of(output),
        )
        (sizes,) = case_spacings(what.margin_spacing, 1, probs.ndim - 1, label)
        how = self._channels(), sizes, what.from_logits
        return array_reading("", probs.cpu(), [label.cpu()], [None], *how)

    def _finish(self, engine: Engine) -> None:
        self._kept = joined(self._kept)
        super()._finish(engine)


def _shown(reading: ArrayReading) -> Reading:
    """A case whose ignored voxels are background."""
    (labels,) = reading.labels
    if labels.mask is None:
        return reading
    return replace(reading, labels=[replace(labels, classes=labels.classes.where(labels.mask, 0))])


#: Under which name TensorBoard and MLflow keep the diagrams.
TAG = "reliability"


@dataclass(eq=False)
class ReliabilityPlot(CaseHandler):
    """Draws the diagram that ``nacl-monai draw reliability`` draws, at the end of an evaluator's epoch.

    Its band is over patients if the batches name them under ``patient``, and else over cases. Where the
    evaluator is tracked by MONAI's `MLFlowHandler`, the picture is logged to its run as well. No
    random number comes from a global generator.

    Args:
        calibration: The evaluator's calibration metric; attach this handler after it.
        output_dir: The folder in which ``reliability.png`` is written; None for no file.
        writer: A ``SummaryWriter`` of TensorBoard, which gets the picture; None for none.
        interval: An epoch is drawn if its number is a multiple of it; 0 draws none.
        region: The voxels that count; by default as `nacl_monai.reports.draw_reliability` has them.
        name: Title of the diagram.
        cases: The set of the split, such as "val", for the caption.
        global_epoch_transform: The epoch's number → the step in TensorBoard.

    Raises:
        InputError: In the end, if the metric has no such region, or if the file cannot be written.
    """

    calibration: CalibrationError
    output_dir: str | Path | None = None
    writer: Any = None
    interval: int = 1
    region: str | None = None
    name: str = ""
    cases: str = "evaluated"
    global_epoch_transform: Callable[[int], int] = int

    def write(self, engine: Engine, cases: list[str], patients: list[str]) -> None:
        """Draws the diagram, and keeps it; see the class."""
        state: Any = engine.state
        if not self.interval or state.epoch % self.interval:
            return
        # Matplotlib is loaded by whoever draws.
        from nacl_monai.reports.style import pixels, save_png  # noqa: PLC0415

        figure = self._figure(cases, patients)
        if self.output_dir is not None:
            save_png(figure, EvaluationFolder(Path(self.output_dir)).reliability)
        if self.writer is not None:
            step = self.global_epoch_transform(state.epoch)
            self.writer.add_image(TAG, pixels(figure), step, dataformats="HWC")
        for tracker in trackers(engine):
            file = f"{TAG}/epoch_{state.epoch:04d}.png"
            tracker.client.log_image(tracker.cur_run.info.run_id, pixels(figure), file)

    def _figure(self, cases: Sequence[str], patients: Sequence[str]) -> Figure:
        from nacl_monai.evaluations.evaluated import run_of_bins  # noqa: PLC0415
        from nacl_monai.reports.reliability import draw_reliability  # noqa: PLC0415

        metric = self.calibration.metric_fn
        classes = list(map(str, range(metric.case_bins().counts.shape[2] - 1)))
        record = metric.record(cases, classes, patients).ordered(sorted(cases))
        record = replace(record, path=Path("calibration metric"))
        return draw_reliability([run_of_bins(record, self.name, self.cases)], region=self.region)
