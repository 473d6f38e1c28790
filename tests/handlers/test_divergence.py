"""Training stops as soon as the loss or the logits are NaN or infinite, and names the cases."""

import pytest
import torch
from monai.data import DataLoader
from monai.engines import SupervisedTrainer

from nacl_monai.errors import InputError
from nacl_monai.handlers import StopOnDivergence


def train(images, loss=lambda logits, _: logits.nan_to_num(0, 0, 0).mean(), network=None):
    batches = [
        {"case": f"case{k}", "image": torch.full((2, 3, 3), image), "label": torch.zeros(1, 3, 3)}
        for k, image in enumerate(images)
    ]
    network = network or torch.nn.Conv2d(2, 2, 1)
    trainer = SupervisedTrainer(
        device="cpu",
        max_epochs=2,
        train_data_loader=DataLoader(batches, batch_size=2),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.0),
        loss_function=loss,
        train_handlers=[StopOnDivergence()],
    )
    trainer.run()
    return trainer


def test_finite_numbers_pass_however_large():
    """Finite numbers pass, however large."""
    assert train([0.0, 1.0, 1e30]).state.iteration == 4


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
