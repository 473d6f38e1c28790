"""Focal loss."""

import monai
import pytest
import torch

from nacl_monai.errors import InputError
from nacl_monai.losses import FocalLoss


@pytest.mark.parametrize("ignore_index", [None, 1])
@pytest.mark.parametrize("gamma", [0.5, 1.0, 3.0])
def test_equals_the_loop(reference, batch, gamma, ignore_index):
    """Each voxel counts by (1 - p)^γ."""
    logits, labels = batch
    expected = reference.focal(logits, labels, gamma, ignore_index)

    assert FocalLoss(gamma=gamma, ignore_index=ignore_index)(logits, labels).item() == (
        pytest.approx(expected)
    )


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


def test_exponent_is_not_negative():
    """γ is 0 or more."""
    with pytest.raises(InputError, match="gamma: is -1; pass 0 or more"):
        FocalLoss(gamma=-1)
