"""Label smoothing."""

import math

import pytest

from nacl_monai.errors import InputError
from nacl_monai.losses import LabelSmoothingLoss, label_smoothing_loss


@pytest.mark.parametrize("ignore_index", [None, 1])
@pytest.mark.parametrize("alpha", [0.1, 0.3, 1.0])
def test_equals_the_loop(reference, batch, alpha, ignore_index):
    """A share α of each label is spread evenly over all classes."""
    logits, labels = batch
    loss = LabelSmoothingLoss(label_smoothing=alpha, ignore_index=ignore_index)
    expected = reference.smoothed(logits, labels, alpha, ignore_index)

    assert loss(logits, labels).item() == pytest.approx(expected)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, math.nan])
def test_share_outside_its_range_is_refused(batch, alpha):
    """α is in [0, 1], in module and function."""
    for make in (
        lambda: LabelSmoothingLoss(label_smoothing=alpha),
        lambda: label_smoothing_loss(*batch, label_smoothing=alpha),
    ):
        with pytest.raises(InputError) as caught:
            make()
        assert str(caught.value) == f"label_smoothing: is {alpha}; pass 0 to 1"


def test_settings_are_printed():
    """What is printed is what would be passed."""
    default = "LabelSmoothingLoss(label_smoothing=0.1, ignore_index=None)"
    assert repr(LabelSmoothingLoss()) == default
    loss = "LabelSmoothingLoss(label_smoothing=0.2, ignore_index=255)"
    assert repr(eval(loss)) == loss


def test_term_is_named_cross_entropy(batch):
    """Curves show one term."""
    assert list(LabelSmoothingLoss().terms(*batch)) == ["cross_entropy"]
