"""Margin-based label smoothing."""

import pytest
import torch

from nacl_monai.losses import MbLSLoss


@pytest.mark.parametrize("ignore_index", [None, 1])
@pytest.mark.parametrize("margin", [0.0, 3.0])
def test_equals_the_loop(reference, batch, margin, ignore_index):
    """The penalty is the mean, over voxels and classes, of the distance beyond the margin."""
    logits, labels = batch
    loss = MbLSLoss(margin=margin, penalty_weight=0.3, ignore_index=ignore_index)
    loss(logits, labels)
    expected = 0.3 * reference.margin(logits, labels, margin, ignore_index)

    assert expected > 0
    assert loss.latest_terms["penalty"].item() == pytest.approx(expected)


def test_within_the_margin_it_is_cross_entropy():
    """Logits closer to each other than the margin are not penalized."""
    loss = MbLSLoss(margin=5.0)
    loss(4.9 * torch.rand(1, 3, 8, 8), torch.zeros(1, 8, 8))

    assert loss.latest_terms["penalty"] == 0
