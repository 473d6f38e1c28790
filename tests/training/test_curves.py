"""Steps of curves are iterations; their values are the loss and its terms."""

import pytest
import torch

from nacl_monai.losses import CrossEntropyLoss, DeepSupervisionLoss
from nacl_monai.training import Position, last_step, loss_and_terms, next_step


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
