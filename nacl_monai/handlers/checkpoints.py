"""Exact resume: the state of a training after every epoch, on disk whole or not at all."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events

from nacl_monai.errors import InputError
from nacl_monai.files import atomic_path

_PREFIX = "epoch_"


class Checkpoints:
    """Saves a training's state after every epoch, and begins from the newest state that is there.

    ``epoch_0007.pt`` holds what the eighth epoch depends on: the state dictionaries of ``objects``,
    and the validator's best metric. Random states need no place in it, since `EpochSeed` derives them
    from the epoch. An interrupted epoch is done again from its start, so on a CPU a training that was
    killed ends with the same bits as one that was not. The newest two files are kept.

    Attach it after every handler whose work belongs to an epoch, and before those that ask the engine
    for its epoch when it starts.

    Args:
        folder: Where the files are; made when the training starts.
        epoch: The epoch to go on from, as :func:`resumable_epoch` finds it; 0 for the beginning.
        objects: What has ``state_dict()`` and ``load_state_dict()``, by name. Without any code in
            their states, since files are read with ``weights_only=True``.
        validator: The engine whose best metric decides which model is kept.

    Raises:
        InputError: When a state does not fit the objects, when a weight is no finite number any more
            (nothing is saved then), or when the folder has vanished.
    """

    def __init__(
        self, folder: str | Path, epoch: int, objects: Mapping[str, Any], validator: Engine
    ) -> None:
        self.folder = Path(folder)
        self.epoch = epoch
        self.objects = dict(objects)
        self.validator = validator

    def attach(self, engine: Engine) -> None:
        """Registers the handler with ``engine``, a trainer of MONAI."""
        engine.add_event_handler(Events.STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_STARTED, self._check_folder)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._save)

    def _begin(self, engine: Engine) -> None:
        if idist.get_rank() == 0:
            make_folder(self.folder)
        idist.barrier()
        if not self.epoch:
            return
        state: Any = engine.state
        file = checkpoint_file(self.folder, self.epoch)
        saved = load_state(file)
        try:
            for name, target in self._objects(engine).items():
                target.load_state_dict(saved[name])
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            raise InputError(
                f"{file}: does not fit this training; train anew: --restart True"
            ) from error
        for name in ("best_metric", "best_metric_epoch"):
            setattr(self.validator.state, name, saved[name])
        state.epoch, state.iteration = self.epoch, self.epoch * state.epoch_length
        if idist.get_rank() == 0:
            print(_progress(file, self.epoch, state.max_epochs))

    def _objects(self, engine: Engine) -> dict[str, Any]:
        """The objects; and the scaler of gradients, which a trainer makes when it starts."""
        scaler = getattr(engine, "scaler", None)
        return self.objects if scaler is None else {**self.objects, "scaler": scaler}

    def _check_folder(self) -> None:
        if idist.get_rank() == 0 and not self.folder.is_dir():
            raise InputError(f"{self.folder}: has vanished while the training wrote to it")

    def _save(self, engine: Engine) -> None:
        state: Any = engine.state
        states = {name: item.state_dict() for name, item in self._objects(engine).items()}
        _check_finite(states, state.epoch, self.folder)
        if idist.get_rank() == 0:
            self._check_folder()
            validated: Any = self.validator.state
            best = {name: vars(validated)[name] for name in ("best_metric", "best_metric_epoch")}
            save_state({**states, **best}, checkpoint_file(self.folder, state.epoch))
            for old in checkpoint_epochs(self.folder)[:-2]:
                checkpoint_file(self.folder, old).unlink()


class BestModel:
    """Keeps the weights of the best validation in one file.

    MONAI's ``CheckpointSaver`` does so too, but forgets over a restart which model was the best, and
    is interrupted with half a file.

    Args:
        network: Whose weights.
        file: Written anew whenever the validator's key metric is the best so far.
    """

    def __init__(self, network: torch.nn.Module, file: str | Path) -> None:
        self.network = network
        self.file = Path(file)

    def attach(self, engine: Engine) -> None:
        """Registers the handler with ``engine``, a validator of MONAI with a key metric."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._save)

    def _save(self, engine: Engine) -> None:
        state: Any = engine.state
        if state.best_metric_epoch == state.epoch and idist.get_rank() == 0:
            save_state(self.network.state_dict(), self.file)


def resumable_epoch(folder: str | Path) -> int:
    """The epoch of the newest whole checkpoint in ``folder``; 0 if there is none at all.

    A damaged file is passed over with a warning.

    Raises:
        InputError: There are checkpoints, and all of them are damaged.
    """
    epochs = checkpoint_epochs(folder)
    for epoch in reversed(epochs):
        file = checkpoint_file(folder, epoch)
        if is_whole(file):
            return epoch
        print(f"warning: {file}: is damaged; going back to the one before", file=sys.stderr)
    if epochs:
        raise InputError(f"{folder}: every checkpoint is damaged; train anew: --restart True")
    return 0


def checkpoint_file(folder: str | Path, epoch: int) -> Path:
    """Where the state after ``epoch`` is kept."""
    return Path(folder) / f"{_PREFIX}{epoch:04d}.pt"


def checkpoint_epochs(folder: str | Path) -> list[int]:
    """The epochs of which ``folder`` has a checkpoint, in order."""
    names = [file.stem.removeprefix(_PREFIX) for file in Path(folder).glob(f"{_PREFIX}*.pt")]
    return sorted(int(name) for name in names if name.isdecimal())


def is_whole(file: str | Path) -> bool:
    """Whether the bytes of a file that torch wrote are those that were written."""
    try:  # torch itself reads changed bytes without a word; the archive has their checksums
        with zipfile.ZipFile(file) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, OSError):
        return False


def save_state(state: Mapping[str, Any], file: str | Path) -> None:
    """Writes what `load_state` reads, whole or not at all."""
    # Through a stream of Python's, since torch's own hides from its errors that the disk is full.
    with atomic_path(file) as temporary, temporary.open("wb") as stream:
        torch.save(dict(state), stream)


def load_state(file: str | Path) -> dict[str, Any]:
    """Reads tensors and plain values, and never code, onto the CPU."""
    loaded: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    return loaded


def make_folder(folder: Path) -> None:
    """Makes ``folder`` and removes what a killed process left half-written in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror})") from error
    for leftover in folder.glob(f".{_PREFIX}*"):
        leftover.unlink()


def _progress(file: Path, epoch: int, epochs: int) -> str:
    if epoch >= epochs:
        return f"{file.parent.parent}: all {epochs} epochs are trained; nothing is left to do"
    return f"{file}: going on after epoch {epoch} of {epochs}"


def _check_finite(states: Any, epoch: int, folder: Path) -> None:
    for name, value in _tensors(states):
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise InputError(
                f"epoch {epoch}: {name} is not a finite number any more, and nothing was saved; "
                f"lower the learning rate; the epochs before are in {folder}"
            )


def _tensors(states: Any, prefix: str = "") -> Any:
    if isinstance(states, torch.Tensor):
        yield prefix, states
    elif isinstance(states, Mapping):
        for name, value in states.items():
            yield from _tensors(value, f"{prefix}.{name}" if prefix else str(name))
