"""The penalties on the gap between scores and proportions, and what can be constrained."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nacl_monai.losses import log_barrier
from nacl_monai.losses.nacl import PENALTIES, SPACES


@given(st.floats(-10, 10), st.floats(0.5, 20))
def test_log_barrier_is_two_barriers(reference, gap, sharpness):
    """For an equality, it is the sum of both inequalities' extensions, less its constant."""
    expected = reference.log_barrier(gap, sharpness)
    result = log_barrier(torch.tensor(gap, dtype=torch.float64), sharpness)

    assert result.item() == pytest.approx(expected, abs=1e-9)


def test_log_barrier_is_five_sharp_by_default():
    """The default tolerance is 1/25, and the slope tends to 5."""
    gap = torch.tensor([0.04, -0.04, 1e6], dtype=torch.float64)
    result = log_barrier(gap)

    assert torch.equal(result, log_barrier(gap, 5.0))
    assert torch.equal(result[:2], torch.zeros(2, dtype=torch.float64))
    assert result[2].item() == pytest.approx(5e6, rel=1e-5)
    assert log_barrier(torch.tensor(0.05)) > 0


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1))
def test_l1_is_the_absolute_difference(values):
    """The one-kernel form of L1 equals the absolute difference, value and gradient."""
    scores = torch.tensor(values, requires_grad=True)
    zeros = torch.zeros(len(values))
    result = PENALTIES["l1"](scores, zeros, "none", 5.0)
    (gradient,) = torch.autograd.grad(result.sum(), scores)

    normal = scores.detach().abs() >= torch.finfo(torch.float32).tiny
    torch.testing.assert_close(result, scores.abs(), rtol=1e-6, atol=2e-38)
    assert torch.equal(gradient[normal], scores.detach().sign()[normal])


FORMULAS = {
    "l1": lambda d: d.abs(),
    "l2": lambda d: d**2,
    "log_barrier": lambda d: log_barrier(d, 3.0),
}


def test_every_penalty_has_a_formula_here():
    """A new penalty is tested, too."""
    assert FORMULAS.keys() == PENALTIES.keys()


@pytest.mark.parametrize("name", FORMULAS)
def test_penalty_is_its_formula_element_by_element_or_on_average(name):
    """Each penalty is of scores minus proportions, in both reductions."""
    scores, proportions = torch.randn(2, 3, 4), torch.rand(2, 3, 4)
    expected = FORMULAS[name](scores - proportions)

    torch.testing.assert_close(PENALTIES[name](scores, proportions, "none", 3.0), expected)
    torch.testing.assert_close(PENALTIES[name](scores, proportions, "mean", 3.0), expected.mean())


def test_spaces_are_the_logits_and_their_softmax():
    """Softmax is over the classes."""
    logits = torch.randn(2, 3, 4, 5)

    assert list(SPACES) == ["logits", "softmax"]
    assert SPACES["logits"](logits) is logits
    torch.testing.assert_close(SPACES["softmax"](logits).sum(1), torch.ones(2, 4, 5))
    assert torch.equal(SPACES["softmax"](logits), logits.softmax(1))
