"""A run's folder belongs to one configuration and to one process at a time.

What a command finds there decides what it does: nothing yet, and it trains; a training of the same
configuration that was interrupted, and it goes on (`nacl_monai.handlers.Checkpoints`); one of another
configuration, and it is refused, unless it is told to begin anew.
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
from nacl_monai.runtime.command_line import leaves

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
_LOCK = ".lock"
_held: dict[Path, IO[str]] = {}


def lock_folder(folder: str | Path) -> None:
    """Makes ``folder`` this process's own, until the process ends in whatever way.

    Under several processes of one run, the first alone takes it, since it alone writes.

    Raises:
        InputError: Another process has it, or nothing can be written there.
    """
    folder = Path(folder).absolute()
    if idist.get_rank() != 0 or folder in _held:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / _LOCK).open("a")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from error
    try:
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        stream.close()
        raise InputError(
            f"{folder}: another process is writing there; wait for it, or choose another folder"
        ) from None
    _held[folder] = stream


def open_run(output_dir: str | Path, split_file: str | Path, restart: bool = False) -> None:
    """Takes a training's folder: locks it, and writes its configuration to ``config.json``.

    Call it from a configuration; its own configuration is then the one that is meant. A folder whose
    ``config.json`` says the same is one to go on in. Keys in :data:`FREE_KEYS` may change.

    Args:
        output_dir: The folder; made if missing.
        split_file: Stays where it is when a training begins anew.
        restart: Move what is there into ``previous/1``, ``previous/2``, … below the folder, and begin
            anew.

    Raises:
        InputError: Another process writes there; there is a training of another configuration, of an
            unknown one, or one whose checkpoints are gone.
    """
    lock_folder(output_dir)
    if idist.get_rank() == 0:
        folder = Path(output_dir)
        if restart:
            _move_aside(folder, Path(split_file))
        record = folder / "config.json"
        config = {**_running_configuration(), "processes": idist.get_world_size()}
        _check_same(folder, record, config)
        write_text(record, json.dumps(config, indent=2, default=str) + "\n")
    idist.barrier()


def _running_configuration() -> dict[str, Any]:
    """The configuration, overrides included, whose evaluation led to this call.

    MONAI hands it to nobody, but everything that a configuration does, from a command or from Python,
    is done inside of its parser's `get_parsed_content`.
    """
    frame = inspect.currentframe()
    while frame is not None and frame.f_code is not ConfigParser.get_parsed_content.__code__:
        frame = frame.f_back
    if frame is None:
        raise RuntimeError("open_run is to be called from a configuration of monai.bundle")
    config: dict[str, Any] = frame.f_locals["self"].get()
    return {key: value for key, value in config.items() if key not in FREE_KEYS}


def _check_same(folder: Path, record: Path, config: Mapping[str, Any]) -> None:
    remedy = (
        "choose another --output_dir, or train anew: --restart True (keeps what is there aside)"
    )
    trained = (folder / "model.pt").exists() or bool(checkpoint_epochs(folder / "checkpoints"))
    if not record.exists():
        if trained:
            raise InputError(
                f"{folder}: a trained model without its config.json is there; {remedy}"
            )
        return
    try:
        earlier = dict(leaves(json.loads(record.read_text(encoding="utf-8"))))
    except ValueError:
        raise InputError(f"{record}: is damaged; {remedy}") from None
    now = dict(leaves(json.loads(json.dumps(config, default=str))))
    changed = [key for key in {**earlier, **now} if earlier.get(key) != now.get(key)]
    if changed and trained:
        named = ", ".join(f"{k} ({_shown(earlier, k)}, now {_shown(now, k)})" for k in changed[:5])
        more = f" and {len(changed) - 5} more keys" if len(changed) > 5 else ""
        raise InputError(f"{folder}: was trained with another {named}{more}; {remedy}")
    begun = folder / "run.json"
    if begun.exists() and not changed and not checkpoint_epochs(folder / "checkpoints"):
        raise InputError(f"{folder}: its checkpoints are gone, so it cannot go on; {remedy}")


def _move_aside(folder: Path, split_file: Path) -> None:
    previous = folder / "previous"
    stays = {path.resolve() for path in (previous, folder / _LOCK, split_file)}
    found = [path for path in folder.iterdir() if path.resolve() not in stays]
    if not found:
        return
    taken = [int(path.name) for path in previous.glob("*") if path.name.isdecimal()]
    target = previous / str(max(taken, default=0) + 1)
    target.mkdir(parents=True)
    # The checkpoints first: without them, whatever an interruption leaves is no training to go on with.
    for path in sorted(found, key=lambda path: path.name != "checkpoints"):
        path.replace(target / path.name)


def _shown(leaves: Mapping[str, Any], key: str) -> str:
    return str(leaves[key])[:60] if key in leaves else "not set"
