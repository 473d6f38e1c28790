"""Difference between confidence and accuracy."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from netcal.regularization import DCAPenalty as NetcalPenalty

from nacl_monai.losses import (
    DCALoss,
    dca_penalty,
)


@pytest.mark.parametrize("ignore_index", [None, 1])
def test_equals_the_loop(reference, batch, ignore_index):
    """The penalty is β times the distance of mean confidence and accuracy over all voxels that count."""
    logits, labels = batch
    loss = DCALoss(penalty_weight=0.3, ignore_index=ignore_index)
    loss(logits, labels)
    voxels = list(reference.voxels(logits, labels, ignore_index))
    confidence = reference.mean(p.max() for p, _, _ in voxels)
    accuracy = reference.mean(p.argmax() == y for p, _, y in voxels)

    assert abs(confidence - accuracy) > 0.01
    expected = 0.3 * abs(confidence - accuracy)
    assert loss.latest_terms["penalty"].item() == pytest.approx(expected, abs=1e-12)


def test_equals_netcal(batch):
    """The samples of netcal's batch are the voxels of ours."""
    logits, labels = batch
    samples = logits.movedim(1, -1).flatten(0, -2)
    expected = NetcalPenalty()(samples, labels.flatten())

    torch.testing.assert_close(dca_penalty(logits, labels), expected, check_dtype=False)


@settings(max_examples=50, deadline=None)
@given(st.integers(3, 60), st.data(), st.integers(0, 2**16))
def test_confidence_that_is_the_accuracy_costs_nothing(voxels, data, seed):
    """As many of ``voxels`` are right as all are certain on average, whichever they are."""
    right = data.draw(st.integers(voxels // 2 + 1, voxels - 1))
    torch.manual_seed(seed)
    labels = (torch.arange(voxels) < right).long()[torch.randperm(voxels)].view(1, 1, 1, voxels)
    # Class 1 for every voxel; certainties vary evenly around the accuracy.
    accuracy = right / voxels
    spread = min(accuracy - 0.5, 1 - accuracy) * 0.9
    confidence = accuracy + spread * torch.linspace(-1, 1, voxels, dtype=torch.float64)
    logits = torch.stack([1 - confidence, confidence]).log().view(1, 2, 1, voxels)

    assert dca_penalty(logits, labels) < 1e-12


@pytest.mark.parametrize(("label", "sign"), [(0, -1), (1, 1)])
def test_gradient_raises_confidence_below_the_accuracy_and_lowers_it_above(label, sign):
    """Steps against the gradient bring the confidence nearer to the accuracy."""
    logits = torch.tensor([0.5, 0.0]).view(1, 2, 1, 1).requires_grad_()
    dca_penalty(logits, torch.full((1, 1, 1, 1), label)).backward()

    assert logits.grad[0, 0, 0, 0] * sign > 0
