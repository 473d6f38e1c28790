"""The learning rate falls after half of the epochs, and another length must not change it."""

import pytest
import torch
from monai.bundle import ConfigParser

from nacl_monai.errors import SettingError
from nacl_monai.training import ScheduleState, check_interval
from nacl_monai.training.schedule import refusal_of_length


@pytest.mark.parametrize(("epochs", "interval"), [(1, 1), (3, 3), (100, 2)])
def test_interval_up_to_the_number_of_epochs_keeps_a_model(epochs, interval):
    """There is a validation."""
    check_interval(epochs, interval)


def test_longer_interval_is_refused():
    """No model would be kept."""
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
        (
            {"_target_": "torch.optim.lr_scheduler.CosineAnnealingLR", "T_max": "@max_epochs"},
            "the learning rate of epoch 2",
        ),
        (
            {"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau", "factor": 0.5},
            "depends on more than the epoch",
        ),
    ],
)
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
