"""Calibration after training: modules from logits to logits, and their fit on validation patients."""

from nacl_monai.posthoc.behind import Behind
from nacl_monai.posthoc.class_temperatures import ClassTemperatures, fit_class_temperatures
from nacl_monai.posthoc.ensemble import ENSEMBLE, Ensemble
from nacl_monai.posthoc.fit import METHODS, Fit, fit_method
from nacl_monai.posthoc.local_temperatures import LocalTemperatures, fit_local_temperatures
from nacl_monai.posthoc.outputs import OUTPUTS, Outputs, module_of
from nacl_monai.posthoc.probabilities import logits_of, structure_logits_of
from nacl_monai.posthoc.region_logits import RegionLogits
from nacl_monai.posthoc.sigmoid import SIGMOID_METHODS, StructureFit, fit_structures
from nacl_monai.posthoc.structure_logits import StructureLogits
from nacl_monai.posthoc.temperature import Temperature, fit_temperature
from nacl_monai.posthoc.vector_scaling import VectorScaling, fit_vector_scaling

__all__ = [
    "ENSEMBLE",
    "METHODS",
    "OUTPUTS",
    "SIGMOID_METHODS",
    "Behind",
    "ClassTemperatures",
    "Ensemble",
    "Fit",
    "LocalTemperatures",
    "Outputs",
    "RegionLogits",
    "StructureFit",
    "StructureLogits",
    "Temperature",
    "VectorScaling",
    "fit_class_temperatures",
    "fit_local_temperatures",
    "fit_method",
    "fit_structures",
    "fit_temperature",
    "fit_vector_scaling",
    "logits_of",
    "module_of",
    "structure_logits_of",
]
