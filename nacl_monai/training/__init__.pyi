from .allocation import keep_freed_memory
from .broadcast_buffers import BroadcastBuffers
from .calibration_error import CalibrationError
from .calibrators import calibrated_network, fit_calibrator
from .case_bins import CaseBins
from .case_table import CaseTable
from .checkpoints import BestModel, Checkpoints, recover_model
from .classification import most_probable_class
from .curves import last_step, loss_and_terms, next_step
from .device import default_device
from .divergence import StopOnDivergence
from .epoch_seed import EpochSeed
from .evaluation_folder import open_evaluation
from .evaluation_record import EvaluationRecord
from .logits import LogitHistogram, LogitProfile
from .loss_check import check_loss
from .multipliers import Multipliers
from .network_check import check_classes, check_labels
from .parameters import run_parameters
from .precision import PrecisionInferer
from .pretrained import load_pretrained
from .processes import (
    across_processes,
    evaluation_sampler,
    is_silent,
    join_processes,
    share_batch,
    training_sampler,
)
from .progress import Progress
from .reliability_plot import ReliabilityPlot
from .run_folder import keep_data, open_run
from .run_record import RunRecord
from .run_settings import evaluation_settings, follow_run
from .schedule import ScheduleState, check_interval, half_of_epochs
from .sets import check_files, check_sets
from .slice_maps import SliceMaps
from .state_files import Position, resumable_position
from .termination import StopOnTermination
from .tracked_run import TrackedRun
from .validation_table import ValidationTable
from .weights import load_weights

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
    "PrecisionInferer",
    "Progress",
    "ReliabilityPlot",
    "RunRecord",
    "ScheduleState",
    "SliceMaps",
    "StopOnDivergence",
    "StopOnTermination",
    "TrackedRun",
    "ValidationTable",
    "across_processes",
    "calibrated_network",
    "check_classes",
    "check_files",
    "check_interval",
    "check_labels",
    "check_loss",
    "check_sets",
    "default_device",
    "evaluation_sampler",
    "evaluation_settings",
    "fit_calibrator",
    "follow_run",
    "half_of_epochs",
    "is_silent",
    "join_processes",
    "keep_data",
    "keep_freed_memory",
    "last_step",
    "load_pretrained",
    "load_weights",
    "loss_and_terms",
    "most_probable_class",
    "next_step",
    "open_evaluation",
    "open_run",
    "recover_model",
    "resumable_position",
    "run_parameters",
    "share_batch",
    "training_sampler",
]
