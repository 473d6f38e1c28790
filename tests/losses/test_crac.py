"""Class- and region-adaptive constraints.

On frozen float32 tensors, 41 epochs of penalties, multipliers and penalty parameters of the authors'
code, run by hand, were ours to 6e-7 once its test of regions was mended: it asks whether the deviations
from the mean of a window sum to 0, which they always do, so that rounding decides (of windows with
several out of four classes, 18 % counted as inner).

Multipliers and penalty parameters, without the constraints that they belong to.
"""

import copy

import pytest
import torch

from nacl_monai.losses import (
    ComposedLoss,
    CRaCPenalty,
    CrossEntropyLoss,
    LearnedPenalty,
    crac_penalty,
)
from tests.conftest import refused
from tests.same import same_bits


@pytest.fixture(params=[(6, 5), (4, 3, 5)], ids=["2-D", "3-D"])
def lumps(request):
    """Logits ``(2, 3, *spatial)`` in double, and labels with both inner and outer regions."""
    labels = torch.zeros(2, 1, *request.param).long()
    labels[0, ..., 3:] = 1
    labels[:, ..., 4:] = 2
    return 3 * torch.randn(2, 3, *request.param, dtype=torch.float64), labels


@pytest.mark.parametrize("ignore_index", [None, 0, 255])
@pytest.mark.parametrize("margin", [1.0, 5.0])
def test_equals_the_loop(reference, lumps, margin, ignore_index):
    """The function of Powell, Hestenes and Rockafellar as defined, voxel by voxel, in both regions."""
    logits, labels = lumps
    if ignore_index == 255:
        labels[..., 0] = 255
    multipliers, parameters = torch.rand(2, 3), torch.rand(2, 3) + 0.1
    shares = reference.shares_of(labels, 3, ignore_index)
    learned = {"multipliers": multipliers, "penalty_parameter": parameters}
    found = crac_penalty(logits, labels, margin=margin, ignore_index=ignore_index, **learned)
    expected = reference.crac(logits, shares, multipliers.tolist(), parameters.tolist(), margin)

    assert {0, 1} == {region for region, _ in reference.crac_violations(logits, shares)}
    assert found.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("ignore_index", [None, 0])
def test_measured_are_the_violations_of_the_loop(reference, lumps, ignore_index):
    """Their sum per region and class, and the voxels that count."""
    logits, labels = lumps
    penalty = CRaCPenalty(ignore_index=ignore_index)
    sums, voxels = penalty.measure(logits.requires_grad_(), labels)
    expected = torch.zeros(2, 3, dtype=torch.float64)
    pairs = list(reference.crac_violations(logits, reference.shares_of(labels, 3, ignore_index)))
    for region, violations in pairs:
        expected[region] += violations

    assert voxels == len(pairs)
    assert not sums.requires_grad
    torch.testing.assert_close(sums, expected)


def test_learned_multipliers_are_those_of_the_function(lumps):
    """After an update, the module's value is the function's with its multipliers."""
    penalty = CRaCPenalty(margin=4.0)
    penalty.update(*penalty.measure(*lumps), interval=1)
    penalty.update(*penalty.measure(*lumps), interval=1)
    rates = penalty.penalty_parameters
    values = {"multipliers": penalty.multipliers, "penalty_parameter": rates}
    expected = crac_penalty(*lumps, margin=4.0, **values)

    assert len(penalty.multipliers.unique()) == 6
    assert penalty.penalty_parameters.unique().tolist() == [pytest.approx(0.12)]
    torch.testing.assert_close(penalty(*lumps), expected)
    assert expected > crac_penalty(*lumps, margin=4.0)


def test_multipliers_of_other_classes_are_refused(batch):
    """Those of a training of five classes do not fit three."""
    penalty = CRaCPenalty()
    penalty.update(*penalty.measure(torch.randn(1, 5, 4, 4), torch.zeros(1, 1, 4, 4)))

    assert refused(penalty, *batch) == (
        "multipliers: have the shape (2, 5), but logits have 3 classes; pass (2, 3), the inner region "
        "first, or one number"
    )


class Constraint(LearnedPenalty):
    """Two constraints, on the mean of either channel."""

    def value(self, logits, labels):  # noqa: ARG002
        h = logits.abs().mean((0, 2, 3)).double()
        return (self.multipliers * h + self.penalty_parameters / 2 * h**2).sum()

    def measure(self, logits, labels):  # noqa: ARG002
        return logits.abs().sum((0, 2, 3)), logits[:, 0].numel()


def learned(*violations, rate=0.5, **schedule):
    """A penalty that has been updated with mean violations, one pair after the other."""
    penalty = Constraint(1.0, rate)
    for pair in violations:
        penalty.update(100 * torch.tensor(pair), 100, **schedule)
    return penalty


def test_multiplier_grows_by_the_parameter_times_the_mean_violation():
    """λ becomes the mean of λ + ρ h."""
    first, second = learned((2.0, 0.0)), learned((2.0, 0.0), (1.0, 4.0))

    assert first.multipliers.tolist() == pytest.approx([1e-6 + 1.0, 1e-6])
    assert second.multipliers.tolist() == pytest.approx([1e-6 + 1.5, 1e-6 + 2.0])
    assert second.penalty_parameters.tolist() == [0.5, 0.5]


def test_multiplier_has_a_largest_value():
    """A violation without an end does not end in infinity."""
    assert learned((1e9, 1.0)).multipliers[0] == 1e6


def test_parameter_grows_at_every_tenth_update_where_the_violation_does_not_fall():
    """One that falls by a tenth or more in the last update keeps its parameter."""
    falling = [(0.8**n, 1.0) for n in range(20)]

    assert learned(*falling[:9]).penalty_parameters.tolist() == [0.5, 0.5]
    assert learned(*falling[:10]).penalty_parameters.tolist() == [0.5, pytest.approx(0.6)]
    assert learned(*falling[:19]).penalty_parameters.tolist() == [0.5, pytest.approx(0.6)]
    assert learned(*falling).penalty_parameters.tolist() == [0.5, pytest.approx(0.72)]


def test_schedule_is_what_is_asked_for():
    """Growth, decrease, interval and largest value; nothing is compared before there are two updates."""
    pairs = [(1.0, 1.0), (0.7, 0.5), (0.5, 0.2)]
    schedule = {"growth": 3.0, "decrease": 0.6, "interval": 1, "largest": 1.0}

    assert learned(pairs[0], **schedule).penalty_parameters.tolist() == [0.5, 0.5]
    assert learned(*pairs[:2], **schedule).penalty_parameters.tolist() == [1.0, 0.5]
    assert learned(*pairs, **schedule).penalty_parameters.tolist() == [1.0, 0.5]
    # One that begins above the largest value stays there.
    assert learned(*pairs[:2], rate=2.0, **schedule).penalty_parameters.tolist() == [2.0, 2.0]


def test_no_voxel_changes_nothing():
    """Cases that are ignored as a whole say nothing."""
    penalty = learned((2.0, 1.0))
    before = copy.deepcopy(penalty.state_dict())
    penalty.update(torch.zeros(2), 0)

    same_bits(penalty.state_dict(), before, "nothing is done to it")


def test_calling_it_changes_no_state():
    """Multipliers are learned by `update` alone, however many steps there are between."""
    penalty = learned((2.0, 1.0))
    before = copy.deepcopy(penalty.state_dict())
    for _ in range(3):
        penalty(torch.randn(1, 2, 3, 3, requires_grad=True), None).backward()

    same_bits(penalty.state_dict(), before, "nothing is done to it")


@pytest.mark.parametrize("other", [[], [(5.0, 6.0)]], ids=["new", "learned"])
def test_state_is_loaded_exactly_and_goes_on(other):
    """Into a loss that has learned nothing yet, whose buffers are one number, or something else."""
    pairs = [(float(n), 1 / (n + 1)) for n in range(14)]
    whole, part, again = learned(*pairs), learned(*pairs[:7]), learned(*other)
    losses = [ComposedLoss(CrossEntropyLoss(), [penalty]) for penalty in (part, again)]
    losses[1].load_state_dict(losses[0].state_dict())
    for pair in pairs[7:]:
        again.update(100 * torch.tensor(pair), 100)

    assert whole.penalty_parameters[0] > 0.5  # the tenth update counts from the first
    same_bits(again.state_dict(), whole.state_dict(), "the same updates in the same order")


def test_state_that_lacks_something_is_refused():
    """As by any module of torch."""
    state = learned((1.0, 2.0)).state_dict()
    state.pop("multipliers")
    with pytest.raises(RuntimeError, match="multipliers"):
        Constraint(1.0, 0.5).load_state_dict(state)


def test_parameter_is_not_negative_and_is_printed():
    """The key is named."""
    assert refused(Constraint, 1.0, -1) == "penalty_parameter: is -1; pass 0 or more"
    assert repr(Constraint(1.0, 0.5)) == "Constraint(weight=1.0, penalty_parameter=0.5)"
