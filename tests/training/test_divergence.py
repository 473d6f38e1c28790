"""Training stops as soon as the loss or the logits are NaN or infinite, and names the cases."""

import pytest
import torch
from monai.data import DataLoader
from monai.engines import SupervisedTrainer

from nacl_monai.errors import InputError
from nacl_monai.training import StopOnDivergence


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


def test_finite_logits_pass_however_large():
    """It is the loss that counts."""
    trainer = train([0.0, 1.0, 1e30], loss=lambda logits, _: logits.mean() * 0)

    assert trainer.state.iteration == 4


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


def test_refused_batch_does_not_change_the_network():
    """The batch that is refused has not changed the network."""
    network = torch.nn.Conv2d(2, 2, 1)
    before = [weights.clone() for weights in network.parameters()]
    with pytest.raises(InputError):
        train([0.0, 1.0], loss=lambda logits, _: logits.mean() * torch.nan, network=network)
    torch.testing.assert_close(list(network.parameters()), before)
