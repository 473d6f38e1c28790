"""Statistics of logits equal those of a loop over voxels."""

import pytest
import torch
from monai.data import MetaTensor

from nacl_monai.errors import InputError
from nacl_monai.metrics import absolute_logit_sums, maximum_logit_counts


@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (1, 4, 3, 4, 5)])
def test_sums_equal_those_of_a_loop(shape):
    """Each voxel adds the absolute values of its logits to those of its label."""
    logits, labels = 5 * torch.randn(shape), torch.randint(0, shape[1], (shape[0], 1, *shape[2:]))
    sums, counts = torch.zeros(shape[1], shape[1], dtype=torch.float64), [0] * shape[1]
    vectors = logits.movedim(1, -1).reshape(-1, shape[1])
    for vector, label in zip(vectors, labels.flatten().tolist(), strict=True):
        sums[label] += vector.double().abs()
        counts[label] += 1

    actual_sums, actual_counts = absolute_logit_sums(MetaTensor(logits), labels.to(torch.uint8))

    torch.testing.assert_close(actual_sums, sums)
    assert actual_counts.tolist() == counts


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logits_are_left_alone(dtype):
    """The evaluator makes probabilities of them afterwards."""
    logits = torch.randn(1, 3, 5, 4, dtype=dtype)
    kept = logits.clone()
    absolute_logit_sums(logits, torch.zeros(1, 1, 5, 4))
    maximum_logit_counts(logits)

    assert torch.equal(logits, kept)


def test_sums_do_not_drift():
    """Float64 adds 2^24 + 1 ones, where float32 would stop one short."""
    logits = torch.ones(1, 1, 1).expand(1, 2, 2**24 + 1)

    sums, counts = absolute_logit_sums(
        logits, torch.zeros(1, 1, dtype=torch.uint8).expand(1, 2**24 + 1)
    )

    assert sums[0].tolist() == [2**24 + 1] * 2
    assert counts.tolist() == [2**24 + 1, 0]


def test_ignored_voxels_are_as_if_cut_away():
    """Whatever their label is in bytes."""
    logits, labels = torch.randn(1, 3, 40), torch.randint(0, 3, (1, 40), dtype=torch.uint8)
    labels[:, 25:] = 200
    expected = absolute_logit_sums(logits[..., :25], labels[..., :25])

    for found, of in zip(absolute_logit_sums(logits, labels, 200), expected, strict=True):
        torch.testing.assert_close(found, of)


def test_last_class_may_be_absent():
    """A class without voxels has sums and a count of zero, the last one too."""
    sums, counts = absolute_logit_sums(torch.ones(1, 3, 4), torch.tensor([[[0, 1, 1, 1]]]))

    assert sums.tolist() == [[1, 1, 1], [3, 3, 3], [0, 0, 0]]
    assert counts.tolist() == [1, 3, 0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_counts_equal_those_of_a_loop(dtype):
    """Each voxel is counted once, by its largest logit, in the bin that it does not fall short of."""
    logits = (8 * torch.randn(2, 3, 40, 25)).to(dtype)

    counts, edges = maximum_logit_counts(logits, low=-3, high=9, per_unit=4)

    expected = [0] * (len(edges) + 1)
    for largest in logits.amax(1).flatten().tolist():
        expected[sum(edge <= largest for edge in edges.tolist())] += 1
    assert edges.tolist() == [k / 4 for k in range(-12, 37)]
    assert counts.tolist() == expected


def test_voxels_outside_the_grid_are_counted_at_its_ends():
    """Infinite logits and NaN are counted at the ends of the grid, edges in the bin above."""
    largest = [-torch.inf, -1e30, -10.25, -10.0, 49.99, 50.0, 1e30, torch.inf, torch.nan]

    counts, edges = maximum_logit_counts(torch.tensor(largest)[None, None])

    assert (edges[0], edges[-1], len(edges)) == (-10, 50, 241)
    assert {m: n for m, n in enumerate(counts.tolist()) if n} == {0: 3, 1: 1, 240: 1, 241: 4}


def test_counts_are_of_the_voxels_in_the_mask():
    """As if the others were cut away, with or without a channel; of none, all counts are zero."""
    logits, mask = 8 * torch.randn(2, 3, 40), torch.rand(2, 1, 40) < 0.5
    kept = logits.movedim(1, -1)[mask[:, 0]].T[None]
    expected, _ = maximum_logit_counts(kept)

    for form in (mask, mask[:, 0]):
        torch.testing.assert_close(maximum_logit_counts(logits, mask=form)[0], expected)
    assert maximum_logit_counts(logits, mask=torch.zeros_like(mask))[0].tolist() == [0] * 242
    with pytest.raises(InputError, match="mask: have the shape"):
        maximum_logit_counts(logits, mask=mask[..., 1:])
