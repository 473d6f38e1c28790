"""What docs/penalty.md derives: where cross-entropy and NACL's penalty are smallest together."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from nacl_monai.losses import NACLLoss


def minimum(q, tau, weight):
    """Probabilities at the smallest expected loss, by a solver that knows no derivation.

    Distances are variables of their own, so that the problem is smooth.
    """
    q, tau = np.asarray(q, float), np.asarray(tau, float)
    classes = len(q)

    def expected(x):
        logits, distances = x[:classes], x[classes:]
        return np.logaddexp.reduce(logits) - q @ logits + weight / classes * distances.sum()

    def slope(x):
        probs = np.exp(x[:classes] - np.logaddexp.reduce(x[:classes]))
        return np.concatenate([probs - q, np.full(classes, weight / classes)])

    constraints = [
        {
            "type": "ineq",
            "fun": lambda x, sign=sign: x[classes:] - sign * (x[:classes] - tau),
            "jac": lambda _, sign=sign: np.hstack([-sign * np.eye(classes), np.eye(classes)]),
        }
        for sign in (1, -1)
    ]
    start = np.concatenate([tau, np.zeros(classes)])
    options = {"ftol": 1e-12, "maxiter": 500}
    logits = minimize(
        expected, start, jac=slope, constraints=constraints, method="SLSQP", options=options
    ).x[:classes]
    return logits, np.exp(logits - np.logaddexp.reduce(logits))


shares = st.lists(st.floats(0, 1), min_size=2, max_size=5).filter(lambda x: sum(x) > 0.1)


@given(shares, st.integers(0, 9), st.floats(0.02, 1))
@settings(max_examples=40, deadline=None)
def test_probability_moves_by_at_most_the_weight_over_the_classes(parts, seed, weight):
    """The subgradient says so, class by class."""
    q = np.array(parts) / sum(parts)
    tau = np.random.default_rng(seed).dirichlet(np.ones(len(q)))
    logits, probs = minimum(q, tau, weight)

    bound = weight / len(q)
    assert (np.abs(probs - q) <= bound + 1e-4).all()
    away = np.abs(logits - tau) > 1e-3
    np.testing.assert_allclose(
        probs[away], (q - bound * np.sign(logits - tau))[away], rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("weight", [0.1, 0.3])
def test_sure_voxel_keeps_a_floor_for_every_other_class(classes, weight):
    """Whatever the shares around it are."""
    q = np.eye(classes)[0]
    for tau in (q, np.full(classes, 1 / classes)):
        probs = minimum(q, tau, weight)[1]
        assert probs[0] == pytest.approx(1 - weight / classes, abs=1e-4)
        assert probs[1:].sum() == pytest.approx(weight / classes, abs=1e-4)
    floor = weight / (classes * (classes - 1))
    np.testing.assert_allclose(minimum(q, q, weight)[1][1:], floor, rtol=0, atol=1e-4)


def test_pull_ends_at_the_softmax_of_the_shares():
    """A share of 0.9 as a logit is a probability of 0.69."""
    probs = minimum([1, 0], [0.9, 0.1], weight=5)[1]
    np.testing.assert_allclose(probs, [0.690, 0.310], rtol=0, atol=1e-3)


@pytest.mark.parametrize(("where", "floor"), [("everywhere", 0.1 / 6), ("mixed", 0)])
def test_loss_has_the_floor_unless_it_is_at_mixed_windows_only(where, floor):
    """Logits of a small image as the only parameters; the left columns see no other class."""
    labels = torch.zeros(1, 1, 4, 8, dtype=torch.int64)
    labels[..., 6:] = 1
    logits = torch.zeros(1, 3, 4, 8, requires_grad=True)
    loss = NACLLoss(penalty_weight=0.1, where=where)
    optimizer = torch.optim.Adam([logits])
    for step in range(500):
        optimizer.param_groups[0]["lr"] = 0.2 * (1 - step / 500)
        optimizer.zero_grad()
        loss(logits, labels).backward()
        optimizer.step()
    probs = logits.detach().softmax(1)[0, 1:, :, :4]
    torch.testing.assert_close(probs, torch.full_like(probs, floor), rtol=0, atol=2e-3)
