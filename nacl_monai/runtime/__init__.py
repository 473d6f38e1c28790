"""What the configurations call: strictness, errors in one line, a run's folder, processes, weights."""

from nacl_monai.runtime.allocation import keep_freed_memory
from nacl_monai.runtime.calibrators import calibrated_network, fit_calibrator
from nacl_monai.runtime.classification import most_probable_class
from nacl_monai.runtime.command_line import check_command_line
from nacl_monai.runtime.curves import last_step, loss_and_terms, next_step
from nacl_monai.runtime.device import default_device
from nacl_monai.runtime.dimensions import check_dims
from nacl_monai.runtime.error_lines import one_line_errors
from nacl_monai.runtime.evaluation_folder import open_evaluation
from nacl_monai.runtime.loss_check import check_loss
from nacl_monai.runtime.network_check import check_classes, check_labels
from nacl_monai.runtime.parameters import run_parameters
from nacl_monai.runtime.precision import PrecisionInferer
from nacl_monai.runtime.pretrained import load_pretrained
from nacl_monai.runtime.processes import (
    across_processes,
    evaluation_sampler,
    is_silent,
    join_processes,
    share_batch,
    training_sampler,
)
from nacl_monai.runtime.run_folder import keep_data, lock_folder, open_run
from nacl_monai.runtime.run_settings import evaluation_settings, follow_run
from nacl_monai.runtime.schedule import ScheduleState, check_interval, half_of_epochs
from nacl_monai.runtime.sets import check_sets
from nacl_monai.runtime.weights import load_weights

__all__ = [
    "PrecisionInferer",
    "ScheduleState",
    "across_processes",
    "calibrated_network",
    "check_classes",
    "check_command_line",
    "check_dims",
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
    "lock_folder",
    "loss_and_terms",
    "most_probable_class",
    "next_step",
    "one_line_errors",
    "open_evaluation",
    "open_run",
    "run_parameters",
    "share_batch",
    "training_sampler",
]
