"""Ignite handlers: they measure while an engine runs and write numbers, never pictures."""

from nacl_monai.handlers.buffers import BroadcastBuffers
from nacl_monai.handlers.calibration import CalibrationError
from nacl_monai.handlers.case_table import CaseTable
from nacl_monai.handlers.checkpoints import BestModel, Checkpoints, resumable_epoch
from nacl_monai.handlers.finite import StopOnDivergence
from nacl_monai.handlers.logits import LogitHistogram, LogitProfile
from nacl_monai.handlers.progress import Progress
from nacl_monai.handlers.reliability import CaseBins
from nacl_monai.handlers.run_record import RunRecord
from nacl_monai.handlers.seeds import EpochSeed
from nacl_monai.handlers.slice_maps import SliceMaps

__all__ = [
    "BestModel",
    "BroadcastBuffers",
    "CalibrationError",
    "CaseBins",
    "CaseTable",
    "Checkpoints",
    "EpochSeed",
    "LogitHistogram",
    "LogitProfile",
    "Progress",
    "RunRecord",
    "SliceMaps",
    "StopOnDivergence",
    "resumable_epoch",
]
