"""The penalty by signed distance.

On frozen tensors with two classes, the published code gave the value of ours for logits with the classes
interchanged: its distance is positive outside. Probabilities equal to the labels cost more there than
their opposite, 1.33 against 0.67.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nacl_monai.losses import distance_penalty
from nacl_monai.losses.sdc import signed_distance


@pytest.mark.parametrize("ignore_index", [None, 1, 255])
def test_equals_the_loop(reference, batch, ignore_index):
    """The nearest voxel of the other kind is looked for among all."""
    logits, labels = batch
    if ignore_index == 255:
        labels[..., :2] = 255
    found = distance_penalty(logits, labels, ignore_index=ignore_index)
    expected = reference.distance_penalty(logits, labels, ignore_index)

    assert found.item() == pytest.approx(expected, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**16), st.booleans())
def test_labels_themselves_cost_less_than_their_opposite(seed, volume):
    """The sign is that of 2p - 1: positive inside."""
    torch.manual_seed(seed)
    shape = (3, 4, 5) if volume else (6, 7)
    labels = torch.randint(2, (1, 1, *shape))
    logits = torch.cat([labels == 0, labels == 1], 1) * 20.0 - 10

    assert distance_penalty(logits, labels) < distance_penalty(-logits, labels)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**16), st.integers(2, 4))
def test_distance_is_in_the_unit_interval_and_positive_inside(seed, classes):
    """It reaches 1 or -1 in every image and class, and is at least one voxel everywhere."""
    torch.manual_seed(seed)
    labels = torch.randint(classes, (2, 1, 6, 7))
    members = torch.cat([labels == k for k in range(classes)], 1)
    distance = signed_distance(members, torch.ones_like(labels, dtype=torch.bool))

    assert torch.equal(distance > 0, members)
    torch.testing.assert_close(distance.abs().amax((2, 3)), torch.ones(2, classes))
    assert (distance != 0).all()


def test_class_that_is_everywhere_or_nowhere_has_no_border():
    """It is then 1 or -1, where scipy measures the distance to a corner of the image."""
    members = torch.tensor([True, False]).view(1, 2, 1, 1).expand(1, 2, 4, 5)
    counted = torch.ones(1, 1, 4, 5, dtype=torch.bool)
    counted[..., 0, 0] = False
    distance = signed_distance(members & counted, counted)

    assert (distance[0, 0][counted[0, 0]] == 1).all()
    assert (distance[0, 1][counted[0, 0]] == -1).all()
    assert (distance[..., 0, 0] == 0).all()


@pytest.mark.parametrize("shape", [(6, 5), (3, 4, 5)], ids=["2-D", "3-D"])
def test_operator_is_one_that_torch_can_compile(shape):
    """Torch's own checks of a custom operator."""
    labels = torch.randint(3, (2, 1, *shape))
    members = torch.cat([labels == k for k in range(3)], 1)

    torch.library.opcheck(signed_distance, (members, torch.ones_like(labels, dtype=torch.bool)))
