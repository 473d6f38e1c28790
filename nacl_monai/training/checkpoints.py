"""Exact resume: the state of a training after every epoch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events

from nacl_monai.errors import InputError
from nacl_monai.training.state_files import (
    Position,
    checkpoint_file,
    checkpoint_positions,
    is_whole,
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
    killed ends with the same bits as one that was not. The newest two files are kept. A state from
    within an epoch is `StopOnTermination`'s; it is removed once that epoch is complete.

    Attach it after every handler whose work belongs to an epoch, and before those that ask the engine
    for its epoch when it starts.

    Args:
        folder: The folder of the files; made when the training starts.
        position: Where to go on, as :func:`resumable_position` returns it.
        objects: Objects with ``state_dict()`` and ``load_state_dict()``, by name. Their states must
            hold no code, because files are read with ``weights_only=True``.
        validator: The engine whose best metric decides which model is kept.

    Raises:
        InputError: If a state does not fit the objects, if a weight is no longer a finite number
            (nothing is saved then), or if the folder has vanished.
    """

    def __init__(
        self, folder: str | Path, position: Position, objects: Mapping[str, Any], validator: Engine
    ) -> None:
        self.folder = Path(folder)
        self.position = position
        self.objects = dict(objects)
        self.validator = validator

    def attach(self, engine: Engine) -> None:
        """Registers the handler with ``engine``, a trainer of MONAI."""
        engine.add_event_handler(Events.STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_STARTED, self._check_folder)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._save_epoch)

    @property
    def file(self) -> Path:
        """The file of the state to go on from."""
        return checkpoint_file(self.folder, self.position)

    def _begin(self, engine: Engine) -> None:
        if idist.get_rank() == 0:
            make_checkpoint_folder(self.folder)
        idist.barrier()
        if self.position == Position():
            return
        state: Any = engine.state
        self._load(engine)
        state.epoch, done = self.position
        state.iteration = state.epoch * state.epoch_length + done
        if idist.get_rank() == 0:
            print(_progress(self.file, self.position, state.max_epochs))

    def _load(self, engine: Engine) -> None:
        """Gives the objects and the validator their saved states."""
        saved = load_state(self.file)
        try:
            for name, item in self._objects(engine).items():
                item.load_state_dict(saved[name])
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            raise InputError(
                f"{self.file}: does not fit this training; train anew: --restart True"
            ) from error
        for name in ("best_metric", "best_metric_epoch"):
            setattr(self.validator.state, name, saved[name])

    def _objects(self, engine: Engine) -> dict[str, Any]:
        """The objects, and the scaler of gradients, which a trainer makes when it starts."""
        scaler = getattr(engine, "scaler", None)
        return self.objects if scaler is None else {**self.objects, "scaler": scaler}

    def _check_folder(self) -> None:
        if idist.get_rank() == 0 and not self.folder.is_dir():
            raise InputError(
                f"{self.folder}: has vanished while the training wrote to it; train anew: --restart True"
            )

    def _save_epoch(self, engine: Engine) -> None:
        self.save(engine, Position(engine.state.epoch))
        if idist.get_rank() == 0:
            self._remove_old()

    def _remove_old(self) -> None:
        positions = checkpoint_positions(self.folder)
        newest = [position for position in positions if not position.iterations][-2:]
        for old in set(positions).difference(newest):
            checkpoint_file(self.folder, old).unlink()

    def save(self, engine: Engine, position: Position, **more: Any) -> None:
        """Writes the state at ``position``, and ``more`` beside it; every process is to call it.

        Raises:
            InputError: If a weight is no longer a finite number, or if the folder has vanished.
        """
        states = {name: item.state_dict() for name, item in self._objects(engine).items()}
        _check_finite(states, engine.state.epoch, self.folder)
        if idist.get_rank() == 0:
            self._check_folder()
            validated: Any = self.validator.state
            best = {name: vars(validated)[name] for name in ("best_metric", "best_metric_epoch")}
            save_state({**states, **best, **more}, checkpoint_file(self.folder, position))


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


def recover_model(file: str | Path, folder: str | Path, position: Position) -> None:
    """Writes the best model again from a checkpoint, if a training goes on and has lost it.

    Args:
        file: The best model's file.
        folder: The checkpoints' folder.
        position: Where the training goes on.

    Raises:
        InputError: If no checkpoint of the best epoch is left.
    """
    if position == Position() or idist.get_rank() != 0 or is_whole(file):
        return
    best = load_state(checkpoint_file(folder, position))["best_metric_epoch"]
    source = checkpoint_file(folder, Position(best))
    if best < 1:
        return  # nothing was validated yet
    state = "damaged" if Path(file).is_file() else "gone"
    if not is_whole(source):
        raise InputError(
            f"{file}: is {state}, and no checkpoint of its epoch {best} is left; put it back, or train "
            "anew: --restart True"
        )
    save_weights(load_state(source)["network"], file)
    print(f"{file}: was {state}, and is written again from {source.name}")


def _progress(file: Path, position: Position, epochs: int) -> str:
    if position.epoch >= epochs:
        return f"{file.parent.parent}: all {epochs} epochs are trained; nothing is left to do"
    within = f" and iteration {position.iterations} of the next" if position.iterations else ""
    return f"{file}: going on after epoch {position.epoch} of {epochs}{within}"


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
