"""Schedules, seeds, progress, and trainings that have failed."""

import random

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedTrainer, Trainer
from monai.transforms import RandScaleIntensity

from nacl_monai.errors import InputError, SettingError
from nacl_monai.losses import CrossEntropyLoss, DeepSupervisionLoss
from nacl_monai.training import (
    EpochSeed,
    Position,
    Progress,
    ScheduleState,
    StopOnDivergence,
    check_interval,
    last_step,
    loss_and_terms,
    next_step,
)
from nacl_monai.training.epochs import refusal_of_length


def test_longer_interval_is_refused():
    """No model would be kept; one up to the number of epochs leaves a validation."""
    for epochs, interval in ((1, 1), (3, 3), (100, 2)):
        check_interval(epochs, interval)
    with pytest.raises(SettingError, match="--val_interval 4: .* write a whole number from 1 to 3"):
        check_interval(3, 4)


def config(epochs, scheduler=None, **more):
    step = {"_target_": "nacl_monai.training.half_of_epochs", "max_epochs": "@max_epochs"}
    drop = {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": step, "gamma": 0.1}
    adam = {"_target_": "torch.optim.Adam", "params": "$@network.parameters()", "lr": 0.1}
    scheduler = {**(scheduler or drop), "optimizer": "@train::optimizer"}
    train = {"optimizer": adam, "lr_scheduler": scheduler, "trainer": {"epochs": "@max_epochs"}}
    return {"max_epochs": epochs, "train": train, **more}


@pytest.mark.parametrize("epochs", [1, 2, 3, 4, 5, 9, 100, 101])
def test_rate_falls_once_after_half_of_the_epochs(epochs):
    """Whether their number is even or odd; of one epoch there is nothing to lower."""
    parser = ConfigParser(config(epochs))
    parser["train::optimizer::params"] = [torch.nn.Parameter(torch.zeros(1))]
    scheduler = parser.get_parsed_content("train::lr_scheduler")
    rates = []
    for _ in range(epochs):
        rates.append(scheduler.get_last_lr()[0])
        scheduler.optimizer.step()
        scheduler.step()

    expected = [0.1 if epoch < epochs / 2 else 0.01 for epoch in range(epochs)]
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize(
    ("earlier", "begun", "now", "said"),
    [
        (10, 5, 12, "epoch 6 is 0.01, that of 12 epochs 0.1"),  # it has just fallen
        (10, 4, 12, ""),
        (9, 9, 10, ""),  # which falls after five epochs, too
        (10, 10, 11, "epoch 6 is 0.01, that of 11 epochs 0.1"),
        (10, 10, 20, "epoch 6 is 0.01, that of 20 epochs 0.1"),
        (10, 3, 9, "only be made longer"),
    ],
)
def test_length_may_change_as_long_as_no_learning_rate_does(earlier, begun, now, said):
    """Neither one that was nor one that is still ahead."""
    refusal = refusal_of_length(config(now), earlier, begun)

    assert said in refusal
    assert bool(said) == bool(refusal)


@pytest.mark.parametrize(
    ("scheduler", "said"),
    [
        ({"_target_": "torch.optim.lr_scheduler.ConstantLR", "factor": 1.0}, ""),
        ({"_target_": "torch.optim.lr_scheduler.ExponentialLR", "gamma": 0.9}, ""),
        ({"_target_": "torch.optim.lr_scheduler.CosineAnnealingLR", "T_max": "@max_epochs"},
         "the learning rate of epoch 2"),
        ({"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau", "factor": 0.5},
         "depends on more than the epoch"),
    ],
)  # fmt: skip
def test_every_scheduler_is_asked_itself(scheduler, said):
    """Those that know no length allow any; those that end with the training none."""
    refusal = refusal_of_length(config(8, scheduler), 4, 4)

    assert said in refusal
    assert bool(said) == bool(refusal)


def test_anything_else_that_depends_on_the_length_refuses():
    """Such as a loss that is warmed up."""
    refusal = refusal_of_length(config(12, loss={"warmup": "$@max_epochs // 2"}), 10, 1)

    assert refusal == "loss::warmup depends on max_epochs"


def test_state_has_no_settings_and_an_earlier_one_that_has_is_read():
    """The step of the configuration counts, not that of the file."""
    network = torch.nn.Linear(1, 1)
    schedulers = [
        torch.optim.lr_scheduler.StepLR(torch.optim.Adam(network.parameters()), step, gamma=0.1)
        for step in (2, 3)
    ]
    schedulers[0].optimizer.step()
    schedulers[0].step()

    state = ScheduleState(schedulers[0]).state_dict()
    assert "step_size" not in state
    ScheduleState(schedulers[1]).load_state_dict(schedulers[0].state_dict())
    assert (schedulers[1].last_epoch, schedulers[1].step_size) == (1, 3)
    assert ScheduleState(schedulers[1]).state_dict() == state


@pytest.mark.parametrize("iterations", [1, 5])
def test_epochs_follow_each_other_without_a_gap(iterations):
    """The steps of an epoch begin where those of the one before end."""
    steps = 0
    for epoch in range(4):
        assert last_step(epoch, range(iterations)) == steps
        assert next_step(Position(epoch), range(iterations)) == steps + 1
        assert next_step(Position(epoch, iterations), range(iterations)) == steps + iterations + 1
        steps += iterations


def test_terms_are_those_of_the_latest_loss():
    """They are asked for in every iteration, not when the handler is made."""
    loss_function = DeepSupervisionLoss(CrossEntropyLoss())
    for seed in range(2):
        torch.manual_seed(seed)
        loss = loss_function(torch.randn(1, 2, 4, 4), torch.ones(1, 1, 4, 4))
        shown = loss_and_terms([{"loss": loss}, {"loss": None}], loss_function)

        assert list(shown) == ["loss", "cross_entropy"]
        assert shown["loss"] is loss
        assert float(shown["cross_entropy"]) == pytest.approx(loss.item())


def draws(seed, epochs, start=0):
    """What every generator gives in each epoch, and the order of the samples."""
    data = Dataset([torch.full((1,), float(k)) for k in range(6)], RandScaleIntensity(0.5, prob=1))
    seen = []

    def iteration(_, batch):
        numbers = random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002
        seen.append((*batch.flatten().tolist(), *numbers))

    trainer = Trainer("cpu", epochs, DataLoader(data, shuffle=True), iteration_update=iteration)
    EpochSeed(seed).attach(trainer)

    def begin():
        trainer.state.epoch, trainer.state.iteration = start, 6 * start

    trainer.add_event_handler(Events.STARTED, begin)
    trainer.run()
    return [seen[k : k + 6] for k in range(0, len(seen), 6)]


def test_epoch_alone_equals_the_same_epoch_after_others():
    """An epoch done alone is the same as after others; epochs and seeds differ."""
    first, second, third = draws(0, 3)

    assert draws(0, 3, start=1) == [second, third]
    assert first != second
    others = draws(1, 2)
    assert others != [first, second]
    assert others[0] != second  # of seed and epoch, and not of their sum


def train(images, loss=lambda logits, _: logits.nan_to_num(0, 0, 0).mean(), network=None, epochs=2):
    batches = [
        {"case": f"case{k}", "image": torch.full((2, 3, 3), image), "label": torch.zeros(1, 3, 3)}
        for k, image in enumerate(images)
    ]
    network = network or torch.nn.Conv2d(2, 2, 1)
    trainer = SupervisedTrainer(
        device="cpu",
        max_epochs=epochs,
        train_data_loader=DataLoader(batches, batch_size=2),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.0),
        loss_function=loss,
        train_handlers=[StopOnDivergence()],
    )
    trainer.run()
    return trainer


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
@pytest.mark.parametrize(("times", "hopeless"), [(9.9, False), (10.1, True), (1e11, True)])
def test_epoch_that_is_worse_than_knowing_nothing_ends_the_training(scale, times, hopeless):
    """The second of two epochs; the limit is 10 times the loss of zero logits, or 10 if that is less."""

    def loss(logits, _):
        at_zero = (logits == 0).all()
        value = torch.where(at_zero, scale, times * max(scale, 1))
        return value + 0 * logits.mean()

    if not hopeless:
        assert train([1.0, 2.0, 3.0], loss=loss).state.epoch == 2
        return
    with pytest.raises(InputError) as caught:
        train([1.0, 2.0, 3.0], loss=loss)
    line = f"mean loss {times * max(scale, 1):g}, where a network that knows nothing has {scale:g};"
    assert str(caught.value).startswith(f"epoch 2: the training has diverged, {line} lower the")


def test_first_epoch_may_be_hopeless_unless_it_is_the_last():
    """Networks without normalization begin with large logits."""
    bad = [True, True, False, False]

    def loss(logits, _):
        at_zero = bool((logits == 0).all())
        return logits.mean() * 0 + (0.1 if at_zero or not bad.pop(0) else 1e3)

    assert train([1.0, 2.0, 3.0], loss=loss).state.epoch == 2
    bad += [True, True]
    with pytest.raises(InputError, match="epoch 1: the training has diverged, mean loss 1000"):
        train([1.0, 2.0, 3.0], loss=loss, epochs=1)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_case_whose_logits_are_not_finite_is_named(value):
    """The case whose logits are NaN or infinite is named, its neighbor in the batch is not."""
    with pytest.raises(InputError, match="epoch 1, iteration 2: .* in a batch with case3;"):
        train([0.0, 1.0, 2.0, value])


def test_all_cases_are_named_if_only_the_loss_is_not_finite():
    """If only the loss is NaN, all cases of the batch are named."""
    with pytest.raises(InputError, match="iteration 1: .* loss nan, .* with case0, case1;"):
        train([0.0, 1.0], loss=lambda logits, _: logits.mean() * torch.nan)


def test_bar_counts_iterations_and_shows_the_latest_validation(capsys):
    """The bar ends at epochs × batches, with the epoch, the loss and the validator's metrics."""
    validator = Engine(lambda *_: None)
    validator.state.metrics["val_dice"] = 0.75
    trainer = Engine(lambda *_: [{"loss": 0.5}, {"loss": 0.5}])
    Progress("Training", validator=validator, metrics=["val_dice", "absent"]).attach(trainer)

    trainer.run([1, 2, 3], max_epochs=2)

    shown = capsys.readouterr().err
    assert "6/6" in shown
    assert "epoch=2/2, loss=0.500, val_dice=0.750" in shown
    assert "absent" not in shown
