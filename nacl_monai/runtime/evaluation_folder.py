"""The place beside an evaluation's folder in which a new one is written."""

from __future__ import annotations

import ignite.distributed as idist

from nacl_monai.handlers.evaluation_record import check_replaceable, clear_aside
from nacl_monai.runs import EvaluationFolder
from nacl_monai.runtime.run_folder import lock_folder


def open_evaluation(folder: EvaluationFolder) -> None:
    """Takes ``folder.aside`` for this process, and empties it of what a killed one has left.

    Args:
        folder: Of the evaluation, whose place that will take.

    Raises:
        InputError: If another process writes there, or if the folder holds anything but an evaluation.
    """
    check_replaceable(folder)
    lock_folder(folder.aside)
    if idist.get_rank() == 0:
        clear_aside(folder)
    idist.barrier()
