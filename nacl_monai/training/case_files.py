"""The names of an evaluator's cases, their measurements, and the files that keep them.

Handlers for an evaluator of MONAI or Ignite: `CalibrationError` measures; `CaseTable`, `CaseBins`,
`SliceMaps` and `ReliabilityPlot` write one file or picture after the last case.
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

from nacl_monai.counting import counted
from nacl_monai.errors import InputError
from nacl_monai.evaluations.evaluation_files import write_case_table
from nacl_monai.evaluations.slices import case_slice, write_slice
from nacl_monai.evaluations.tables import leading_text
from nacl_monai.metrics import DEFAULT_ERRORS, CalibrationMetric
from nacl_monai.metrics.columns import score_columns
from nacl_monai.metrics.regions import Region
from nacl_monai.runs import MARGIN, EvaluationFolder
from nacl_monai.training.outputs import (
    batch_entries,
    case_names,
    case_outputs,
    image_files,
    label_of,
    probabilities_and_labels,
    probabilities_of,
)
from nacl_monai.training.processes import joined
from nacl_monai.training.run_record import trackers

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class CalibrationError(IgniteMetricHandler):
    """ECE, CECE and other calibration errors of whole cases, for an evaluator of MONAI or Ignite.

    At the end of a run ``engine.state.metrics`` holds ``ece_<region>`` and ``cece_<region>`` (paper,
    equations 10 and 11; mean over cases), their pooled values and more, for every region: the keys
    of `nacl_monai.metrics.CalibrationMetric.aggregate`. The bins remain in ``metric_fn``, from which
    `CaseBins` and `CaseTable` write them.

    Args:
        num_bins: Equal bins ``(lo, hi]`` of [0, 1]; the paper uses 15.
        errors: Names of the errors, as `CalibrationMetric` takes them; by default all that it measures
            unless asked for others.
        regions: Names in `nacl_monai.metrics.REGIONS`, or a mapping that adds functions of your own, as
            `CalibrationMetric` takes it.
        boundary_width: The width of the regions ``boundary`` and ``predicted_boundary``, on each side of
            a boundary.
        spacing: None measures that width in voxels, "pixdim" in the unit of the labels' affine (mm).
        margin: How far the region ``near``, contours and volumes reach beyond what is predicted.
        margin_spacing: The same for that margin.
        structures: Names of the channels where these are structures that may overlap (sigmoid), and the
            label has one mask each; empty where exactly one class is right (softmax).
        decisions: There, the classes of each structure whose contour, volume and Dice are measured.
        from_logits: Whether the evaluator leaves logits under ``pred``, without an activation.
        ignore_index: Voxels with this label do not count.
        output_transform: Picks probabilities and labels from ``engine.state.output``. By default these
            are under ``probabilities``, or else under ``pred``, and under ``label``; the label may be
            one-hot.

    Raises:
        InputError: If an error or a region is unknown; while the evaluator runs, if ``pred`` holds
            labels and no probabilities.
    """

    metric_fn: CalibrationMetric

    def __init__(
        self,
        num_bins: int = 15,
        errors: Sequence[str] = DEFAULT_ERRORS,
        regions: Sequence[str] | Mapping[str, Region | None] = ("foreground",),
        boundary_width: float = 3.0,
        spacing: str | None = None,
        margin: float = MARGIN,
        margin_spacing: str | None = None,
        structures: Sequence[str] = (),
        decisions: Mapping[str, Sequence[int]] | None = None,
        from_logits: bool = False,
        ignore_index: int | None = None,
        output_transform: Callable[[Any], Any] = probabilities_and_labels,
    ) -> None:
        super().__init__(
            metric_fn=CalibrationMetric(
                num_bins=num_bins,
                errors=errors,
                regions=regions,
                boundary_width=boundary_width,
                spacing=spacing,
                margin=margin,
                margin_spacing=margin_spacing,
                structures=structures,
                decisions=decisions,
                from_logits=from_logits,
                ignore_index=ignore_index,
            ),
            output_transform=output_transform,
            save_details=False,
        )


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
        self._files += [] if named else image_files(engine)
        self._patients += batch_entries(engine, "patient")

    def _finish(self, engine: Engine) -> None:
        cases, files, patients = map(joined, (self._cases, self._files, self._patients))
        if idist.get_rank() == 0:
            self.write(engine, cases or case_names(files), patients)


@dataclass(eq=False)
class CaseTable(CaseHandler):
    """Writes ``cases.csv`` and ``summary.json``, and prints the summary.

    ``cases.csv`` has one row per case: ``case``, and ``patient`` where it is known; each metric of
    each structure, ``<metric>_<structure>``, and its mean over the structures that are present,
    ``<metric>``; each calibration error over each region, ``<error>_<region>``. An undefined value
    (an absent structure, an empty region) is an empty field.
    ``summary.json`` holds the mean, the standard deviation and the number of defined values of every
    column.

    Args:
        output_dir: Folder of the two files.
        structures: Names of what was scored: foreground classes, or unions of them.
        metrics: Names of the metrics of these structures, as in ``engine.state.metric_details``.
        calibration: The evaluator's calibration metric.
        dataset: Name of the dataset, for the summary.

    Raises:
        InputError: In the end, if the evaluator has no such metric, or one of other structures.
    """

    output_dir: str | Path
    structures: Sequence[str]
    metrics: Sequence[str]
    calibration: CalibrationError
    dataset: str

    def write(self, engine: Engine, cases: list[str], patients: list[str]) -> None:
        """Writes both files; see the class."""
        scores = {metric: self._score(engine, metric) for metric in self.metrics}
        calibration = self.calibration.metric_fn
        columns = score_columns(scores, list(self.structures)) | calibration.columns()
        folder, bins = EvaluationFolder(Path(self.output_dir)), calibration.options.num_bins
        record = calibration.record(cases, patients=patients)
        pooled = record.pooled_numbers
        table = write_case_table(folder, columns, bins, self.dataset, cases, patients, pooled)
        names = ("dice", "hd95", "ece_foreground", "cece_foreground")
        means = ", ".join(f"{name} {table[name].mean():.4f}" for name in names if name in table)
        print(f"{counted(len(table), 'case')}, mean over cases: {means}")
        if led := leading_text(pooled):
            print(f"all cases together [95% interval over patients]: {led}")

    def _score(self, engine: Engine, metric: str) -> torch.Tensor:
        """The values of a metric for every case, ``(cases, structures)``."""
        details: dict[str, torch.Tensor] = getattr(engine.state, "metric_details", {})
        if metric not in details:
            raise InputError(
                f"CaseTable: the evaluator has no metric {metric!r} with details; attach it under this "
                f"name, or choose from {', '.join(details) or 'none'}"
            )
        columns = details[metric].shape[1]
        if columns != len(self.structures):
            raise InputError(
                f"CaseTable: {metric!r} is of {columns} structures, but {len(self.structures)} are "
                f"named ({', '.join(self.structures)}); name each that the metric scores"
            )
        return details[metric]


@dataclass(eq=False)
class CaseBins(CaseHandler):
    """Writes ``bins.npz``: the exact bin sums of every case, from which all calibration follows.

    `nacl_monai.metrics.record` says what it holds: fine bins only where an error of equal mass or of
    selective prediction was asked for.

    Args:
        output_dir: Folder of the file.
        classes: Names of all classes, background first; those of structures that may overlap, which are
            the metric's, are "outside" and "inside" whatever is given.
        calibration: The evaluator's calibration metric.
        calibrator: Name of what is behind the network; None without.

    Raises:
        InputError: In the end, if there are not as many names as classes.
    """

    output_dir: str | Path
    classes: Sequence[str]
    calibration: CalibrationError
    calibrator: str | None = None

    def write(self, engine: Engine, cases: list[str], patients: list[str]) -> None:  # noqa: ARG002
        """Writes the file; see the class."""
        calibrator = [self.calibrator] if self.calibrator else []
        metric, classes = self.calibration.metric_fn, list(self.classes)
        record = metric.record(cases, classes, patients, calibrator=calibrator)
        record.write(EvaluationFolder(Path(self.output_dir)).bins)


@dataclass(eq=False)
class SliceMaps(CaseHandler):
    """Writes ``maps/<case>.npz``: the slice with most foreground in the label.

    The choice depends only on the label, so that all methods show the same slice. Arrays:
    ``image`` float32 (first channel), ``label`` and ``prediction`` uint8, ``confidence`` float32 (the
    largest probability), ``entropy`` float32 (``−Σ p ln p / ln C``, from 0, certain, to 1, equal
    probabilities), each ``(rows, columns)`` as one looks at it: where an axis pair runs right and
    anterior, anterior is up; ``slice``, its position; ``classes`` (C,), their names. For structures that
    overlap, see `case_slice`. Voxels to be ignored are shown as background in the label.

    Args:
        output_dir: The folder in which ``maps/`` is made.
        classes: Names of all classes, background first.
        structures: In their place, names of the channels where these are structures that may overlap.
        ignore_index: The label of voxels to be ignored.

    Raises:
        InputError: While the evaluator runs, if there are no probabilities, or other channels.
    """

    output_dir: str | Path
    classes: Sequence[str] = ()
    structures: Sequence[str] = ()
    ignore_index: int | None = None

    def _file(self, case: str) -> Path:
        return EvaluationFolder(Path(self.output_dir)).map_of(case)

    def write(self, engine: Engine, cases: list[str], patients: list[str]) -> None:  # noqa: ARG002
        """Gives every slice the name of its case."""
        for case, kept in zip(cases, self._kept, strict=True):
            file = self._file(case)
            if isinstance(kept, Path):
                file.parent.mkdir(parents=True, exist_ok=True)
                kept.replace(file)
            else:
                write_slice(file, kept)

    def _start(self) -> None:
        super()._start()
        self._kept: list[Path | dict[str, Any]] = []

    def _collect(self, engine: Engine) -> None:
        """Writes the slices of a batch under numbers, since names are known only in the end.

        Processes other than the first keep theirs, which that one writes.
        """
        super()._collect(engine)
        for output in case_outputs(engine.state.output):
            arrays = self._arrays(output)
            if idist.get_rank() == 0:
                numbered = self._file(f".{len(self._kept)}")
                write_slice(numbered, arrays)
                self._kept.append(numbered)
            else:
                self._kept.append(arrays)

    def _arrays(self, output: Mapping[str, Any]) -> dict[str, Any]:
        label = label_of(output)
        return case_slice(
            probabilities_of(output),
            label if self.ignore_index is None else label.where(label != self.ignore_index, 0),
            list(self.structures or self.classes),
            image=output.get(CommonKeys.IMAGE),
            overlapping=bool(self.structures),
        )

    def _finish(self, engine: Engine) -> None:
        self._kept = joined(self._kept)
        super()._finish(engine)


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
