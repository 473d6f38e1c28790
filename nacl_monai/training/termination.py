"""SIGTERM, as a cluster sends it before it takes the machine away."""

from __future__ import annotations

import random
import signal
import threading
from types import FrameType
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events

from nacl_monai.training.checkpoints import Checkpoints
from nacl_monai.training.gathering import gathered
from nacl_monai.training.state_files import Position, load_state


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

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints

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
