"""Exact calibration errors by region, proper scores and surface distances.

Functions take probabilities ``(B, C, *spatial)`` and labels ``(B, 1, *spatial)`` or
``(B, *spatial)``; the metric classes accumulate them over a dataset, in MONAI's handlers as well. NumPy
arrays, one-hot labels, probabilities in a byte and a single case without batch axis are taken, too.
"""

from nacl_monai.metrics.adaptive import FineBins, adaptive_calibration_error
from nacl_monai.metrics.binning import bin_indices
from nacl_monai.metrics.bins import CalibrationBins, calibration_bins
from nacl_monai.metrics.boundary import boundary_band
from nacl_monai.metrics.calibration import (
    average_calibration_error,
    classwise_calibration_error,
    confidence_gap,
    expected_calibration_error,
    maximum_calibration_error,
    smooth_calibration_error,
)
from nacl_monai.metrics.distance import BoundedHausdorffMetric, hausdorff_distance
from nacl_monai.metrics.expected_dice import ExpectedDiceMetric, expected_dice
from nacl_monai.metrics.logits import absolute_logit_sums, maximum_logit_counts
from nacl_monai.metrics.menu import DEFAULT_ERRORS, ERRORS
from nacl_monai.metrics.metric import CalibrationMetric
from nacl_monai.metrics.pixelwise import pixelwise_calibration_error
from nacl_monai.metrics.regions import REGIONS, region_mask
from nacl_monai.metrics.scores import brier_score, negative_log_likelihood
from nacl_monai.metrics.structures import structure_masks
from nacl_monai.metrics.volumes import agreed_dice, volume_crps

__all__ = [
    "DEFAULT_ERRORS",
    "ERRORS",
    "REGIONS",
    "BoundedHausdorffMetric",
    "CalibrationBins",
    "CalibrationMetric",
    "ExpectedDiceMetric",
    "FineBins",
    "absolute_logit_sums",
    "adaptive_calibration_error",
    "agreed_dice",
    "average_calibration_error",
    "bin_indices",
    "boundary_band",
    "brier_score",
    "calibration_bins",
    "classwise_calibration_error",
    "confidence_gap",
    "expected_calibration_error",
    "expected_dice",
    "hausdorff_distance",
    "maximum_calibration_error",
    "maximum_logit_counts",
    "negative_log_likelihood",
    "pixelwise_calibration_error",
    "region_mask",
    "smooth_calibration_error",
    "structure_masks",
    "volume_crps",
]
