"""Explicit confidence penalty."""

import math

import pytest
import torch

from nacl_monai.losses import ECPLoss


@pytest.mark.parametrize("ignore_index", [None, 1])
def test_equals_the_loop(reference, batch, ignore_index):
    """The penalty is -β times the entropy, which is summed over classes, not averaged."""
    logits, labels = batch
    loss = ECPLoss(entropy_weight=0.3, ignore_index=ignore_index)
    value = loss(logits, labels).item()
    entropy = reference.entropy(logits, labels, ignore_index)

    assert loss.latest_terms["penalty"].item() == pytest.approx(-0.3 * entropy)
    assert value == pytest.approx(
        reference.cross_entropy(logits, labels, ignore_index) - 0.3 * entropy
    )


def test_uniform_prediction_has_the_entropy_log_k():
    """The most uncertain prediction earns β log K."""
    loss = ECPLoss(entropy_weight=1.0)
    loss(torch.zeros(1, 5, 4, 4), torch.zeros(1, 4, 4))

    assert loss.latest_terms["penalty"].item() == pytest.approx(-math.log(5))
