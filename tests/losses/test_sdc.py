"""Signed distance calibration, by morphology and by distance.

On frozen tensors with two classes, the published code gave the value of ours for logits with the classes
interchanged: its distance is positive outside. Probabilities equal to the labels cost more there than
their opposite, 1.33 against 0.67.
"""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nacl_monai.losses import CrossEntropyLoss, SDCLoss, distance_penalty, morphology_penalty
from nacl_monai.losses.sdc import OPERATIONS, signed_distance
from tests.same import same_values


@pytest.mark.parametrize("ignore_index", [None, 1])
def test_is_cross_entropy_plus_both_penalties(batch, ignore_index):
    """Each term has its weight; 0.1 for the first, and 0.1 divided by 100 for the second."""
    ignore = {"ignore_index": ignore_index}
    loss = SDCLoss(**ignore)
    loss(*batch)
    first = 0.1 * morphology_penalty(*batch, morphology="gradient", kernel_size=3, **ignore)
    second = 0.1 / 100 * distance_penalty(*batch, **ignore)

    assert loss.latest_terms["cross_entropy"] == CrossEntropyLoss(**ignore)(*batch)
    torch.testing.assert_close(loss.latest_terms["penalty"], first)
    torch.testing.assert_close(loss.latest_terms["penalty_2"], second)


operations = pytest.mark.parametrize("operation", OPERATIONS)


def blobs(*shape, classes=3):
    """Labels in lumps of two voxels, so that every operation leaves something."""
    labels = torch.randint(classes, [(n + 1) // 2 for n in shape])
    for axis, n in enumerate(shape):
        labels = labels.repeat_interleave(2, axis).narrow(axis, 0, n)
    return labels


@operations
@pytest.mark.parametrize("ignore_index", [None, 1])
@pytest.mark.parametrize("shape", [(7, 6), (4, 3, 5)], ids=["2-D", "3-D"])
def test_equals_the_loop(reference, shape, operation, ignore_index):
    """Sets of voxels, and the shares of each in a window, one voxel after the other."""
    logits = 2 * torch.randn(2, 3, *shape, dtype=torch.float64)
    labels = torch.stack([blobs(*shape) for _ in range(2)]).unsqueeze(1)
    found = morphology_penalty(logits, labels, morphology=operation, ignore_index=ignore_index)
    expected = reference.morphology_penalty(logits, labels, operation, ignore_index)

    assert found.item() == pytest.approx(expected, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**16), st.booleans(), st.booleans())
def test_operations_keep_the_laws_of_morphology(seed, volume, soft):
    """Erosion ⊆ opening ⊆ mask ⊆ closing ⊆ dilation; openings are idempotent; boundaries add up."""
    torch.manual_seed(seed)
    shape = (2, 3, 4, 5, 6) if volume else (2, 3, 7, 6)
    counted = (torch.rand(shape[0], 1, *shape[2:]) < 0.9).double()
    members = torch.rand(shape, dtype=torch.float64)
    members = (members if soft else members.round()) * counted
    done = {name: operation(members, counted) for name, operation in OPERATIONS.items()}
    chain = [done["erosion"], done["opening"], members, done["closing"], done["dilation"]]
    tiny = 1e-12

    assert all((small <= large + tiny).all() for small, large in pairwise(chain))
    for name in ("opening", "closing"):
        again = OPERATIONS[name](done[name], counted)
        # Float64, in another order.
        torch.testing.assert_close(again, done[name], rtol=0, atol=tiny)
    # Float64, in another order.
    torch.testing.assert_close(done["inner"] + done["outer"], done["gradient"], rtol=0, atol=tiny)
    assert all((done[name] * (1 - counted) == 0).all() for name in done)


def test_far_from_borders_the_gradient_pulls_at_nothing():
    """There is no proportion there, and probabilities sum to 1 whatever they are."""
    logits = torch.randn(1, 2, 12, 12, dtype=torch.float64, requires_grad=True)
    labels = (torch.arange(12) < 3).expand(1, 1, 12, 12)
    morphology_penalty(logits, labels).backward()
    slopes = logits.grad.abs().amax((0, 1, 2))

    # 2 and 3 are boundary, windows reach further.
    near = torch.isin(torch.arange(12), torch.arange(1, 5))

    assert (slopes[near] > 1e-6).all()
    assert (slopes[~near] < 1e-15).all()


@pytest.mark.parametrize("operation", ["inner", "outer", "gradient"])
@pytest.mark.parametrize("ignore_index", [None, 255])
def test_shares_that_are_alike_everywhere_have_no_boundary(operation, ignore_index):
    """Nothing is left of them, not even what rounding leaves, of which proportions would be made."""
    for share in torch.linspace(0.01, 0.99, 99):
        labels = torch.stack([share, 1 - share]).view(1, 2, 1, 1).expand(1, 2, 5, 5)
        settings = {"morphology": operation, "ignore_index": ignore_index}
        found = morphology_penalty(torch.zeros(1, 2, 5, 5), labels, **settings)
        assert found.item() == 0.5  # of probabilities of 1/2, against nothing


@pytest.mark.parametrize("ignore_index", [None, 1, 255])
def test_distance_equals_the_loop(reference, batch, ignore_index):
    """The nearest voxel of the other kind is looked for among all."""
    logits, labels = batch
    if ignore_index == 255:
        labels[..., :2] = 255
    found = distance_penalty(logits, labels, ignore_index=ignore_index)
    expected = reference.distance_penalty(logits, labels, ignore_index)

    assert found.item() == pytest.approx(expected, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**16), st.integers(2, 4))
def test_distance_is_in_the_unit_interval_and_positive_inside(seed, classes):
    """It reaches 1 or -1 in every image and class, and is at least one voxel everywhere."""
    torch.manual_seed(seed)
    labels = torch.randint(classes, (2, 1, 6, 7))
    members = torch.cat([labels == k for k in range(classes)], 1)
    distance = signed_distance(members, torch.ones_like(labels, dtype=torch.bool))

    same_values(distance > 0, members)
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
