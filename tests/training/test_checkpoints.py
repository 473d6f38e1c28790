"""A training goes on exactly where it was ended, and damaged files are noticed."""

import hashlib
import pickle
import random
import signal

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events

from nacl_monai.errors import InputError
from nacl_monai.inference.segmenter import is_intact
from nacl_monai.training import (
    BestModel,
    Checkpoints,
    Position,
    StopOnTermination,
    recover_model,
    resumable_position,
)
from nacl_monai.training.checkpoints import (
    checkpoint_file,
    checkpoint_positions,
    generators,
    load_state,
    make_checkpoint_folder,
    save_state,
    save_weights,
    set_generators,
)
from tests.conftest import refused
from tests.same import same_bits, same_values
from tests.training import conftest

START = Position()


def trainer_of(folder, epochs, position=START, stops=False):
    """Trains with Adam, and saves; `StopOnTermination` is attached last, as in train.yaml."""
    torch.manual_seed(0)
    network = torch.nn.Linear(2, 1)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    cases = [{"image": torch.tensor([float(k), 1.0]), "label": torch.zeros(1)} for k in range(3)]
    validator = Engine(lambda *_: None)
    validator.state.best_metric, validator.state.best_metric_epoch = 0.5, 1
    objects = {"network": network, "optimizer": optimizer}
    checkpoints = Checkpoints(folder, position, objects, validator)
    handlers = [checkpoints, StopOnTermination(checkpoints)] if stops else [checkpoints]
    options = {"epochs": epochs, "optimizer": optimizer, "decollate": False}
    return conftest.trainer_of(network, cases, squares, handlers, **options), validator


def squares(prediction, _):
    return prediction.square().mean()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_two_epochs_and_two_more_are_four_epochs(tmp_path, capsys):
    """For the weights and the best metric; one line names the file and the number of epochs."""
    whole, _ = trainer_of(tmp_path / "whole", 4)
    whole.run()
    trainer_of(tmp_path / "parts", 2)[0].run()
    capsys.readouterr()
    second, validator = trainer_of(tmp_path / "parts", 4, resumable_position(tmp_path / "parts"))
    validator.state.best_metric, validator.state.best_metric_epoch = -1, -1
    second.run()

    assert second.state.iteration == 12
    assert validator.state.best_metric == 0.5
    weights = (trainer.network.weight for trainer in (whole, second))
    same_bits(*weights, "a training that goes on takes the same steps")
    assert names(tmp_path / "parts") == ["epoch_0003.pt", "epoch_0004.pt"]
    line = f"{tmp_path}/parts/epoch_0002.pt: going on after epoch 2 of 4"
    assert line in capsys.readouterr().out.splitlines()


def test_finished_training_has_nothing_to_do(tmp_path, capsys):
    """After the last epoch there is nothing to do."""
    trainer_of(tmp_path, 2)[0].run()
    before = (tmp_path / "epoch_0002.pt").read_bytes()

    trainer, _ = trainer_of(tmp_path, 2, resumable_position(tmp_path))
    trainer.run()

    assert trainer.state.output is None
    assert "all 2 epochs are trained; nothing is left to do" in capsys.readouterr().out
    assert before == (tmp_path / "epoch_0002.pt").read_bytes()


def test_state_that_does_not_fit_is_refused_by_name(tmp_path):
    """A state that does not fit is refused by name."""
    save_state({"network": {}}, checkpoint_file(tmp_path, Position(1)))

    with pytest.raises(InputError, match="epoch_0001.pt: does not fit this training"):
        trainer_of(tmp_path, 2, Position(1))[0].run()


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_state_that_is_not_finite_is_not_saved(tmp_path, value):
    """A state with one such number is not saved; the one before stays."""
    trainer, _ = trainer_of(tmp_path, 3)

    def spoil():
        trainer.network.weight.data[0, 1] = value

    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=6), spoil)  # the last of its epoch
    assert "epoch 2: network.weight is no longer a finite number" in refused(trainer.run)

    assert names(tmp_path) == ["epoch_0001.pt"]


def test_vanished_folder_is_not_made_anew(tmp_path):
    """A folder that is removed meanwhile is not made anew, half empty."""
    folder = tmp_path / "checkpoints"
    trainer, _ = trainer_of(folder, 2)
    trainer.add_event_handler(Events.ITERATION_STARTED(once=2), folder.rmdir)

    assert "checkpoints: has vanished" in refused(trainer.run)

    assert not folder.exists()


def test_best_model_is_that_of_the_best_epoch(tmp_path):
    """The file holds the weights of the best epoch, and no code."""
    network = torch.nn.Linear(1, 1)
    engine = Engine(lambda *_: None)
    BestModel(network, tmp_path / "model.pt").attach(engine)
    kept = []
    for epoch, best in ((1, 1), (2, 1), (3, 3)):
        network.weight.data.fill_(epoch)
        engine.state.best_metric_epoch, engine.state.epoch = best, epoch
        engine.fire_event(Events.EPOCH_COMPLETED)
        kept.append(load_state(tmp_path / "model.pt")["weight"].item())
        assert is_intact(tmp_path / "model.pt")

    assert kept == [1, 1, 3]
    assert (tmp_path / "model.pt.sha256").is_file()


def test_state_holds_the_scaler_of_gradients(tmp_path):
    """A trainer with mixed precision has a scaler, whose state belongs to the training's."""
    trainer, _ = trainer_of(tmp_path, 1)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    trainer.add_event_handler(Events.STARTED, lambda: setattr(trainer, "scaler", scaler))
    trainer.run()

    saved = load_state(checkpoint_file(tmp_path, Position(1)))

    assert saved["scaler"]["scale"] == 8.0
    assert saved.keys() == {"network", "optimizer", "scaler", "best_metric", "best_metric_epoch"}


@pytest.fixture
def trained(tmp_path):
    """Two checkpoints, the better one first, and the model of it."""
    for epoch in (4, 5):
        network = {"weight": torch.tensor([float(epoch)])}
        save_state({"network": network, "best_metric_epoch": 4}, tmp_path / f"epoch_{epoch:04d}.pt")
    save_weights({"weight": torch.tensor([4.0])}, tmp_path / "model.pt")
    return tmp_path


@pytest.mark.parametrize("state", ["gone", "damaged"])
def test_lost_model_is_written_again_from_the_best_epoch(trained, state):
    """With its checksum; one that is there is left alone. Of an epoch that is gone, it is named."""
    model = trained / "model.pt"
    before = model.stat().st_mtime_ns
    recover_model(model, trained, Position(5))
    assert model.stat().st_mtime_ns == before

    for is_left in (True, False):
        model.unlink() if state == "gone" else model.write_bytes(b"PK")
        if is_left:
            recover_model(model, trained, Position(5))
            assert load_state(model) == {"weight": torch.tensor([4.0])}
            assert is_intact(model)
            (trained / "epoch_0004.pt").unlink()
    with pytest.raises(InputError, match=f"model.pt: is {state}, and no checkpoint of its epoch 4"):
        recover_model(model, trained, Position(5))


def test_training_without_a_validation_has_no_model_to_lose(tmp_path):
    """Nor has one that begins."""
    save_state({"network": {}, "best_metric_epoch": -1}, tmp_path / "epoch_0001.pt")

    for position in (START, Position(1)):
        recover_model(tmp_path / "model.pt", tmp_path, position)
    assert not (tmp_path / "model.pt").exists()


class Code:
    """An object of a class, which a state must not hold."""


def test_damaged_checkpoints_are_passed_over(tmp_path, capsys):
    """One changed byte, or a missing half, is noticed; if nothing is whole, that is an error."""
    assert resumable_position(tmp_path) == (0, 0)
    for epoch in (1, 2, 10000):
        save_state({"weights": torch.arange(1000.0)}, checkpoint_file(tmp_path, Position(epoch)))
    assert resumable_position(tmp_path) == (10000, 0)

    file = tmp_path / "epoch_10000.pt"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert resumable_position(tmp_path) == (2, 0)
    assert "epoch_10000.pt: is damaged" in capsys.readouterr().err

    file = tmp_path / "epoch_0002.pt"
    file.write_bytes(file.read_bytes()[:200])
    assert resumable_position(tmp_path) == (1, 0)

    (tmp_path / "epoch_0001.pt").write_bytes(b"")
    assert "every checkpoint is damaged" in refused(resumable_position, tmp_path)
    assert not is_intact(tmp_path / "missing.pt")


def test_state_is_read_as_it_was_written(tmp_path):
    """Tensors and plain values, on the CPU, into folders that did not exist; code is never read."""
    file = tmp_path / "new" / "state.pt"
    save_state({"weights": torch.arange(3), "best": {"dice": 0.5, "epoch": 3}}, file)

    state = load_state(file)

    same_values(state["weights"], torch.arange(3))
    assert state["best"] == {"dice": 0.5, "epoch": 3}
    assert names(file.parent) == ["state.pt"]
    save_state({"code": Code()}, file)
    with pytest.raises(pickle.UnpicklingError):
        load_state(file)


def test_positions_are_numbers_in_order(tmp_path):
    """Checkpoints are found by their epoch and iteration, as numbers; other files are ignored."""
    for name in ("0002", "0002_iteration_0003", "0002_iteration_10000", "10000", "0010"):
        (tmp_path / f"epoch_{name}.pt").touch()
    for name in ("epoch_last.pt", "epoch_0003_iteration_.pt", "model.pt"):
        (tmp_path / name).touch()

    positions = checkpoint_positions(tmp_path)

    assert positions == [(2, 0), (2, 3), (2, 10000), (10, 0), (10000, 0)]
    for position in positions:
        assert checkpoint_file(tmp_path, position).is_file()
    assert checkpoint_positions(tmp_path / "missing") == []


def test_folder_is_made_without_leftovers(tmp_path):
    """What a killed process left half-written is removed; checkpoints stay."""
    folder = tmp_path / "run" / "checkpoints"
    make_checkpoint_folder(folder)
    (folder / ".partial-x").mkdir()
    for name in (".partial-x/epoch_0002.pt", "epoch_0001.pt", ".other"):
        (folder / name).touch()

    make_checkpoint_folder(folder)

    assert names(folder) == [".other", "epoch_0001.pt"]
    with pytest.raises(InputError, match="deeper: cannot be made .*; choose another output_dir"):
        make_checkpoint_folder(folder / "epoch_0001.pt/deeper")


def test_checksum_beside_weights_is_that_of_sha256sum(tmp_path):
    """Another file under the name, however whole, is noticed; without a checksum, it is not."""
    file = tmp_path / "model.pt"
    save_weights({"weights": torch.arange(3)}, file)

    checksum = hashlib.sha256(file.read_bytes()).hexdigest()
    assert (tmp_path / "model.pt.sha256").read_text() == f"{checksum}  model.pt\n"
    assert is_intact(file)
    save_state({"weights": torch.arange(4)}, file)
    assert not is_intact(file)
    (tmp_path / "model.pt.sha256").unlink()
    assert is_intact(file)


def test_weights_killed_before_their_checksum_have_none(tmp_path, monkeypatch):
    """Rather than the one of the weights before, with which nobody could use them."""
    file = tmp_path / "model.pt"
    save_weights({"weights": torch.arange(3)}, file)
    monkeypatch.setattr("nacl_monai.training.checkpoints.write_checksum", lambda _: 1 // 0)

    with pytest.raises(ZeroDivisionError):
        save_weights({"weights": torch.arange(4)}, file)

    assert is_intact(file)
    assert load_state(file)["weights"].tolist() == [0, 1, 2, 3]


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
    return trainer_of(folder, epochs, resumable_position(folder), stops=True)


def terminate():
    signal.raise_signal(signal.SIGTERM)


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
    weights = (trainer.network.weight for trainer in (rest, whole))
    same_bits(*weights, "a training that goes on takes the same steps")
    assert names(tmp_path) == ["epoch_0001.pt", "epoch_0002.pt", "whole"]


def test_signal_behind_the_last_iteration_is_not_lost(tmp_path):
    """All epochs are complete then, and the process ends."""
    trainer, _ = stopping_trainer(tmp_path)
    trainer.add_event_handler(Events.EPOCH_COMPLETED(once=2), terminate)

    with pytest.raises(Ended):
        trainer.run()

    assert names(tmp_path) == ["epoch_0001.pt", "epoch_0002.pt"]


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
