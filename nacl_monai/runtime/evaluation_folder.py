"""The place beside an evaluation's folder in which a new one is written."""

from __future__ import annotations

import ignite.distributed as idist

from nacl_monai.errors import InputError
from nacl_monai.runs import EvaluationFolder
from nacl_monai.runtime.run_folder import lock_folder


def open_evaluation(folder: EvaluationFolder) -> None:
    """Takes ``folder.aside`` for this process, and empties it of what a killed one has left.

    Args:
        folder: Of the evaluation, whose place that will take.

    Raises:
        InputError: If another process writes there, or if the folder holds anything but an evaluation.
    """
    _check_replaceable(folder)
    lock_folder(folder.aside)
    if idist.get_rank() == 0:
        if folder.replaced.is_dir() and not folder.path.exists():
            folder.replaced.rename(folder.path.resolve())  # killed while it was replaced
        EvaluationFolder(folder.aside).remove_files()
    idist.barrier()


def _check_replaceable(folder: EvaluationFolder) -> None:
    path = folder.path
    visible = {file.name for file in path.glob("*") if not file.name.startswith(".")}
    others = sorted(visible - folder.names)
    if path.is_file() or others:
        holds = f"holds {others[0]}, which is no part of an evaluation" if others else "is a file"
        raise InputError(f"{path}: {holds}; choose another --evaluation_dir, or move it away")
