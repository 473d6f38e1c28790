"""The reliability diagram of an evaluator's cases: as a file, and in TensorBoard and MLflow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ignite.engine import Engine

from nacl_monai.runs import TOP, EvaluationFolder
from nacl_monai.training.calibration_error import CalibrationError
from nacl_monai.training.case_handler import CaseHandler
from nacl_monai.training.run_record import trackers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Under which name TensorBoard and MLflow keep the diagrams.
TAG = "reliability"


class ReliabilityPlot(CaseHandler):
    """Draws the diagram that ``nacl-monai reliability`` draws, at the end of an evaluator's epoch.

    Its band is over patients if the batches name them under ``patient``, and else over cases. Where the
    evaluator is tracked by MONAI's `MLFlowHandler`, the picture is logged to its run as well. No
    random number comes from a global generator.

    Args:
        calibration: The evaluator's calibration metric; attach this handler after it.
        output_dir: The folder in which ``reliability.png`` is written; None for no file.
        writer: A ``SummaryWriter`` of TensorBoard, which gets the picture; None for none.
        interval: An epoch is drawn if its number is a multiple of it; 0 draws none.
        region: The voxels that count; by default the foreground.
        name: Title of the diagram.
        cases: The set of the split, such as "val", for the caption.
        global_epoch_transform: The epoch's number → the step in TensorBoard.

    Raises:
        InputError: In the end, if the metric has no such region, or if the file cannot be written.
    """

    def __init__(
        self,
        calibration: CalibrationError,
        output_dir: str | Path | None = None,
        writer: Any = None,
        interval: int = 1,
        region: str | None = None,
        name: str = "",
        cases: str = "evaluated",
        global_epoch_transform: Callable[[int], int] = int,
    ) -> None:
        super().__init__()
        self.calibration = calibration.metric_fn
        self.file = None if output_dir is None else EvaluationFolder(Path(output_dir)).reliability
        self.writer = writer
        self.interval = interval
        self.region = region
        self.name = name
        self.cases = cases
        self.global_epoch_transform = global_epoch_transform

    def write(self, engine: Engine, cases: list[str], patients: list[str]) -> None:
        """Draws the diagram, and keeps it; see the class."""
        state: Any = engine.state
        if not self.interval or state.epoch % self.interval:
            return
        # Matplotlib is loaded by whoever draws.
        from nacl_monai.reports.style import pixels, save_png  # noqa: PLC0415

        figure = self._figure(cases, patients)
        if self.file is not None:
            save_png(figure, self.file)
        tracked = trackers(engine)
        if self.writer is not None or tracked:
            self._log(pixels(figure), state.epoch, tracked)

    def _log(self, picture: Any, epoch: int, trackers: Sequence[Any]) -> None:
        """Shows the picture in TensorBoard and MLflow."""
        if self.writer is not None:
            step = self.global_epoch_transform(epoch)
            self.writer.add_image(TAG, picture, step, dataformats="HWC")
        for tracker in trackers:
            file = f"{TAG}/epoch_{epoch:04d}.png"
            tracker.client.log_image(tracker.cur_run.info.run_id, picture, file)

    def _figure(self, cases: Sequence[str], patients: Sequence[str]) -> Figure:
        from nacl_monai.reports.evaluated import run_of_bins  # noqa: PLC0415
        from nacl_monai.reports.reliability import draw_reliability  # noqa: PLC0415
        from nacl_monai.reports.run_bins import RunBins  # noqa: PLC0415

        sums = self.calibration.case_bins()
        bins = RunBins(
            cases=list(cases),
            regions=list(self.calibration.region_names),
            classes=[TOP, *map(str, range(sums.counts.shape[2] - 1))],
            sums=sums,
            path=Path("calibration metric"),
            patients=list(patients) or None,
        )
        run = run_of_bins(bins.ordered(sorted(cases)), self.name, self.cases)
        return draw_reliability([run], region=self.region)
