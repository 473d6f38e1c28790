"""Calibration errors of an evaluator's cases, in ``engine.state.metrics``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from monai.handlers import IgniteMetricHandler

from nacl_monai.metrics import DEFAULT_ERRORS, CalibrationMetric
from nacl_monai.metrics.regions import Region
from nacl_monai.training.outputs import probabilities_and_labels


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
        regions: Names among ``all``, ``foreground``, ``union`` and ``boundary``, or a mapping that
            adds functions of your own, as `CalibrationMetric` takes it.
        boundary_width: The width of the region ``boundary``, on each side of a boundary.
        spacing: None measures that width in voxels, "pixdim" in the unit of the labels' affine (mm).
        structures: Names of the channels where these are structures that may overlap (sigmoid), and the
            label has one mask each; empty where exactly one class is right (softmax).
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
        structures: Sequence[str] = (),
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
                structures=structures,
                from_logits=from_logits,
                ignore_index=ignore_index,
            ),
            output_transform=output_transform,
            save_details=False,
        )
