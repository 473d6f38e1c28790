"""Cross-entropy: torch's, where anything counts."""

import pytest
import torch

from nacl_monai.errors import InputError
from nacl_monai.losses import CrossEntropyLoss, DiceCELoss, NACLLoss, cross_entropy

WEIGHTS = [0.1, 1.0, 3.0]


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


def test_torch_is_nan_where_no_voxel_counts(batch):
    """The one difference: torch's mean over no voxel is NaN, ours is 0."""
    logits, labels = batch
    nothing = torch.full_like(labels, 255)

    assert torch.nn.CrossEntropyLoss(ignore_index=255)(logits, nothing.squeeze(1)).isnan()
    for weights in (None, WEIGHTS):
        assert CrossEntropyLoss(class_weights=weights, ignore_index=255)(logits, nothing) == 0


@pytest.mark.parametrize("ignore_index", [None, 255])
@pytest.mark.parametrize("soft", [False, True])
def test_batch_of_a_class_without_weight_is_zero(batch, ignore_index, soft):
    """As in patches of background alone; torch's mean is NaN, and would end the training."""
    logits, labels = batch
    labels = torch.zeros_like(labels)
    if soft:
        labels = torch.nn.functional.one_hot(labels[:, 0].long(), 3).movedim(-1, 1)

    loss = CrossEntropyLoss(class_weights=[0.0, 1.0, 1.0], ignore_index=ignore_index)

    assert loss(logits, labels) == 0


@pytest.mark.parametrize("weights", [[1.0, 2.0], [1.0, 2.0, 3.0, 4.0], torch.ones(2)])
def test_number_of_class_weights_is_that_of_the_classes(batch, weights):
    """A wrong number of class weights is named."""
    with pytest.raises(InputError) as caught:
        CrossEntropyLoss(class_weights=weights)(*batch)
    assert str(caught.value) == (
        f"class_weights: has {len(weights)} values, but logits have 3 classes; "
        "pass one weight per class"
    )


@pytest.mark.parametrize("weights", [[1.0, -1.0, 1.0], [0.0, 0.0, 0.0]])
def test_class_weights_are_not_negative_and_not_all_zero(batch, weights):
    """Refused when the loss is made, or by the function; a class would be unlearned."""
    for refusing in (
        lambda: CrossEntropyLoss(class_weights=weights),
        lambda: cross_entropy(*batch, class_weights=weights),
        lambda: NACLLoss(class_weights=weights),
        lambda: DiceCELoss(class_weights=weights),
    ):
        with pytest.raises(InputError, match="class_weights: is .*; pass weights of 0 or more"):
            refusing()


@pytest.mark.parametrize("ignore_index", [None, 1])
def test_class_weights_may_be_a_tensor(batch, ignore_index):
    """A list and a tensor of weights give the same value, in the precision of the logits."""
    logits, labels = batch
    values = [
        cross_entropy(logits, labels, class_weights=weights, ignore_index=ignore_index)
        for weights in (WEIGHTS, torch.tensor(WEIGHTS))
    ]

    assert torch.equal(*values)
    assert values[0].dtype == torch.float64


@pytest.mark.parametrize("ignore_index", [None, 1])
def test_smoothing_goes_with_class_weights(batch, ignore_index):
    """With all of torch's options at once, the value is torch's up to the mean's denominator."""
    logits, labels = batch
    options = {"label_smoothing": 0.2}
    weights = torch.tensor(WEIGHTS, dtype=torch.float64)
    theirs = torch.nn.functional.cross_entropy(
        logits, labels.squeeze(1), weights,
        ignore_index=-100 if ignore_index is None else ignore_index, **options,
    )  # fmt: skip
    ours = cross_entropy(
        logits, labels, class_weights=weights, ignore_index=ignore_index, **options
    )

    torch.testing.assert_close(ours, theirs)


def test_only_ratios_of_class_weights_matter(batch):
    """The mean is weighted, so that small weights give the same value, with ignored voxels too."""
    logits, labels = batch
    small = [1e-6 * weight for weight in WEIGHTS]
    values = [
        cross_entropy(logits, labels, class_weights=weights, ignore_index=1)
        for weights in (WEIGHTS, small)
    ]

    torch.testing.assert_close(*values, rtol=1e-6, atol=0)
