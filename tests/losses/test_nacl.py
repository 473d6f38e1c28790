"""NACL: equation 9, its priors, penalties and spaces."""

import math

import monai
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.transforms import ConcatItemsd

from nacl_monai.errors import InputError
from nacl_monai.losses import NACLLoss, log_barrier, neighborhood_proportions
from nacl_monai.losses.penalties import PENALTIES


def barrier(z, t):
    """Equation 8 of Kervadec et al.: the log-barrier extension of z ≤ 0."""
    if z <= -1 / t**2:
        return -math.log(-z) / t
    return t * z - math.log(1 / t**2) / t + 1 / t


FORMULAS = {
    "l1": abs,
    "l2": lambda d: d * d,
    "log_barrier": lambda d: barrier(d, 5.0) + barrier(-d, 5.0) - 2 * barrier(0.0, 5.0),
}


@pytest.mark.parametrize("ignore_index", [None, 1])
@pytest.mark.parametrize("space", ["logits", "softmax"])
@pytest.mark.parametrize("penalty", FORMULAS)
def test_equation_9(reference, batch, penalty, space, ignore_index):
    """Cross-entropy plus λ times the mean penalty on τ - l, over classes and counted voxels."""
    logits, labels = batch
    tau = torch.stack(
        [
            reference.proportions(y[0], 3, reference.mean_weight, ignore_index=ignore_index)
            for y in labels
        ]
    ).movedim(1, -1)
    gaps = []
    for (p, row, _), proportions in zip(
        reference.voxels(logits, labels, ignore_index),
        tau[labels.squeeze(1) != ignore_index if ignore_index is not None else ...].reshape(-1, 3),
        strict=True,
    ):
        gaps += (proportions - (row if space == "logits" else p)).tolist()
    loss = NACLLoss(penalty=penalty, space=space, penalty_weight=0.3, ignore_index=ignore_index)
    value = loss(logits, labels).item()
    expected = 0.3 * reference.mean(FORMULAS[penalty](gap) for gap in gaps)

    assert loss.latest_terms["penalty"].item() == pytest.approx(expected)
    assert value == pytest.approx(reference.cross_entropy(logits, labels, ignore_index) + expected)


@given(st.floats(-10, 10), st.floats(0.5, 20))
def test_log_barrier_is_two_barriers(gap, sharpness):
    """For an equality, it is the sum of both inequalities' extensions, less its constant."""
    expected = barrier(gap, sharpness) + barrier(-gap, sharpness) - 2 * barrier(0.0, sharpness)
    result = log_barrier(torch.tensor(gap, dtype=torch.float64), sharpness)

    assert result.item() == pytest.approx(expected, abs=1e-9)


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


@pytest.mark.parametrize("settings", [{"prior": "gaussian", "sigma": 2.0, "kernel_size": 5},
                                      {"border": "replicate"}])  # fmt: skip
def test_settings_reach_the_prior(batch, settings):
    """The prior's settings are those of ``neighborhood_proportions``."""
    logits, labels = batch
    loss = NACLLoss(penalty_weight=1.0, **settings)
    loss(logits, labels)
    tau = neighborhood_proportions(labels, 3, dtype=torch.float64, **settings)

    torch.testing.assert_close(loss.latest_terms["penalty"], (tau - logits).abs().mean())


@pytest.mark.parametrize("penalty", ["l1", "l2"])
def test_monai_agrees_but_for_the_border(batch, penalty):
    """MONAI's loss differs by what its zeros take from τ at the border, and by nothing else."""
    logits, labels = batch
    dims = labels.ndim - 2
    theirs = monai.losses.NACLLoss(3, dims, distance_type=penalty)
    ours = NACLLoss(penalty=penalty)
    tau = neighborhood_proportions(labels, 3, dtype=torch.float64)
    ones = torch.ones_like(labels.squeeze(1))
    kept = monai.losses.NACLLoss(2, dims).get_constr_target(ones)[:, 1:].double()
    measure = torch.abs if penalty == "l1" else torch.square
    change = (measure(kept * tau - logits) - measure(tau - logits)).mean()

    difference = theirs(logits, labels.squeeze(1)) - ours(logits, labels)
    assert difference.abs() > 1e-4
    torch.testing.assert_close(difference, 0.1 * change, rtol=1e-4, atol=1e-7)


def test_monai_agrees_inside():
    """Away from the border, the gradient equals that of MONAI's loss."""
    logits, labels = torch.randn(1, 3, 9, 9), torch.randint(3, (1, 9, 9))
    logits.requires_grad_()
    gradients = []
    for loss in (NACLLoss(), monai.losses.NACLLoss(3, 2)):
        (gradient,) = torch.autograd.grad(loss(logits, labels), logits)
        gradients.append(gradient[..., 1:-1, 1:-1])

    torch.testing.assert_close(*gradients)


def test_bilateral_prior_from_a_loader():
    """A pipeline that ends by joining label and image gives the loss what it needs."""
    sample = {"image": torch.rand(2, 8, 8), "label": torch.randint(3, (1, 8, 8)).float()}
    joined = ConcatItemsd(keys=["label", "image"], name="label")(sample)
    logits = torch.randn(1, 3, 8, 8)
    loss = NACLLoss(prior="bilateral", penalty_weight=1.0)
    loss(logits, joined["label"][None])
    tau = neighborhood_proportions(
        sample["label"][None], 3, prior="bilateral", image=sample["image"][None]
    )

    torch.testing.assert_close(loss.latest_terms["penalty"], (tau - logits).abs().mean())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kernel_size": 2}, "kernel_size: is 2; pass an odd number, 3 or more"),
        ({"prior": "median"}, "prior: is 'median'; pass one of mean, gaussian, bilateral"),
        ({"penalty": "l3"}, "penalty: is 'l3'; pass one of l1, l2, log_barrier"),
        ({"penalty_weight": -0.1}, "penalty_weight: is -0.1; pass 0 or more"),
        ({"space": "probabilities"}, "space: is 'probabilities'; pass one of logits, softmax"),
        ({"border": "zeros"}, "border: is 'zeros'; pass one of valid, replicate"),
        ({"sharpness": 0.0}, "sharpness: is 0.0; pass a positive number"),
    ],
)
def test_unusable_settings(settings, message):
    """A misspelt setting is named when the loss is made, not when it is used."""
    with pytest.raises(InputError, match=message):
        NACLLoss(**settings)


def test_bilateral_prior_without_image():
    """Labels that carry no image are refused, with the form that is expected."""
    with pytest.raises(InputError, match=r"prior 'bilateral' needs .* then the image"):
        NACLLoss(prior="bilateral")(torch.zeros(1, 3, 4, 4), torch.zeros(1, 1, 4, 4))
