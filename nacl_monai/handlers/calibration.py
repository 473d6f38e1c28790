"""Calibration errors of an evaluator's volumes, in ``engine.state.metrics``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from monai.handlers import IgniteMetricHandler, from_engine

from nacl_monai.metrics import CalibrationMetric
from nacl_monai.metrics.metric import Region


class CalibrationError(IgniteMetricHandler):
    """ECE, CECE and their kin of whole volumes, for an evaluator of MONAI or Ignite.

    At the end of a run ``engine.state.metrics`` holds ``ece_<region>`` and ``cece_<region>`` (paper,
    equations 10 and 11; mean over volumes), their pooled values and more, for every region: the keys
    of `nacl_monai.metrics.CalibrationMetric.aggregate`. The bins stay at hand in ``metric_fn``, for
    `CaseBins` and `CaseTable` to write.

    Args:
        num_bins: Equal bins ``(lo, hi]`` of [0, 1]; the paper uses 15.
        regions: Names among ``all``, ``foreground``, ``union`` and ``boundary``, or a mapping that
            adds functions of your own, as `CalibrationMetric` takes it.
        boundary_width: Of the region ``boundary``, on each side of a boundary.
        spacing: None measures that width in voxels, "pixdim" in the unit of the labels' affine (mm).
        output_transform: Picks probabilities (after softmax) and labels from ``engine.state.output``.
    """

    metric_fn: CalibrationMetric

    def __init__(
        self,
        num_bins: int = 15,
        regions: Sequence[str] | Mapping[str, Region | None] = ("foreground",),
        boundary_width: float = 3.0,
        spacing: str | None = None,
        output_transform: Callable[[Any], Any] = from_engine(["probabilities", "label"]),  # noqa: B008
    ) -> None:
        super().__init__(
            metric_fn=CalibrationMetric(
                num_bins=num_bins, regions=regions, boundary_width=boundary_width, spacing=spacing
            ),
            output_transform=output_transform,
            save_details=False,
        )
