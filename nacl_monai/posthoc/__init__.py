"""Calibration after training: modules from logits to logits, and their fit on validation patients."""

from nacl_monai.posthoc.ensemble import Ensemble
from nacl_monai.posthoc.fit import TemperatureFit, fit_temperature
from nacl_monai.posthoc.region_logits import RegionLogits
from nacl_monai.posthoc.temperature import Temperature

__all__ = ["Ensemble", "RegionLogits", "Temperature", "TemperatureFit", "fit_temperature"]
