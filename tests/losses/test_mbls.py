"""Margin-based label smoothing."""

import torch

from nacl_monai.losses import (
    MbLSLoss,
    margin_penalty,
)


def test_within_the_margin_it_is_cross_entropy():
    """Logits closer to each other than the margin are not penalized."""
    loss = MbLSLoss(margin=5.0)
    loss(4.9 * torch.rand(1, 3, 8, 8), torch.zeros(1, 8, 8))

    assert loss.latest_terms["penalty"] == 0


def test_beyond_the_margin_each_class_counts_by_its_excess():
    """Distances 0, 5 and 7 below the largest, a margin of 5: 2 of 3 classes are free."""
    logits = torch.tensor([4.0, -1.0, -3.0]).view(1, 3, 1, 1)

    assert margin_penalty(logits, torch.zeros(1, 1, 1, 1)) == torch.tensor(2.0) / 3
    assert margin_penalty(logits, torch.zeros(1, 1, 1, 1), margin=4.0) == torch.tensor(4.0) / 3
