from .calibrators import calibrated_network, fit_calibrator
from .case_files import CalibrationError, CaseBins, CaseTable, ReliabilityPlot, SliceMaps
from .checkpoints import (
    BestModel,
    Checkpoints,
    Position,
    StopOnTermination,
    recover_model,
    resumable_position,
)
from .checks import check_classes, check_files, check_labels, check_loss, check_sets
from .epochs import (
    EpochSeed,
    Progress,
    ScheduleState,
    StopOnDivergence,
    check_interval,
    half_of_epochs,
    last_step,
    loss_and_terms,
    next_step,
)
from .evaluation_record import EvaluationRecord, ValidationTable, open_evaluation
from .logits import LogitHistogram, LogitProfile, Multipliers, with_spacing
from .outputs import most_probable_class
from .processes import (
    BroadcastBuffers,
    PrecisionInferer,
    across_processes,
    default_device,
    evaluation_sampler,
    is_silent,
    join_processes,
    keep_freed_memory,
    share_batch,
    training_sampler,
)
from .run_folder import keep_data, open_run
from .run_record import RunRecord, TrackedRun
from .run_settings import evaluation_settings, follow_run, run_parameters
from .weights import load_pretrained, load_weights

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
    "with_spacing",
]
