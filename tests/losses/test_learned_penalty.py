"""Multipliers and penalty parameters, without the constraints that they belong to."""

import copy

import pytest
import torch

from nacl_monai.errors import InputError
from nacl_monai.losses import ComposedLoss, CrossEntropyLoss, LearnedPenalty


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

    assert all(torch.equal(value, before[name]) for name, value in penalty.state_dict().items())


def test_calling_it_changes_no_state():
    """Multipliers are learned by `update` alone, however many steps there are between."""
    penalty = learned((2.0, 1.0))
    before = copy.deepcopy(penalty.state_dict())
    for _ in range(3):
        penalty(torch.randn(1, 2, 3, 3, requires_grad=True), None).backward()

    assert all(torch.equal(value, before[name]) for name, value in penalty.state_dict().items())


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
    for name, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_state_that_lacks_something_is_refused():
    """As by any module of torch."""
    state = learned((1.0, 2.0)).state_dict()
    state.pop("multipliers")
    with pytest.raises(RuntimeError, match="multipliers"):
        Constraint(1.0, 0.5).load_state_dict(state)


def test_parameter_is_not_negative_and_is_printed():
    """The key is named."""
    with pytest.raises(InputError, match="^penalty_parameter: is -1; pass 0 or more$"):
        Constraint(1.0, -1)
    assert repr(Constraint(1.0, 0.5)) == "Constraint(weight=1.0, , penalty_parameter=0.5)"
