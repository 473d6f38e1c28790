"""Every probability gets the bin whose edges hold it, at the edges of every dtype."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nacl_monai.metrics import bin_indices


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("num_bins", [1, 2, 7, 10, 15, 49, 100])
def test_edge_belongs_to_the_bin_below(dtype, num_bins):
    """A probability equal to an edge in its own dtype is the last of the bin below it."""
    edges = (torch.arange(num_bins + 1, dtype=torch.float64) / num_bins).to(dtype)

    assert bin_indices(edges[1:], num_bins).tolist() == list(range(num_bins))


@pytest.mark.parametrize("num_bins", [1, 2, 7, 10, 15, 49, 100, 1000])
def test_next_float_belongs_to_the_bin_above(num_bins):
    """The smallest float32 above an edge is the first of the next bin."""
    edges = (torch.arange(num_bins, dtype=torch.float64) / num_bins).float()
    above = torch.nextafter(edges, torch.tensor(2.0))

    assert bin_indices(above, num_bins).tolist() == list(range(num_bins))


def test_zero_and_one():
    """Exactly 0 is in the first bin, exactly 1 in the last."""
    assert bin_indices(torch.tensor([0.0, 1.0]), 15).tolist() == [0, 14]


@given(st.integers(1, 200), st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_equals_binary_search(num_bins, seed):
    """The bins are those of torch.bucketize on the same edges."""
    probs = torch.rand(1000, generator=torch.Generator().manual_seed(seed))
    inner = (torch.arange(1, num_bins, dtype=torch.float64) / num_bins).float()

    assert torch.equal(bin_indices(probs, num_bins), torch.bucketize(probs, inner))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("num_bins", [1, 2, 15, 100])
def test_slightly_more_than_one_is_in_the_last_bin(dtype, num_bins):
    """Softmax may round to the next number above 1, or to 1 + 1e-6; there is no bin beyond the last."""
    above = torch.tensor([1 + 1e-6, 1 + 5e-4], dtype=dtype)
    next_number = torch.nextafter(torch.ones((), dtype=dtype), torch.full((), 2.0, dtype=dtype))

    indices = bin_indices(torch.cat([above, next_number[None]]), num_bins)

    assert indices.tolist() == [num_bins - 1] * 3
