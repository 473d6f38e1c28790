"""What the bundles ask of the package: strictness, errors in one line, a run's folder, weights."""

from nacl_monai.runtime.command_line import check_command_line
from nacl_monai.runtime.error_lines import one_line_errors
from nacl_monai.runtime.network_check import check_classes, check_labels
from nacl_monai.runtime.precision import PrecisionInferer
from nacl_monai.runtime.processes import (
    across_processes,
    evaluation_sampler,
    join_processes,
    share_batch,
    training_sampler,
)
from nacl_monai.runtime.run_folder import lock_folder, open_run
from nacl_monai.runtime.weights import load_weights

__all__ = [
    "PrecisionInferer",
    "across_processes",
    "check_classes",
    "check_command_line",
    "check_labels",
    "evaluation_sampler",
    "join_processes",
    "load_weights",
    "lock_folder",
    "one_line_errors",
    "open_run",
    "share_batch",
    "training_sampler",
]
