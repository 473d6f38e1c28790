"""A training resumes from its state, the newest two are kept, and what cannot be used is named."""

import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader
from monai.engines import SupervisedTrainer

from nacl_monai.errors import InputError
from nacl_monai.training import BestModel, Checkpoints, Position, recover_model, resumable_position
from nacl_monai.training.state_files import (
    checkpoint_file,
    is_whole,
    load_state,
    save_state,
    save_weights,
)

START = Position()


def trainer_of(folder, epochs, position=START, handlers=(), learning_rate=0.1):
    torch.manual_seed(0)
    network = torch.nn.Linear(2, 1)
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    batches = [{"image": torch.tensor([float(k), 1.0]), "label": torch.zeros(1)} for k in range(3)]
    validator = Engine(lambda *_: None)
    validator.state.best_metric, validator.state.best_metric_epoch = 0.5, 1
    checkpoints = Checkpoints(
        folder, position, {"network": network, "optimizer": optimizer}, validator
    )
    trainer = SupervisedTrainer(
        device="cpu",
        max_epochs=epochs,
        train_data_loader=DataLoader(batches, batch_size=1),
        network=network,
        optimizer=optimizer,
        loss_function=lambda prediction, _: prediction.square().mean(),
        train_handlers=[checkpoints, *handlers],
        decollate=False,
    )
    return trainer, validator


def test_two_epochs_and_two_more_are_four_epochs(tmp_path):
    """Two epochs and then two more are four epochs, for the weights and the best metric."""
    whole, _ = trainer_of(tmp_path / "whole", 4)
    whole.run()
    trainer_of(tmp_path / "parts", 2)[0].run()
    second, validator = trainer_of(tmp_path / "parts", 4, resumable_position(tmp_path / "parts"))
    validator.state.best_metric, validator.state.best_metric_epoch = -1, -1
    second.run()

    assert second.state.iteration == 12
    assert validator.state.best_metric == 0.5
    assert torch.equal(whole.network.weight, second.network.weight)
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == [
        "epoch_0003.pt",
        "epoch_0004.pt",
    ]


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


def test_state_that_is_not_finite_is_not_saved(tmp_path):
    """A state with NaN is not saved; the one before stays."""
    trainer, _ = trainer_of(tmp_path, 3)

    def spoil():
        trainer.network.weight.data[0, 1] = torch.nan

    trainer.add_event_handler(Events.ITERATION_STARTED(once=4), spoil)
    with pytest.raises(InputError, match="epoch 2: network.weight is no longer a finite number"):
        trainer.run()

    assert [path.name for path in tmp_path.iterdir()] == ["epoch_0001.pt"]


def test_vanished_folder_is_not_made_anew(tmp_path):
    """A folder that is removed meanwhile is not made anew, half empty."""
    folder = tmp_path / "checkpoints"
    trainer, _ = trainer_of(folder, 2)
    trainer.add_event_handler(Events.ITERATION_STARTED(once=2), folder.rmdir)

    with pytest.raises(InputError, match="checkpoints: has vanished"):
        trainer.run()

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
        assert is_whole(tmp_path / "model.pt")

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


def test_resumed_training_says_where_it_goes_on(tmp_path, capsys):
    """One line names the file, its epoch and the number of epochs."""
    trainer_of(tmp_path, 1)[0].run()
    capsys.readouterr()

    trainer_of(tmp_path, 3, Position(1))[0].run()

    expected = f"{tmp_path / 'epoch_0001.pt'}: going on after epoch 1 of 3"
    assert capsys.readouterr().out.splitlines() == [expected]


@pytest.fixture
def trained(tmp_path):
    """Two checkpoints, the better one first, and the model of it."""
    for epoch in (4, 5):
        network = {"weight": torch.tensor([float(epoch)])}
        save_state({"network": network, "best_metric_epoch": 4}, tmp_path / f"epoch_{epoch:04d}.pt")
    save_weights({"weight": torch.tensor([4.0])}, tmp_path / "model.pt")
    return tmp_path


@pytest.mark.parametrize(
    "damage", [lambda file: file.unlink(), lambda file: file.write_bytes(b"PK")]
)
def test_lost_model_is_written_again_from_the_best_epoch(trained, damage):
    """With its checksum; one that is there is left alone."""
    model = trained / "model.pt"
    before = model.stat().st_mtime_ns
    recover_model(model, trained, Position(5))
    assert model.stat().st_mtime_ns == before

    damage(model)
    recover_model(model, trained, Position(5))

    assert load_state(model) == {"weight": torch.tensor([4.0])}
    assert is_whole(model)


@pytest.mark.parametrize("state", ["gone", "damaged"])
def test_lost_model_of_an_earlier_epoch_is_named(trained, state):
    """Its weights are nowhere."""
    (trained / "epoch_0004.pt").unlink()
    (trained / "model.pt").unlink()
    if state == "damaged":
        (trained / "model.pt").touch()

    with pytest.raises(InputError, match=f"model.pt: is {state}, and no checkpoint of its epoch 4"):
        recover_model(trained / "model.pt", trained, Position(5))


def test_training_without_a_validation_has_no_model_to_lose(tmp_path):
    """Nor has one that begins."""
    save_state({"network": {}, "best_metric_epoch": -1}, tmp_path / "epoch_0001.pt")

    for position in (START, Position(1)):
        recover_model(tmp_path / "model.pt", tmp_path, position)
    assert not (tmp_path / "model.pt").exists()
