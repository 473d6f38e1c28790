"""Focal loss."""

import math

import monai
import pytest
import torch

from nacl_monai.losses import FocalLoss, focal_loss


def test_monai_divides_by_the_number_of_classes(batch):
    """MONAI's value is ours divided by K, unless it ignores a label."""
    logits, labels = batch

    def theirs(**settings):
        loss = monai.losses.FocalLoss(to_onehot_y=True, use_softmax=True, gamma=3.0, **settings)
        return loss(logits.float(), labels)

    ours = FocalLoss()(logits.float(), labels)
    torch.testing.assert_close(theirs(), ours / 3)
    torch.testing.assert_close(theirs(ignore_index=255), ours)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 3.0])
def test_certainty_has_a_finite_gradient(gamma):
    """At p = 1 the loss is 0 and its gradient is finite, for γ below 1 as well."""
    logits = torch.zeros(1, 2, 2, 2)
    logits[:, 0] = 1e4
    loss = FocalLoss(gamma=gamma)(logits.requires_grad_(), torch.zeros(1, 2, 2))
    loss.backward()

    assert loss == 0
    assert logits.grad.isfinite().all()


def test_confident_voxels_keep_their_small_loss():
    """At p = 1 - 1e-5, 1 - p must not cancel: (1e-5)³ · 1e-5 in float32."""
    logits = torch.tensor([math.log(1e5), 0.0]).view(1, 2, 1, 1)
    value = focal_loss(logits, torch.zeros(1, 1, 1, 1), gamma=3.0).item()

    assert value == pytest.approx(1e-20, rel=1e-3)
