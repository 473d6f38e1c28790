from .allocation import keep_freed_memory
from .calibrators import calibrated_network, fit_calibrator
from .classification import most_probable_class
from .command_line import check_command_line
from .curves import last_step, loss_and_terms, next_step
from .device import default_device
from .dimensions import check_dims
from .error_lines import one_line_errors
from .evaluation_folder import open_evaluation
from .locks import lock_folder
from .loss_check import check_loss
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
from .run_folder import keep_data, open_run
from .run_settings import evaluation_settings, follow_run
from .schedule import ScheduleState, check_interval, half_of_epochs
from .sets import check_files, check_sets
from .weights import load_weights

__all__ = [
    "PrecisionInferer",
    "ScheduleState",
    "across_processes",
    "calibrated_network",
    "check_classes",
    "check_command_line",
    "check_dims",
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
