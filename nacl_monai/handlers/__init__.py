"""Ignite handlers: they measure while an engine runs and write numbers, of which reports draw."""

from nacl_monai.handlers.broadcast_buffers import BroadcastBuffers
from nacl_monai.handlers.calibration_error import CalibrationError
from nacl_monai.handlers.case_bins import CaseBins
from nacl_monai.handlers.case_table import CaseTable
from nacl_monai.handlers.checkpoints import BestModel, Checkpoints, recover_model
from nacl_monai.handlers.divergence import StopOnDivergence
from nacl_monai.handlers.epoch_seed import EpochSeed
from nacl_monai.handlers.evaluation_record import EvaluationRecord
from nacl_monai.handlers.logits import LogitHistogram, LogitProfile
from nacl_monai.handlers.multipliers import Multipliers
from nacl_monai.handlers.progress import Progress
from nacl_monai.handlers.reliability_plot import ReliabilityPlot
from nacl_monai.handlers.run_record import RunRecord
from nacl_monai.handlers.slice_maps import SliceMaps
from nacl_monai.handlers.state_files import Position, resumable_position
from nacl_monai.handlers.termination import StopOnTermination
from nacl_monai.handlers.tracked_run import TrackedRun
from nacl_monai.handlers.validation_table import ValidationTable

__all__ = [
    "BestModel",
    "BroadcastBuffers",
    "CalibrationError",
    "CaseBins",
    "CaseTable",
    "Checkpoints",
    "EpochSeed",
    "EvaluationRecord",
    "LogitHistogram",
    "LogitProfile",
    "Multipliers",
    "Position",
    "Progress",
    "ReliabilityPlot",
    "RunRecord",
    "SliceMaps",
    "StopOnDivergence",
    "StopOnTermination",
    "TrackedRun",
    "ValidationTable",
    "recover_model",
    "resumable_position",
]
