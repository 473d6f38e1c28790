"""Exact calibration errors by region, proper scores and surface distances.

Functions take probabilities ``(B, C, *spatial)`` and labels ``(B, 1, *spatial)`` or
``(B, *spatial)``; the metric classes accumulate them over a dataset, also in MONAI's handlers.
"""

from nacl_monai.metrics.adaptive import (
    adaptive_calibration_error,
    adaptive_error,
)
from nacl_monai.metrics.bins import CalibrationBins, bin_indices, calibration_bins
from nacl_monai.metrics.calibration import (
    average_calibration_error,
    average_error,
    classwise_calibration_error,
    classwise_errors,
    confidence_gap,
    confidence_gaps,
    expected_calibration_error,
    expected_error,
    maximum_calibration_error,
    maximum_error,
)
from nacl_monai.metrics.distance import BoundedHausdorffMetric, hausdorff_distance
from nacl_monai.metrics.logits import absolute_logit_sums, maximum_logit_counts
from nacl_monai.metrics.metric import CalibrationMetric
from nacl_monai.metrics.regions import REGIONS, region_mask
from nacl_monai.metrics.scores import brier_score, negative_log_likelihood
from nacl_monai.metrics.structures import structure_masks

__all__ = [
    "REGIONS",
    "BoundedHausdorffMetric",
    "CalibrationBins",
    "CalibrationMetric",
    "absolute_logit_sums",
    "adaptive_calibration_error",
    "adaptive_error",
    "average_calibration_error",
    "average_error",
    "bin_indices",
    "brier_score",
    "calibration_bins",
    "classwise_calibration_error",
    "classwise_errors",
    "confidence_gap",
    "confidence_gaps",
    "expected_calibration_error",
    "expected_error",
    "hausdorff_distance",
    "maximum_calibration_error",
    "maximum_error",
    "maximum_logit_counts",
    "negative_log_likelihood",
    "region_mask",
    "structure_masks",
]
