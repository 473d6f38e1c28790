"""Cross-entropy: torch's, where anything counts."""

import pytest
import torch

from nacl_monai.errors import InputError
from nacl_monai.losses import CrossEntropyLoss

WEIGHTS = [0.1, 1.0, 3.0]


@pytest.mark.parametrize("ignore_index", [None, 1])
def test_equals_the_loop(reference, batch, ignore_index):
    """Cross-entropy is the mean of -log p of the label."""
    logits, labels = batch
    expected = reference.cross_entropy(logits, labels, ignore_index)

    assert CrossEntropyLoss(ignore_index=ignore_index)(logits, labels).item() == pytest.approx(
        expected
    )


@pytest.mark.parametrize("ignore_index", [None, 1, 255])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_equals_torch(batch, ignore_index, weights):
    """With class weights and ignored voxels, it equals ``torch.nn.CrossEntropyLoss``."""
    logits, labels = batch
    labels[..., 0] = 255 if ignore_index == 255 else 0
    theirs = torch.nn.CrossEntropyLoss(
        weight=None if weights is None else torch.tensor(weights, dtype=torch.float64),
        ignore_index=-100 if ignore_index is None else ignore_index,
    )
    ours = CrossEntropyLoss(class_weights=weights, ignore_index=ignore_index)

    torch.testing.assert_close(
        ours(logits, labels), theirs(logits, labels.squeeze(1)), rtol=1e-6, atol=0
    )


def test_torch_is_nan_where_nothing_counts(batch):
    """The one difference: torch's mean over no voxel is NaN, ours is 0."""
    logits, labels = batch
    nothing = torch.full_like(labels, 255)

    assert torch.nn.CrossEntropyLoss(ignore_index=255)(logits, nothing.squeeze(1)).isnan()
    for weights in (None, WEIGHTS):
        assert CrossEntropyLoss(class_weights=weights, ignore_index=255)(logits, nothing) == 0


def test_one_weight_per_class(batch):
    """A wrong number of class weights is named."""
    with pytest.raises(InputError, match="class_weights: has 2 values, but logits have 3 classes"):
        CrossEntropyLoss(class_weights=[1.0, 2.0])(*batch)
