"""Calibration after training: modules from logits to logits, and their fit on validation patients."""

from nacl_monai.posthoc.distance import DistanceTemperatures
from nacl_monai.posthoc.ensemble import ENSEMBLE, Ensemble
from nacl_monai.posthoc.file import Calibrator, read_calibrator, write_calibrator
from nacl_monai.posthoc.fit import (
    METHODS,
    OUTPUTS,
    SIGMOID_METHODS,
    Fit,
    Outputs,
    caution,
    fit_method,
    module_of,
)
from nacl_monai.posthoc.local_temperatures import LocalTemperatures, fit_local_temperatures
from nacl_monai.posthoc.probabilities import logits_of, structure_logits_of
from nacl_monai.posthoc.scaling import (
    ClassTemperatures,
    Temperature,
    VectorScaling,
    fit_class_temperatures,
    fit_temperature,
    fit_vector_scaling,
)
from nacl_monai.posthoc.sides import Sides, error_by_side, fits_to_others
from nacl_monai.posthoc.voxels import NoRoomError, RegionLogits, StructureLogits

__all__ = [
    "ENSEMBLE",
    "METHODS",
    "OUTPUTS",
    "SIGMOID_METHODS",
    "Calibrator",
    "ClassTemperatures",
    "DistanceTemperatures",
    "Ensemble",
    "Fit",
    "LocalTemperatures",
    "NoRoomError",
    "Outputs",
    "RegionLogits",
    "Sides",
    "StructureLogits",
    "Temperature",
    "VectorScaling",
    "caution",
    "error_by_side",
    "fit_class_temperatures",
    "fit_local_temperatures",
    "fit_method",
    "fit_temperature",
    "fit_vector_scaling",
    "fits_to_others",
    "logits_of",
    "module_of",
    "read_calibrator",
    "structure_logits_of",
    "write_calibrator",
]
