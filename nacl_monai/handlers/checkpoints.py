"""Exact resume: the state of a training after every epoch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events

from nacl_monai.errors import InputError
from nacl_monai.handlers.state_files import (
    checkpoint_epochs,
    checkpoint_file,
    load_state,
    make_checkpoint_folder,
    save_state,
    save_weights,
)


class Checkpoints:
    """Saves a training's state after every epoch, and starts from the state of an earlier session.

    ``epoch_0007.pt`` holds what the eighth epoch depends on: the state dictionaries of ``objects``,
    and the validator's best metric. It holds no random states because `EpochSeed` derives them from
    the epoch. An interrupted epoch is repeated from its start, so that on a CPU a training that was
    killed ends with the same bits as one that was not. The newest two files are kept.

    Attach it after every handler whose work belongs to an epoch, and before those that ask the engine
    for its epoch when it starts.

    Args:
        folder: The folder of the files; made when the training starts.
        epoch: The epoch to go on from, as :func:`resumable_epoch` returns it; 0 for the beginning.
        objects: Objects with ``state_dict()`` and ``load_state_dict()``, by name. Their states must
            hold no code, because files are read with ``weights_only=True``.
        validator: The engine whose best metric decides which model is kept.

    Raises:
        InputError: If a state does not fit the objects, if a weight is no longer a finite number
            (nothing is saved then), or if the folder has vanished.
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
            make_checkpoint_folder(self.folder)
        idist.barrier()
        if not self.epoch:
            return
        state: Any = engine.state
        file = checkpoint_file(self.folder, self.epoch)
        saved = load_state(file)
        try:
            for name, item in self._objects(engine).items():
                item.load_state_dict(saved[name])
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
        """The objects, and the scaler of gradients, which a trainer makes when it starts."""
        scaler = getattr(engine, "scaler", None)
        return self.objects if scaler is None else {**self.objects, "scaler": scaler}

    def _check_folder(self) -> None:
        if idist.get_rank() == 0 and not self.folder.is_dir():
            raise InputError(
                f"{self.folder}: has vanished while the training wrote to it; train anew: --restart True"
            )

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
    """Keeps the weights of the best validation in one file, with its checksum in another beside it.

    MONAI's ``CheckpointSaver`` forgets over a restart which model was the best, and leaves half a file
    when it is interrupted.

    Args:
        network: The network whose weights are kept.
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
            save_weights(self.network.state_dict(), self.file)


def _progress(file: Path, epoch: int, epochs: int) -> str:
    if epoch >= epochs:
        return f"{file.parent.parent}: all {epochs} epochs are trained; nothing is left to do"
    return f"{file}: going on after epoch {epoch} of {epochs}"


def _check_finite(states: Any, epoch: int, folder: Path) -> None:
    for name, value in _tensors(states):
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise InputError(
                f"epoch {epoch}: {name} is no longer a finite number, and nothing was saved; "
                f"lower the learning rate; the epochs before are in {folder}"
            )


def _tensors(states: Any, prefix: str = "") -> Any:
    if isinstance(states, torch.Tensor):
        yield prefix, states
    elif isinstance(states, Mapping):
        for name, value in states.items():
            yield from _tensors(value, f"{prefix}.{name}" if prefix else str(name))
