"""Finding a finished run by what was chosen for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nacl_monai.errors import InputError
from nacl_monai.files import read_object
from nacl_monai.runs import RECORD_REMEDY, RunFolder, RunName


def newest_run(
    runs: str | Path, dataset: str, network: str, loss: str, seed: int | None = None
) -> Path:
    """The newest finished run ``runs/DATASET/NETWORK_LOSS_seedN`` with no other settings.

    A run is finished if it has a ``model.pt`` and if its ``run.json``, where there is one, says so.

    Args:
        runs: Folder of all runs.
        dataset: Folder in it.
        network: From the menu of networks.
        loss: From the menu of losses.
        seed: N; any by default.

    Raises:
        InputError: If there is none.
    """
    folder = Path(runs) / dataset
    name = RunName(network, loss, seed=seed or 0)
    models = [
        RunFolder(run).model
        for run in folder.glob("*")
        if _is_named(run, name, seed) and _is_finished(RunFolder(run))
    ]
    if not models:
        pattern = str(name) if seed is not None else str(name).removesuffix("0") + "*"
        raise InputError(
            f"{folder / pattern}: no finished training there; train first, or name a run: --run DIR "
            "(make: RUN=DIR)"
        )
    return max(models, key=lambda model: model.stat().st_mtime).parent


def _is_named(run: Path, name: RunName, seed: int | None) -> bool:
    """Whether the folder's name is ``name``, whatever the seed unless there is one."""
    try:
        found = RunName.parse(run.name, [name.loss])
    except InputError:
        return False
    return found == (name if seed is not None else replace(name, seed=found.seed))


def _is_finished(run: RunFolder) -> bool:
    return run.model.is_file() and not _trains_still(run)


def check_finished(run: RunFolder) -> None:
    """Refuses an unfinished run, whose weights others would take for its last.

    Raises:
        InputError: If its ``run.json``, where there is one, says so or is damaged.
    """
    if _trains_still(run):
        raise InputError(f"{run.path}: its training is not finished; train on, then export it")


def _trains_still(run: RunFolder) -> bool:
    return run.record.is_file() and not read_object(run.record, RECORD_REMEDY).get("finished")
