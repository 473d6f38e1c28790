"""Explicit confidence penalty."""

import math

import pytest
import torch

from nacl_monai.errors import InputError
from nacl_monai.losses import (
    CrossEntropyLoss,
    ECPLoss,
    EntropyPenalty,
    ecp_loss,
    entropy_penalty,
)


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


def test_certainty_has_no_entropy():
    """A certain prediction has entropy 0, and a finite gradient."""
    logits = torch.tensor([1e4, 0.0]).view(1, 2, 1, 1).requires_grad_()
    penalty = entropy_penalty(logits, torch.zeros(1, 1, 1, 1))
    penalty.backward()

    assert penalty == 0
    assert logits.grad.isfinite().all()


def test_class_weights_are_cross_entropys(batch):
    """Class weights change cross-entropy and leave the entropy alone."""
    weights = [1.0, 2.0, 5.0]
    loss = ECPLoss(class_weights=weights)
    value = loss(*batch)

    assert torch.equal(ecp_loss(*batch, class_weights=weights), value)
    assert loss.latest_terms["cross_entropy"] == CrossEntropyLoss(class_weights=weights)(*batch)
    assert loss.latest_terms["penalty"] == EntropyPenalty()(*batch)


@pytest.mark.parametrize("weight", [-0.1, math.nan])
def test_weight_is_not_negative(batch, weight):
    """The key at fault is named by module, function and penalty."""
    for make in (
        lambda: ECPLoss(entropy_weight=weight),
        lambda: ecp_loss(*batch, entropy_weight=weight),
    ):
        with pytest.raises(InputError) as caught:
            make()
        assert str(caught.value) == f"entropy_weight: is {weight}; pass 0 or more"
    with pytest.raises(InputError) as caught:
        EntropyPenalty(weight=weight)
    assert str(caught.value) == f"weight: is {weight}; pass 0 or more"


def test_settings_are_printed():
    """What is printed is what would be passed."""
    assert repr(EntropyPenalty()) == "EntropyPenalty(weight=0.1, ignore_index=None)"
    loss = repr(ECPLoss(entropy_weight=0.2, class_weights=[1.0, 2.0], ignore_index=255))
    assert "CrossEntropyLoss(class_weights=[1.0, 2.0], ignore_index=255)" in loss
    assert "EntropyPenalty(weight=0.2, ignore_index=255)" in loss
    assert repr(ECPLoss()) == repr(ECPLoss(entropy_weight=0.1))
