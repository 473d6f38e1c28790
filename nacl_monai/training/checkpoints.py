"""Exact resume: the state of a training after every epoch, and where SIGTERM ended it."""

from __future__ import annotations

import random
import re
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events

from nacl_monai.errors import InputError, print_line
from nacl_monai.files import atomic_path, checksum, remove_partial_files, write_text
from nacl_monai.inference.segmenter import is_intact
from nacl_monai.training.processes import gathered
from nacl_monai.words import leaves

_PREFIX = "epoch_"
_NAME = re.compile(rf"{_PREFIX}(\d+)(?:_iteration_(\d+))?")


@dataclass(eq=False)
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

    folder: str | Path
    position: Position
    objects: Mapping[str, Any]
    validator: Engine

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
            make_checkpoint_folder(Path(self.folder))
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
        return {**self.objects, **({} if scaler is None else {"scaler": scaler})}

    def _check_folder(self) -> None:
        if idist.get_rank() == 0 and not Path(self.folder).is_dir():
            raise InputError(
                f"{self.folder}: has vanished while the training wrote to it; train anew: --restart True"
            )

    def _save_epoch(self, engine: Engine) -> None:
        self.save(engine, Position(engine.state.epoch))
        if idist.get_rank() == 0:
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


@dataclass(eq=False)
class BestModel:
    """Keeps the weights of the best validation in one file, with its checksum in another beside it.

    MONAI's ``CheckpointSaver`` forgets over a restart which model was the best, and leaves half a file
    when it is interrupted.

    Args:
        network: The network whose weights are kept.
        file: Written anew whenever the validator's key metric is the best so far.
    """

    network: torch.nn.Module
    file: str | Path

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
    if position == Position() or idist.get_rank() != 0 or is_intact(file):
        return
    best = load_state(checkpoint_file(folder, position))["best_metric_epoch"]
    source = checkpoint_file(folder, Position(best))
    if best < 1:
        return  # nothing was validated yet
    state = "damaged" if Path(file).is_file() else "gone"
    if not is_intact(source):
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


def _check_finite(states: Any, epoch: int, folder: str | Path) -> None:
    for name, value in leaves(states):
        is_real = isinstance(value, torch.Tensor) and value.is_floating_point()
        if is_real and not torch.isfinite(value).all():
            raise InputError(
                f"epoch {epoch}: {name.replace('::', '.')} is no longer a finite number, and nothing "
                f"was saved; lower the learning rate; the epochs before are in {folder}"
            )


class Position(NamedTuple):
    """How far a training is.

    Attributes:
        epoch: How many epochs are complete.
        iterations: How many iterations of the next one are done.
    """

    epoch: int = 0
    iterations: int = 0


def save_state(state: Mapping[str, Any], file: str | Path) -> None:
    """Writes what `load_state` reads, whole or not at all."""
    # Through a stream of Python's, because torch's own does not report that the disk is full.
    with atomic_path(file) as temporary, temporary.open("wb") as stream:
        torch.save(dict(state), stream)


def load_state(file: str | Path) -> dict[str, Any]:
    """Reads tensors and plain values, and never code, onto the CPU."""
    loaded: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    return loaded


def save_weights(weights: Mapping[str, Any], file: str | Path) -> None:
    """`save_state`, with the file's checksum beside it."""
    # Killed in between, there is no checksum rather than a wrong one.
    Path(f"{file}.sha256").unlink(missing_ok=True)
    save_state(weights, file)
    write_checksum(file)


def write_checksum(file: str | Path) -> None:
    """Writes ``NAME.sha256`` beside a file, in the format of the program ``sha256sum``."""
    write_text(f"{file}.sha256", f"{checksum(file)}  {Path(file).name}\n")


def checkpoint_file(folder: str | Path, position: Position) -> Path:
    """The file of the state at ``position``.

    Example:
        >>> [checkpoint_file("", Position(2, done)).name for done in (0, 15)]
        ['epoch_0002.pt', 'epoch_0002_iteration_0015.pt']
    """
    within = f"_iteration_{position.iterations:04d}" if position.iterations else ""
    return Path(folder) / f"{_PREFIX}{position.epoch:04d}{within}.pt"


def checkpoint_positions(folder: str | Path) -> list[Position]:
    """The positions at which the checkpoints in ``folder`` were written, in order."""
    names = [_NAME.fullmatch(file.stem) for file in Path(folder).glob(f"{_PREFIX}*.pt")]
    return sorted(Position(int(name[1]), int(name[2] or 0)) for name in names if name)


def resumable_position(folder: str | Path) -> Position:
    """The position of the newest whole checkpoint in ``folder``; the start without any.

    A damaged file is passed over with a warning.

    Raises:
        InputError: If there are checkpoints, and all of them are damaged.
    """
    positions = checkpoint_positions(folder)
    for position in reversed(positions):
        file = checkpoint_file(folder, position)
        if is_intact(file):
            return position
        print_line("warning", f"{file}: is damaged; going back to the one before")
    if positions:
        raise InputError(f"{folder}: every checkpoint is damaged; train anew: --restart True")
    return Position()


def make_checkpoint_folder(folder: Path) -> None:
    """Makes ``folder`` and removes what a killed process left half-written in it.

    Raises:
        InputError: If the operating system refuses.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be made ({error.strerror}); choose another output_dir"
        ) from error
    remove_partial_files(folder)


@dataclass(eq=False)
class StopOnTermination:
    """Stops a training after the iteration that receives SIGTERM, and goes on from there, exactly.

    The state after that iteration is written beside those of the epochs: what `Checkpoints` saves, and
    every generator's. Then the signal does what it did before the training began. A validation stops
    after its running volume, and is done again from its start; that of several processes, which have
    different volumes at different times, is finished first. Several processes stop after the same
    iteration, whichever of them gets the signal.

    When a training goes on within an epoch, `EpochSeed` seeds that epoch as before, the batches that
    are done are drawn again, which brings the sampler and the transforms to where they were, and the
    generators then get their saved states.

    Attach it after all other handlers, and let no handler of an epoch's end change a state of
    `Checkpoints` before the validation is over.

    Args:
        checkpoints: Those of the training.
    """

    checkpoints: Checkpoints

    def attach(self, engine: Engine) -> None:
        """Registers the handler with ``engine``, a trainer of MONAI, and with its validator."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.GET_BATCH_STARTED, self._skip)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._stop)
        engine.add_event_handler(Events.COMPLETED, self._end)
        validator = self.checkpoints.validator
        validator.add_event_handler(Events.ITERATION_COMPLETED, self._stop_validation, engine)

    def _start(self, engine: Engine) -> None:
        self._asked, self._previous = False, signal.getsignal(signal.SIGTERM) or signal.SIG_DFL
        self._engine = engine
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._ask)
        state: Any = engine.state
        self._to_skip = self.checkpoints.position.iterations
        if self._to_skip == state.epoch_length:  # stopped in the validation
            self._to_skip = 0
            state.epoch += 1
            engine.fire_event(Events.EPOCH_COMPLETED)

    def _ask(self, _: int, frame: FrameType | None) -> None:
        """Remembers the signal; behind a training that an error or Ctrl-C ended, gives it back."""
        self._asked = True
        if not _runs(self._engine, frame):
            self._give_back(asked=True)

    def _skip(self, engine: Engine) -> None:
        if self._to_skip:
            trainer: Any = engine
            for _ in range(self._to_skip):
                next(trainer._dataloader_iter)  # ignite counts the batches, but does not skip them
            self._to_skip = 0
            set_generators(load_state(self.checkpoints.file)["generators"][idist.get_rank()])

    def _stop(self, engine: Engine) -> None:
        if idist.all_reduce(int(self._asked)):
            state: Any = engine.state
            epoch = state.epoch - 1
            position = Position(epoch, state.iteration - epoch * state.epoch_length)
            self.checkpoints.save(engine, position, generators=gathered(generators()))
            engine.fire_event(Events.TERMINATE)
            self._end()

    def _stop_validation(self, validator: Engine, engine: Engine) -> None:  # noqa: ARG002
        if self._asked and idist.get_world_size() == 1:
            self._stop(engine)

    def _end(self) -> None:
        """Gives the signal back, and sends it again if any process has received it."""
        asked = idist.all_reduce(int(self._asked))
        if threading.current_thread() is threading.main_thread():
            self._give_back(bool(asked))

    def _give_back(self, asked: bool) -> None:
        signal.signal(signal.SIGTERM, self._previous)
        if asked:
            signal.raise_signal(signal.SIGTERM)


def _runs(engine: Engine, frame: FrameType | None) -> bool:
    """Whether ``frame`` is within a method of the engine."""
    while frame is not None:
        if frame.f_locals.get("self") is engine:
            return True
        frame = frame.f_back
    return False


def generators() -> dict[str, Any]:
    """The states of all global generators of this process, without code."""
    numpy_state: Any = np.random.get_state(legacy=True)  # noqa: NPY002 - others use it
    kind, keys, *rest = numpy_state
    return {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(keys.astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def set_generators(states: dict[str, Any]) -> None:
    """Gives the generators the states that `generators` returned."""
    random.setstate(states["python"])
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if states["cuda"] is not None:
        torch.cuda.set_rng_state(states["cuda"])
