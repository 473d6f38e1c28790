"""Margin-based label smoothing."""

import math

import pytest
import torch

from nacl_monai.errors import InputError
from nacl_monai.losses import (
    CrossEntropyLoss,
    MarginPenalty,
    MbLSLoss,
    margin_penalty,
    mbls_loss,
)


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


def test_beyond_the_margin_each_class_counts_by_its_excess():
    """Distances 0, 5 and 7 below the largest, a margin of 5: 2 of 3 classes are free."""
    logits = torch.tensor([4.0, -1.0, -3.0]).view(1, 3, 1, 1)

    assert margin_penalty(logits, torch.zeros(1, 1, 1, 1)) == torch.tensor(2.0) / 3
    assert margin_penalty(logits, torch.zeros(1, 1, 1, 1), margin=4.0) == torch.tensor(4.0) / 3


def test_class_weights_are_cross_entropys(batch):
    """Class weights change cross-entropy and leave the penalty alone."""
    weights = [1.0, 2.0, 5.0]
    loss = MbLSLoss(margin=1.0, class_weights=weights)
    value = loss(*batch)

    assert torch.equal(mbls_loss(*batch, margin=1.0, class_weights=weights), value)
    assert loss.latest_terms["cross_entropy"] == CrossEntropyLoss(class_weights=weights)(*batch)
    assert loss.latest_terms["penalty"] == MarginPenalty(margin=1.0)(*batch)


@pytest.mark.parametrize("weight", [-0.1, math.nan])
def test_weight_is_not_negative(batch, weight):
    """The key at fault is named by module, function and penalty."""
    for make in (
        lambda: MbLSLoss(penalty_weight=weight),
        lambda: mbls_loss(*batch, penalty_weight=weight),
    ):
        with pytest.raises(InputError) as caught:
            make()
        assert str(caught.value) == f"penalty_weight: is {weight}; pass 0 or more"
    with pytest.raises(InputError) as caught:
        MarginPenalty(weight=weight)
    assert str(caught.value) == f"weight: is {weight}; pass 0 or more"


def test_settings_are_printed():
    """What is printed is what would be passed."""
    assert repr(MarginPenalty()) == "MarginPenalty(weight=0.1, margin=5.0, ignore_index=None)"
    settings = {"margin": 3.0, "penalty_weight": 0.2, "ignore_index": 255}
    loss = repr(MbLSLoss(class_weights=[1.0, 2.0], **settings))
    assert "CrossEntropyLoss(class_weights=[1.0, 2.0], ignore_index=255)" in loss
    assert "MarginPenalty(weight=0.2, margin=3.0, ignore_index=255)" in loss
    assert repr(MbLSLoss()) == repr(MbLSLoss(margin=5.0, penalty_weight=0.1))
