"""SIGTERM ends a training after its iteration, and only then; the generators go on as they were."""

import random
import signal

import numpy as np
import pytest
import torch
from ignite.engine import Events

from nacl_monai.training import StopOnTermination, resumable_position
from nacl_monai.training.state_files import load_state, save_state
from nacl_monai.training.termination import generators, set_generators
from tests.training.test_checkpoints import trainer_of


class Ended(BaseException):
    """What the process makes of SIGTERM."""


@pytest.fixture(autouse=True)
def _ends_by_sigterm():
    def end(*_):
        raise Ended

    earlier = signal.signal(signal.SIGTERM, end)
    yield
    signal.signal(signal.SIGTERM, earlier)


def stopping_trainer(folder, epochs=2):
    trainer, validator = trainer_of(folder, epochs, resumable_position(folder))
    # As in bundles/common/train.yaml: attached last.
    checkpoints = next(
        handler.__self__
        for handler, *_ in trainer._event_handlers[Events.EPOCH_COMPLETED]
        if type(handler.__self__).__name__ == "Checkpoints"
    )
    StopOnTermination(checkpoints).attach(trainer)
    return trainer, validator


def terminate():
    signal.raise_signal(signal.SIGTERM)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_iteration_is_finished_and_its_state_is_written(tmp_path):
    """The signal waits for the end of the iteration; a later training goes on behind it."""
    trainer, _ = stopping_trainer(tmp_path)
    completed, terminated = [], []
    trainer.add_event_handler(Events.ITERATION_STARTED(once=5), terminate)
    trainer.add_event_handler(Events.TERMINATE, lambda: terminated.append(True))
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda: completed.append(trainer.state.iteration)
    )

    with pytest.raises(Ended):
        trainer.run()

    assert trainer.state.iteration == 5
    assert terminated == [True]
    assert names(tmp_path) == ["epoch_0001.pt", "epoch_0001_iteration_0002.pt"]

    rest, _ = stopping_trainer(tmp_path)
    rest.run()
    whole, _ = trainer_of(tmp_path / "whole", 2)
    whole.run()
    assert rest.state.iteration == whole.state.iteration == 6
    assert torch.equal(rest.network.weight, whole.network.weight)
    assert names(tmp_path) == ["epoch_0001.pt", "epoch_0002.pt", "whole"]


def test_signal_behind_the_last_iteration_is_not_lost(tmp_path):
    """All epochs are complete then, and the process ends."""
    trainer, _ = stopping_trainer(tmp_path)
    trainer.add_event_handler(Events.EPOCH_COMPLETED(once=2), terminate)

    with pytest.raises(Ended):
        trainer.run()

    assert names(tmp_path) == ["epoch_0001.pt", "epoch_0002.pt"]


def test_signal_is_given_back_after_the_training(tmp_path):
    """It does again what it did before."""
    earlier = signal.getsignal(signal.SIGTERM)
    trainer, _ = stopping_trainer(tmp_path)
    during = []
    trainer.add_event_handler(
        Events.ITERATION_STARTED, lambda: during.append(signal.getsignal(signal.SIGTERM))
    )
    trainer.run()

    assert earlier not in during
    assert signal.getsignal(signal.SIGTERM) is earlier


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_signal_is_given_back_when_a_training_has_failed(tmp_path, error):
    """In a notebook, say, whose kernel goes on."""
    trainer, _ = stopping_trainer(tmp_path)

    def fail():
        raise error

    trainer.add_event_handler(Events.ITERATION_STARTED(once=2), fail)
    earlier = signal.getsignal(signal.SIGTERM)
    with pytest.raises(error):
        trainer.run()

    with pytest.raises(Ended):
        terminate()
    assert signal.getsignal(signal.SIGTERM) is earlier


def test_validation_is_done_again(tmp_path):
    """SIGTERM in the validation of an epoch leaves it to be done, and then the next epoch."""
    trainer, validator = stopping_trainer(tmp_path)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: None)
    validator.add_event_handler(Events.ITERATION_STARTED(once=1), terminate)
    order = trainer._event_handlers[Events.EPOCH_COMPLETED]
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: validator.run([0, 1]))
    order.insert(0, order.pop())  # validates before the epoch's state is saved

    with pytest.raises(Ended):
        trainer.run()
    assert names(tmp_path) == ["epoch_0000_iteration_0003.pt"]

    rest, validator = stopping_trainer(tmp_path)
    validated = []
    rest.add_event_handler(Events.EPOCH_COMPLETED, lambda: validated.append(rest.state.epoch))
    rest.run()
    assert validated == [1, 2]
    assert rest.state.iteration == 6


def test_generators_go_on_as_they_were(tmp_path):
    """Python's, NumPy's and torch's states are read from a file without code."""

    def draws():
        return random.random(), legacy.standard_normal(), torch.rand(()).item()

    legacy = np.random.mtrand._rand  # behind numpy.random's functions, which transforms may use
    legacy.standard_normal()  # which keeps the second of two numbers
    save_state({"generators": generators()}, tmp_path / "state.pt")
    expected = [draws() for _ in range(3)]

    set_generators(load_state(tmp_path / "state.pt")["generators"])

    assert [draws() for _ in range(3)] == expected
