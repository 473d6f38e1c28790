"""NACL: equation 9, its priors, penalties and spaces, and where it is smallest."""

import itertools
from functools import partial

import monai
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import ConcatItemsd
from scipy.optimize import minimize

from nacl_monai.losses import (
    ComposedLoss,
    CrossEntropyLoss,
    DiceCELoss,
    NACLLoss,
    NeighborhoodPenalty,
    log_barrier,
    nacl_loss,
    neighborhood_penalty,
    neighborhood_proportions,
)
from nacl_monai.losses.nacl import PENALTIES, SPACES
from nacl_monai.losses.neighborhood import PRIORS
from tests.same import same_values


def slow_penalty(reference, logits, shares, weight, formula, where, mean_over, *window):
    """The mean penalty on τ - l over classes and voxels with shares, or where the window is mixed."""
    penalties, mixed = [], []
    for image, labels in zip(logits, shares, strict=True):
        tau = reference.proportions(labels, weight, *window)
        for j in itertools.product(*map(range, labels.shape[1:])):
            if labels[(slice(None), *j)].any():
                near, scores = tau[(slice(None), *j)].tolist(), image[(slice(None), *j)].tolist()
                gaps = [formula(t - x) for t, x in zip(near, scores, strict=True)]
                penalties.append(sum(gaps) / len(gaps))
                mixed.append(sum(t > 0 for t in near) > 1)
    if where == "everywhere":
        return sum(penalties) / len(penalties)
    total = sum(p for p, several in zip(penalties, mixed, strict=True) if several)
    return total / max(1, sum(mixed) if mean_over == "mixed" else len(mixed))


def stripes(*shape):
    """A map ``(2, 1, *spatial)`` of three classes, some windows of which hold one class alone."""
    line = torch.tensor([0, 0, 0, 1, 1, 1, 1, 2, 0])[: shape[-1]]
    return line.expand(2, 1, *shape).clone()


PLACES = [("everywhere", "all"), ("mixed", "all"), ("mixed", "mixed")]


@pytest.mark.parametrize(("where", "mean_over"), PLACES)
@pytest.mark.parametrize("ignore_index", [None, 1, 255])
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(
    ("penalty", "shape"), [*((penalty, (4, 8)) for penalty in PENALTIES), ("l1", (2, 3, 8))]
)
def test_value_is_equation_9(reference, penalty, shape, space, ignore_index, where, mean_over):
    """Cross-entropy plus λ times the mean penalty on τ - l, over classes and counted voxels."""
    logits, labels = 3 * torch.randn(2, 3, *shape, dtype=torch.float64), stripes(*shape)
    if ignore_index == 255:
        labels[0, ..., :2] = 255
    shares = reference.shares_of(labels, 3, ignore_index)
    scores = logits if space == "logits" else logits.softmax(1)
    barrier = partial(reference.log_barrier, t=3.0)
    formula = {"l1": abs, "l2": lambda d: d * d, "log_barrier": barrier}[penalty]
    weight = reference.mean_weight
    expected = 0.3 * slow_penalty(reference, scores, shares, weight, formula, where, mean_over)
    settings = {"penalty": penalty, "space": space, "where": where, "mean_over": mean_over}
    loss = NACLLoss(penalty_weight=0.3, ignore_index=ignore_index, sharpness=3.0, **settings)
    value = loss(logits, labels).item()

    assert loss.latest_terms["penalty"].item() == pytest.approx(expected)
    assert value == pytest.approx(reference.cross_entropy(logits, shares) + expected)


@pytest.mark.parametrize(("where", "mean_over"), PLACES)
@pytest.mark.parametrize("prior", ["mean", "gaussian", "bilateral"])
@pytest.mark.parametrize("border", ["valid", "replicate"])
@pytest.mark.parametrize(("kernel_size", "sigma"), [(3, 1.0), (5, 2.0)])
def test_windows_of_every_prior_equal_the_loop(
    reference, prior, border, kernel_size, sigma, where, mean_over
):
    """Several classes are in a window whatever they weigh; of soft labels, several that have a share."""
    logits, labels = torch.randn(2, 3, 3, 9, dtype=torch.float64), stripes(3, 9)
    image = torch.rand(2, 2, 3, 9, dtype=torch.float64)
    softer = reference.shares_of(labels, 3)
    softer[0, :, 1, 5] = torch.tensor([0.0, 0.5, 0.5])
    radius = kernel_size // 2
    settings = {"where": where, "mean_over": mean_over, "prior": prior, "border": border}
    settings |= {"kernel_size": kernel_size, "sigma": sigma, "intensity_sigma": 0.3}
    for shares in (reference.shares_of(labels, 3), softer):
        for n in (0, 1):  # the weights of the bilateral prior are those of an image
            weight = {
                "mean": reference.mean_weight,
                "gaussian": reference.svls_weight(sigma, radius, 2),
                "bilateral": reference.bilateral_weight(image[n], sigma, 0.3),
            }[prior]
            part = logits[n : n + 1], shares[n : n + 1]
            window = weight, abs, where, mean_over, border, radius
            found = neighborhood_penalty(*part, image=image[n : n + 1], **settings).item()
            assert found == pytest.approx(slow_penalty(reference, *part, *window), rel=1e-6)
            assert found > 0


@given(st.integers(0, 2**16), st.sampled_from(list(PRIORS)), st.booleans(), st.booleans())
@settings(max_examples=40, deadline=None)
def test_where_every_window_is_mixed_it_is_the_paper_s_and_where_none_is_it_is_nothing(
    seed, prior, volume, ignoring
):
    """Stripes one voxel wide, or one class alone; both means are then the same."""
    torch.manual_seed(seed)
    shape = (3, 4, 5) if volume else (5, 6)
    logits = torch.randn(2, 3, *shape, dtype=torch.float64, requires_grad=True)
    image, classes = torch.rand(2, 1, *shape), torch.randperm(3)
    narrow = classes[torch.arange(shape[-1]) % 3].expand(2, 1, *shape).clone()
    ignore_index = 255 if ignoring else None
    if ignoring:
        narrow[:, :, 0] = 255
    settings = {"prior": prior, "image": image, "ignore_index": ignore_index, "sigma": 2.0}
    settings["intensity_sigma"] = 5.0
    everywhere = neighborhood_penalty(logits, narrow, **settings)
    for mean_over in ("all", "mixed"):
        settings |= {"where": "mixed", "mean_over": mean_over}
        torch.testing.assert_close(neighborhood_penalty(logits, narrow, **settings), everywhere)
        alone = neighborhood_penalty(logits, torch.full_like(narrow, int(classes[0])), **settings)
        assert alone == 0
        assert not torch.autograd.grad(alone, logits)[0].any()


@given(st.integers(0, 2**16), st.sampled_from([2, 3, 5]))
@settings(max_examples=30, deadline=None)
def test_penalty_pulls_mixed_voxels_alone_to_the_proportions_and_no_harder_than_its_weight(
    seed, classes
):
    """It is 0 where logits are τ, whose softmax for two classes is σ(2τ - 1); its slope is 1 / (K N)."""
    torch.manual_seed(seed)
    labels = (torch.rand(1, 1, 7, 8) < 0.1).long() * torch.randint(classes, (1, 1, 7, 8))
    tau = neighborhood_proportions(labels, classes, dtype=torch.float64)
    mixed = (tau.amax(1, keepdim=True) < 1).expand_as(tau)
    logits = tau.where(mixed, torch.randn_like(tau)).requires_grad_()
    for mean_over, count in (("all", 56), ("mixed", max(1, int(mixed[:, 0].sum())))):
        settings = {"where": "mixed", "mean_over": mean_over}
        assert neighborhood_penalty(logits, labels, **settings) == 0
        away = (logits + torch.randn_like(tau)).detach().requires_grad_()
        slope = torch.autograd.grad(neighborhood_penalty(away, labels, **settings), away)[0]
        assert not slope[~mixed].any()
        bound = torch.full_like(slope[mixed], 1 / (classes * count))
        torch.testing.assert_close(slope[mixed].abs(), bound)
    if classes == 2:
        expected = torch.sigmoid(2 * tau - 1)[mixed].detach()
        torch.testing.assert_close(logits.softmax(1)[mixed], expected)


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


@pytest.mark.parametrize("where", ["everywhere", "mixed"])
def test_monai_agrees_away_from_the_border(where):
    """Away from the border, the gradient equals that of MONAI's loss, or cross-entropy's elsewhere."""
    logits, labels = torch.randn(1, 3, 9, 12, requires_grad=True), torch.zeros(1, 9, 12).long()
    labels[:, 5:, 6:], labels[:, 2, 4] = 1, 2
    losses = NACLLoss(where=where), monai.losses.NACLLoss(3, 2), CrossEntropyLoss()
    ours, theirs, plain = (torch.autograd.grad(loss(logits, labels), logits)[0] for loss in losses)
    several = neighborhood_proportions(labels, 3).amax(1, keepdim=True) < 1
    assert several.any()
    assert not several.all()
    if where == "mixed":
        theirs = theirs.where(several, plain)

    torch.testing.assert_close(ours[..., 1:-1, 1:-1], theirs[..., 1:-1, 1:-1])


def test_dice_is_that_of_its_base(batch):
    """Cross-entropy and Dice with the penalty, as composed by hand, in module and function."""
    weights = {"dice_weight": 0.5, "class_weights": [1.0, 2.0, 3.0]}
    loss = NACLLoss(where="mixed", **weights)
    composed = ComposedLoss(DiceCELoss(**weights), [NeighborhoodPenalty(where="mixed")])

    torch.testing.assert_close(loss(*batch), composed(*batch))
    torch.testing.assert_close(nacl_loss(*batch, where="mixed", **weights), composed(*batch))
    assert list(loss.latest_terms) == ["cross_entropy", "dice", "penalty"]


def test_bilateral_prior_takes_labels_joined_with_the_image():
    """A pipeline that ends by joining label and image gives the loss what it needs."""
    sample = {"image": MetaTensor(torch.rand(2, 8, 8)), "label": torch.randint(3, (1, 8, 8))}
    joined = ConcatItemsd(keys=["label", "image"], name="label")(sample)
    logits = torch.randn(1, 3, 8, 8)
    loss = NACLLoss(prior="bilateral", penalty_weight=1.0)
    loss(logits, joined["label"][None])
    image, label = sample["image"][None], sample["label"][None]
    tau = neighborhood_proportions(label, 3, prior="bilateral", image=image)

    torch.testing.assert_close(loss.latest_terms["penalty"], (tau - logits).abs().mean())


def test_settings_may_be_numbers_of_numpy(batch):
    """As they are in an array of settings to try."""
    logits, labels = batch
    loss = NACLLoss(prior="blur", kernel_size=np.int64(5), sigma=np.float32(1.5))

    expected = NACLLoss(prior="blur", kernel_size=5, sigma=1.5)(logits, labels)
    torch.testing.assert_close(loss(logits, labels), expected)


def test_defaults_are_the_papers():
    """A mean of 3 voxels per axis, L1 on logits, λ = 0.1, proportions among voxels that exist."""
    penalty = NeighborhoodPenalty()
    paper = {"prior": "mean", "kernel_size": 3, "penalty": "l1", "space": "logits"}
    paper |= {"border": "valid", "where": "everywhere", "mean_over": "all"}
    paper |= {"sigma": 1.0, "intensity_sigma": 0.1, "sharpness": 5.0}
    paper |= {"include_center": True}  # of the authors' code

    assert paper == {name: value for name, value in penalty.settings.items() if value is not None}
    assert penalty.weight == 0.1
    assert str(penalty) == str(NACLLoss().penalties[0])


def test_only_the_bilateral_prior_needs_the_image():
    """Whoever asks knows which labels to pass."""
    needs = {prior: NeighborhoodPenalty(prior=prior).needs_image for prior in PRIORS}

    assert needs == {"mean": False, "gaussian": False, "blur": False, "bilateral": True}
    assert {prior: NACLLoss(prior=prior).needs_image for prior in PRIORS} == needs


@given(st.floats(-10, 10), st.floats(0.5, 20))
def test_log_barrier_is_two_barriers(reference, gap, sharpness):
    """For an equality, it is the sum of both inequalities' extensions, less its constant."""
    expected = reference.log_barrier(gap, sharpness)
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
    # Below it float32 loses digits.
    torch.testing.assert_close(result, scores.abs(), rtol=1e-6, atol=2e-38)
    same_values(gradient[normal], scores.detach().sign()[normal])


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
    how = {"method": "SLSQP", "options": {"ftol": 1e-12, "maxiter": 500}}
    logits = minimize(expected, start, jac=slope, constraints=constraints, **how).x[:classes]
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
    expected = (q - bound * np.sign(logits - tau))[away]
    np.testing.assert_allclose(probs[away], expected, rtol=0, atol=1e-4)


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
    # Where the descent ends.
    torch.testing.assert_close(probs, torch.full_like(probs, floor), rtol=0, atol=2e-3)
