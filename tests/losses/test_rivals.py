"""SVLS, and the paper's reading of it as a constraint; DCA; mL1-ACE.

On frozen float32 tensors in 2-D and 3-D, the authors' code, run by hand, gave the values and gradients
of both binnings with 5 and 20 bins: hard ones to the bit, soft ones to 1e-7.
"""

import monai
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from netcal.regularization import DCAPenalty as NetcalPenalty

from nacl_monai.losses import CrossEntropyLoss, SVLSLoss, dca_penalty, ml1ace_penalty
from nacl_monai.losses.ml1ace import _bin_sums


def neighbors_only(reference, sigma, radius, dims):
    """SVLS's weights without the center: those of the constraint's τ in equation 6."""
    weight = reference.svls_weight(sigma, radius, dims)
    return lambda j, i: 0.0 if i == j else weight(j, i)


@pytest.mark.parametrize("kernel_size", [3, 5])
def test_value_is_that_of_equations_6_and_7(reference, batch, kernel_size):
    """SVLS is half of CE + KL(τ ‖ p) plus a constant, the entropy of the neighbors' τ.

    Equation 6 holds exactly, with the cross-entropy of p relative to τ as its constraint; equation
    7 replaces that by KL, so its values differ by a constant, and its gradients not at all.
    """
    logits, labels = batch
    radius, dims = kernel_size // 2, logits.ndim - 2
    weight, shares = neighbors_only(reference, 2.0, radius, dims), reference.shares_of(labels, 3)
    tau = torch.stack([reference.proportions(y, weight, "replicate", radius) for y in shares])
    logits.requires_grad_()
    svls = 2 * SVLSLoss(kernel_size=kernel_size)(logits, labels)
    base = CrossEntropyLoss()(logits, labels)
    log_p = logits.log_softmax(1)
    equation_6 = base - (tau * log_p).sum(1).mean()
    equation_7 = base + (torch.xlogy(tau, tau) - tau * log_p).sum(1).mean()
    constant = -torch.xlogy(tau, tau).sum(1).mean()

    torch.testing.assert_close(svls, equation_6)
    torch.testing.assert_close(svls, equation_7 + constant)
    for equation in (equation_6, equation_7):
        torch.testing.assert_close(
            *(torch.autograd.grad(x, logits, retain_graph=True) for x in (svls, equation))
        )


def test_equals_netcal(batch):
    """The samples of netcal's batch are the voxels of ours."""
    logits, labels = batch
    samples = logits.movedim(1, -1).flatten(0, -2)
    expected = NetcalPenalty()(samples, labels.flatten())

    torch.testing.assert_close(dca_penalty(logits, labels), expected, check_dtype=False)


@settings(max_examples=50, deadline=None)
@given(st.integers(3, 60), st.data(), st.integers(0, 2**16))
def test_confidence_that_is_the_accuracy_costs_nothing(voxels, data, seed):
    """As many of ``voxels`` are right as all are certain on average, whichever they are."""
    right = data.draw(st.integers(voxels // 2 + 1, voxels - 1))
    torch.manual_seed(seed)
    labels = (torch.arange(voxels) < right).long()[torch.randperm(voxels)].view(1, 1, 1, voxels)
    # Class 1 for every voxel; certainties vary evenly around the accuracy.
    accuracy = right / voxels
    spread = min(accuracy - 0.5, 1 - accuracy) * 0.9
    confidence = accuracy + spread * torch.linspace(-1, 1, voxels, dtype=torch.float64)
    logits = torch.stack([1 - confidence, confidence]).log().view(1, 2, 1, voxels)

    assert dca_penalty(logits, labels) < 1e-12


both_binnings = pytest.mark.parametrize("binning", ["hard", "soft"])


def of_probability(p, labels):
    """Logits ``(1, 2, 1, N)`` and labels of voxels of which class 1 has the probabilities ``p``."""
    p = torch.as_tensor(p, dtype=torch.float64)
    logits = torch.stack([1 - p, p]).log().view(1, 2, 1, -1)
    return logits, torch.as_tensor(labels).view(1, 1, 1, -1)


@both_binnings
@pytest.mark.parametrize("num_bins", [1, 4, 20])
@pytest.mark.parametrize("ignore_index", [None, 1])
def test_equals_the_loop(reference, batch, binning, num_bins, ignore_index):
    """Mean over images, classes and bins that hold voxels; a class that is absent counts or is 0."""
    logits, labels = batch
    labels[0] = labels[0].clamp_max(1)
    shares = reference.shares_of(labels, 3, ignore_index)
    settings = {"binning": binning, "num_bins": num_bins, "ignore_index": ignore_index}
    values = []
    for ignore_empty in (False, True):
        expected = reference.ml1ace(logits, shares, num_bins, binning, ignore_empty)
        found = ml1ace_penalty(logits, labels, ignore_empty_classes=ignore_empty, **settings)
        assert found.item() == pytest.approx(expected, abs=1e-12)
        values.append(expected)
    assert values[0] > values[1] > 0.01


@both_binnings
@pytest.mark.parametrize("ignore_empty", [None, True, False])
def test_equals_monai(batch, binning, ignore_empty):
    """In value and gradient, by default and by the same word; only MONAI 1.7 and later have it."""
    theirs = getattr(monai.losses, f"{binning.title()}L1ACELoss", None)
    if theirs is None:
        pytest.skip(f"MONAI {monai.__version__} has no mL1-ACE")
    logits, labels = batch
    labels[0] = labels[0].clamp_max(1)
    logits.requires_grad_()
    settings = {} if ignore_empty is None else {"ignore_empty_classes": ignore_empty}
    values = (
        ml1ace_penalty(logits, labels, binning=binning, **settings),
        theirs(num_bins=20, to_onehot_y=True, softmax=True, **settings)(logits, labels),
    )

    torch.testing.assert_close(*values, rtol=0, atol=1e-6)
    slopes = (torch.autograd.grad(value, logits)[0] for value in values)
    torch.testing.assert_close(*slopes, rtol=0, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 3)), min_size=1, max_size=6))
def test_calibrated_bins_cost_nothing(groups):
    """Ten times ``n`` voxels have a probability of k/10, and k times ``n`` of them are of the class."""
    p = [k / 10 for k, n in groups for _ in range(10 * n)]
    labels = [int(i < k * n) for k, n in groups for i in range(10 * n)]

    assert ml1ace_penalty(*of_probability(p, labels), num_bins=10) < 1e-12


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.data())
def test_soft_bins_are_hard_bins_for_probabilities_at_their_centers(num_bins, data):
    """There, a probability belongs to one bin wholly; nowhere else are both the same by definition."""
    bins = st.integers(0, num_bins - 1)
    chosen = data.draw(st.lists(st.tuples(bins, st.integers(0, 1)), min_size=1, max_size=20))
    p = [(m + 0.5) / num_bins for m, _ in chosen]
    logits, labels = of_probability(p, [label for _, label in chosen])
    both = [{"binning": binning, "num_bins": num_bins} for binning in ("hard", "soft")]
    hard, soft = (ml1ace_penalty(logits, labels, **settings) for settings in both)

    torch.testing.assert_close(soft, hard, rtol=0, atol=1e-9)


def test_hard_bins_are_closed_above():
    """0.2 is in the bin that ends there, and 0.21 in the next."""
    labels = [1, 0, 0]
    pairs = (of_probability([0.2, p, 0.9], labels) for p in (0.2, 0.21))
    at, above = (ml1ace_penalty(*pair, num_bins=5) for pair in pairs)

    # Class 1: in one bin, mean 0.2 against 1/2; 0.9 against 0. Then 0.2 against 1 and 0.21 against 0.
    # Class 0 has 0.8, 0.8, 0.1 in bins of its own.
    assert at.item() == pytest.approx(((0.3 + 0.9) / 2 + (0.3 + 0.9) / 2) / 2)
    assert above.item() == pytest.approx(((0.8 + 0.21 + 0.9) / 3 + (0.295 + 0.9) / 2) / 2)


@both_binnings
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**16), times=st.integers(2, 4))
def test_repeated_voxels_change_nothing(binning, seed, times):
    """All bins weigh the same, however many voxels they hold, unless that fills a bin that was empty."""
    torch.manual_seed(seed)
    logits, labels = torch.randn(2, 3, 8, 9, dtype=torch.float64), torch.randint(3, (2, 1, 8, 9))
    if binning == "soft":
        centers = torch.arange(5).view(-1, 1, 1, 1, 1)
        places = (5 * logits.softmax(1) - 0.5).clamp(0, 4)
        held = (1 - (places - centers).abs()).clamp_min(0).sum((-2, -1))
        assume(not ((held < 0.01) & (times * held >= 0.01)).any())
    repeated = [torch.cat([x] * times, -1) for x in (logits, labels)]
    pairs = (repeated, (logits, labels))
    values = (ml1ace_penalty(*pair, binning=binning, num_bins=5) for pair in pairs)

    torch.testing.assert_close(*values)


def test_hundredth_of_a_voxel_makes_a_soft_bin_count():
    """A bin with 0.006 of a voxel is empty, and one with twice as much weighs as any other."""
    p, labels = [0.253, 0.25], [0, 1]  # centers are 0.25 and 0.75
    first, second = abs(0.994 * 0.253 - 0.75) / 1.994, 0.253
    pairs = (of_probability(times * p, times * labels) for times in (1, 2))
    once, twice = (ml1ace_penalty(*pair, binning="soft", num_bins=2) for pair in pairs)

    assert once.item() == pytest.approx(first, abs=1e-12)
    assert twice.item() == pytest.approx((first + second) / 2, abs=1e-12)


@both_binnings
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    scale=st.sampled_from([1e-6, 1.0, 40.0, 1e4]),
    num_bins=st.integers(1, 30),
)
def test_value_is_between_zero_and_one_and_gradient_finite(binning, seed, scale, num_bins):
    """Whatever the logits, saturated ones too."""
    torch.manual_seed(seed)
    logits = (scale * torch.randn(2, 3, 5, 6)).requires_grad_()
    labels = torch.randint(3, (2, 1, 5, 6))
    value = ml1ace_penalty(logits, labels, binning=binning, num_bins=num_bins)
    value.backward()

    assert 0 <= value <= 1 + 1e-6
    assert logits.grad.isfinite().all()


def test_counts_do_not_stall_at_the_precision_of_float32():
    """One more line than 2^24 voxels, each of weight 1, is counted."""
    bins, ones = (torch.full((1, 1, 1, 1), n).expand(1, 1, 4097, 4096) for n in (0, 1.0))

    assert _bin_sums([(bins, ones)], 1).item() == 4097 * 4096
