"""The place beside an evaluation's folder in which a new one is written."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import ignite.distributed as idist

from nacl_monai.errors import InputError
from nacl_monai.files import lock_folder, read_object
from nacl_monai.reports.evaluation_files import check_replaceable, clear_aside
from nacl_monai.runs import EvaluationFolder

_OPTION = "--evaluation_dir"


def open_evaluation(folder: EvaluationFolder, cases: str) -> None:
    """Takes ``folder.aside`` for this process, and empties it of what a killed one has left.

    Args:
        folder: The evaluation's folder, whose place the new one will take.
        cases: The set of the split.

    Raises:
        InputError: If another process writes there, or if the folder holds anything but an evaluation
            of this set.
    """
    check_replaceable(folder, _OPTION)
    _check_set(folder, cases)
    if idist.get_rank() == 0:
        lock_folder(folder.aside)
        clear_aside(folder)
    idist.barrier()


def _check_set(folder: EvaluationFolder, cases: str) -> None:
    """Refuses to replace the evaluation of another set, unless nobody knows what it is of."""
    earlier: dict[str, Any] = {}
    if folder.record.is_file():
        with suppress(InputError):  # damaged: reports say that it is to be made again
            earlier = read_object(folder.record, "evaluate the run again")
    known = earlier.get("set", cases)
    if known != cases:
        raise InputError(
            f"{folder.path}: holds the evaluation of the {known} cases; choose another {_OPTION} for "
            f"that of the {cases} cases, or move it away"
        )
