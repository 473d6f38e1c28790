from .bins import (
    CalibrationBins,
    bin_indices,
    brier_score,
    calibration_bins,
    negative_log_likelihood,
)
from .calibration import (
    average_calibration_error,
    classwise_calibration_error,
    confidence_gap,
    expected_calibration_error,
    maximum_calibration_error,
    smooth_calibration_error,
)
from .columns import DEFAULT_ERRORS, ERRORS
from .curves import Curves, read_curves
from .decisions import (
    DecisionNumbers,
    Decisions,
    contour_threshold,
    decision_numbers,
    expected_dice,
    rank_correlation,
    structure_decisions,
    worst_found,
)
from .fine_bins import FineBins, adaptive_calibration_error
from .logits import absolute_logit_sums, maximum_logit_counts
from .metric import BoundedHausdorffMetric, CalibrationMetric
from .pooled import Pooled, direction, pooled_difference, pooled_error, pooled_gap, pooled_ratio
from .record import Record, read_record
from .regions import REGIONS, boundary_band, distances_to, region_mask, within
from .structures import agreed_dice, hausdorff_distance, structure_masks, volume_crps

__all__ = [
    "DEFAULT_ERRORS",
    "ERRORS",
    "REGIONS",
    "BoundedHausdorffMetric",
    "CalibrationBins",
    "CalibrationMetric",
    "Curves",
    "DecisionNumbers",
    "Decisions",
    "FineBins",
    "Pooled",
    "Record",
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
    "contour_threshold",
    "decision_numbers",
    "direction",
    "distances_to",
    "expected_calibration_error",
    "expected_dice",
    "hausdorff_distance",
    "maximum_calibration_error",
    "maximum_logit_counts",
    "negative_log_likelihood",
    "pooled_difference",
    "pooled_error",
    "pooled_gap",
    "pooled_ratio",
    "rank_correlation",
    "read_curves",
    "read_record",
    "region_mask",
    "smooth_calibration_error",
    "structure_decisions",
    "structure_masks",
    "volume_crps",
    "within",
    "worst_found",
]
