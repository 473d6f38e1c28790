"""Explicit confidence penalty."""

import math

import pytest
import torch

from nacl_monai.losses import (
    ECPLoss,
    entropy_penalty,
)


def test_uniform_prediction_has_the_entropy_log_k():
    """The most uncertain prediction earns β log K."""
    loss = ECPLoss(entropy_weight=1.0)
    loss(torch.zeros(1, 5, 4, 4), torch.zeros(1, 4, 4))

    assert loss.latest_terms["penalty"].item() == pytest.approx(-math.log(5))


def test_certainty_has_no_entropy():
    """A certain prediction has entropy 0, and a finite gradient."""
    logits = torch.tensor([1e4, 0.0]).view(1, 2, 1, 1).requires_grad_()
    penalty = entropy_penalty(logits, torch.zeros(1, 1, 1, 1))
    penalty.backward()

    assert penalty == 0
    assert logits.grad.isfinite().all()
