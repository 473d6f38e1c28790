"""Label smoothing."""

import pytest

from nacl_monai.errors import InputError
from nacl_monai.losses import LabelSmoothingLoss


@pytest.mark.parametrize("ignore_index", [None, 1])
@pytest.mark.parametrize("alpha", [0.1, 0.3, 1.0])
def test_equals_the_loop(reference, batch, alpha, ignore_index):
    """A share α of each label is spread evenly over all classes."""
    logits, labels = batch
    loss = LabelSmoothingLoss(label_smoothing=alpha, ignore_index=ignore_index)
    expected = reference.smoothed(logits, labels, alpha, ignore_index)

    assert loss(logits, labels).item() == pytest.approx(expected)


@pytest.mark.parametrize("alpha", [-0.1, 1.1])
def test_share_is_a_share(alpha):
    """α lies in [0, 1]."""
    with pytest.raises(InputError, match=f"label_smoothing: is {alpha}; pass 0 to 1"):
        LabelSmoothingLoss(label_smoothing=alpha)
