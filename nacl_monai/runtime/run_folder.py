"""A run's folder belongs to one configuration, and to one process at a time.

What a command finds in the folder decides what it does. If there is nothing, it trains. If there is an
interrupted training of the same configuration, it goes on (`nacl_monai.handlers.Checkpoints`). If there
is a training of another configuration, it is refused, unless it is told to begin anew.
"""

from __future__ import annotations

import fcntl
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import ignite.distributed as idist
from monai.bundle import ConfigParser

from nacl_monai.errors import InputError
from nacl_monai.files import write_text
from nacl_monai.handlers.state_files import checkpoint_epochs
from nacl_monai.runs import RunFolder
from nacl_monai.runtime.overrides import leaves

# Keys that say where and on what a training runs, but not what it computes.
FREE_KEYS = (
    "_meta_",
    "bundle_root",
    "cache_dir",
    "dataset_dir",
    "device",
    "num_workers",
    "output_dir",
    "restart",
    "run_name",
    "save_execute_config",
    "split_file",
)
# Labels and colors of tables and figures, at any depth.
_DESCRIPTION = "_desc_"
_LOCK = ".lock"
_REMEDY = "choose another --output_dir, or train anew: --restart True (keeps what is there aside)"
_locks: dict[Path, IO[str]] = {}


def lock_folder(folder: str | Path) -> None:
    """Makes ``folder`` this process's own, until the process ends in whatever way.

    The first of several processes of a run alone takes it, since it alone writes.

    Args:
        folder: The folder; made if missing.

    Raises:
        InputError: If another process has it, or if nothing can be written there.
    """
    folder = Path(folder).absolute()
    if idist.get_rank() != 0 or folder in _locks:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / _LOCK).open("a")
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written ({error.strerror}); choose another folder"
        ) from error
    try:
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        stream.close()
        raise InputError(
            f"{folder}: another process is writing there; wait for it, or choose another folder"
        ) from None
    _locks[folder] = stream


def open_run(output_dir: str | Path, split_file: str | Path, restart: bool = False) -> None:
    """Takes a training's folder: locks it, and records the configuration in ``config.json``.

    The configuration is the one that calls this function. If the folder's ``config.json`` says the same,
    the training goes on there. Keys in :data:`FREE_KEYS`, and how menus are shown, may differ.

    Args:
        output_dir: The folder; made if missing.
        split_file: Stays in its place when a training begins anew.
        restart: Whether to move the folder's contents into ``previous/1``, ``previous/2``, … below it,
            and begin anew.

    Raises:
        InputError: If another process writes there, or if there is a training of another configuration,
            of an unknown one, or without its checkpoints.
    """
    lock_folder(output_dir)
    if idist.get_rank() == 0:
        folder = RunFolder(Path(output_dir))
        if restart:
            _move_aside(folder, Path(split_file))
        config = {**_running_configuration(), "processes": idist.get_world_size()}
        text = json.dumps(config, indent=2, default=str) + "\n"
        _check_same(folder, json.loads(text))
        write_text(folder.config, text)
    idist.barrier()


def _running_configuration() -> dict[str, Any]:
    """The configuration, overrides included, whose evaluation led to this call.

    MONAI passes it to nobody. But whatever a configuration does, be it from a command or from Python,
    happens inside its parser's `get_parsed_content`.
    """
    frame = inspect.currentframe()
    while frame is not None and frame.f_code is not ConfigParser.get_parsed_content.__code__:
        frame = frame.f_back
    if frame is None:
        raise RuntimeError("open_run is to be called from a configuration of monai.bundle")
    config: dict[str, Any] = frame.f_locals["self"].get()
    return {key: value for key, value in config.items() if key not in FREE_KEYS}


def _check_same(folder: RunFolder, config: Mapping[str, Any]) -> None:
    """Refuses a folder in which the training of ``config`` cannot begin or go on."""
    epochs = checkpoint_epochs(folder.checkpoints)
    trained = bool(epochs) or folder.model.exists()
    if not folder.config.exists():
        if trained:
            raise InputError(
                f"{folder.path}: has a trained model but no {folder.config.name}; {_REMEDY}"
            )
        return
    changes = _changes(_read_record(folder.config), config)
    if changes and trained:
        raise InputError(f"{folder.path}: was trained with another {_listed(changes)}; {_REMEDY}")
    if folder.record.exists() and not changes and not epochs:
        raise InputError(f"{folder.path}: its checkpoints are gone, so it cannot go on; {_REMEDY}")


def _read_record(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        raise InputError(f"{file}: is damaged; {_REMEDY}") from None


def _changes(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Every key whose value differs, with both values; descriptions may differ."""
    before, after = (_computing_leaves(config) for config in (earlier, now))
    return [
        f"{key} ({_shown(before, key)}, now {_shown(after, key)})"
        for key in {**before, **after}
        if before.get(key) != after.get(key)
    ]


def _computing_leaves(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in leaves(config) if _DESCRIPTION not in key.split("::")}


def _shown(values: Mapping[str, Any], key: str) -> str:
    return str(values[key])[:60] if key in values else "not set"


def _listed(changes: list[str]) -> str:
    """The first five changes, and the number of the others."""
    others = len(changes) - 5
    return ", ".join(changes[:5]) + (f" and {others} more" if others > 0 else "")


def _move_aside(folder: RunFolder, split_file: Path) -> None:
    """Moves what is in the folder, but for the split, into the next free folder of ``previous/``."""
    stay = {path.resolve() for path in (folder.previous, folder.path / _LOCK, split_file)}
    moving = [path for path in folder.path.iterdir() if path.resolve() not in stay]
    if not moving:
        return
    taken = [int(path.name) for path in folder.previous.glob("*") if path.name.isdecimal()]
    target = folder.previous / str(max(taken, default=0) + 1)
    target.mkdir(parents=True)
    # Checkpoints first: whatever an interruption then leaves is no training to go on with.
    for path in sorted(moving, key=lambda path: path != folder.checkpoints):
        path.replace(target / path.name)
