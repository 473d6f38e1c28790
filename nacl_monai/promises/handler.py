"""The curves of each case of an evaluator, from which promises are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine

from nacl_monai.inference.promised import Array
from nacl_monai.metrics.curves import CURVES_FILE, checked_curves, definition_of, joined_curves
from nacl_monai.metrics.regions import case_spacings
from nacl_monai.posthoc.file import BY_DATASET
from nacl_monai.training import CalibrationError
from nacl_monai.training.case_files import CaseHandler
from nacl_monai.training.evaluation_record import EvaluationRecord
from nacl_monai.training.outputs import probabilities_and_labels
from nacl_monai.training.processes import joined

#: The tool of the predictions, in a definition.
_EVALUATOR = "evaluator"


@dataclass(eq=False)
class CaseCurves(CaseHandler):
    """Writes ``promise.npz``, from which `nacl-monai promise` makes promises without the images.

    Structures, their classes, the ignored label and the size of voxels are those of the decisions of
    the calibration metric. Where it measures margins in voxels, no size in mm is known: there is no
    file, and it says so.

    Args:
        output_dir: Folder of the file.
        classes: Names of all classes, background first; of structures that may overlap, their names
            are the metric's.
        calibration: The evaluator's calibration metric.
        calibrator: Name of what is behind the network; None without.
        record: The source of the evaluation's weights, run and set of the split; None if unknown.
    """

    output_dir: str | Path
    classes: Sequence[str]
    calibration: CalibrationError
    calibrator: str | None = None
    record: EvaluationRecord | None = None

    def _start(self) -> None:
        super()._start()
        self._curves: list[dict[str, Array]] = []

    def _collect(self, engine: Engine) -> None:
        super()._collect(engine)
        if self.calibration.metric_fn.margin_spacing is None:
            return
        for probs, labels in zip(*probabilities_and_labels(engine.state.output), strict=True):
            self._curves.append(self._curve(probs, labels))

    def _curve(self, probs: torch.Tensor, labels: torch.Tensor) -> dict[str, Array]:
        metric = self.calibration.metric_fn
        batch = [torch.as_tensor(probs)[None].cpu(), torch.as_tensor(labels)[None].cpu(), None]
        (spacing,) = case_spacings(metric.margin_spacing, 1, probs.ndim - 1, labels)
        how = metric.structures, spacing, metric.ignore_index, metric.from_logits
        return checked_curves(batch, self._structures, *how)

    @property
    def _structures(self) -> dict[str, Sequence[int]]:
        metric = self.calibration.metric_fn
        return dict(metric.decisions) or {name: (k,) for k, name in enumerate(metric.structures)}

    @property
    def _identity(self) -> dict[str, Any]:
        if self.record is None:
            return {"known_by": BY_DATASET}
        run = self.record.files["weights"].absolute().parent.name
        weights = self.record.record.get("weights")
        return {"weights": weights, "split": self.record.set, "run": run, "known_by": BY_DATASET}

    def _finish(self, engine: Engine) -> None:
        self._curves = joined(self._curves)
        super()._finish(engine)

    def write(self, engine: Engine, cases: list[str], patients: list[str]) -> None:  # noqa: ARG002
        """Writes the file; see the class."""
        metric = self.calibration.metric_fn
        if not self._curves:
            print(
                f"no {CURVES_FILE}: nothing says how large voxels are; give margin_spacing: pixdim"
            )
            return
        names = metric.structures or self.classes
        first = 1 if metric.structures else 0
        definition = definition_of(
            {name: (k + first,) for k, name in enumerate(names)},
            self._structures,
            "sigmoid" if metric.structures else "softmax",
            _EVALUATOR,
            [self.calibrator] if self.calibrator else [],
            metric.ignore_index,
            **self._identity,
        )
        curves = joined_curves(cases, self._curves, patients, definition)
        curves.write(Path(self.output_dir) / CURVES_FILE)
