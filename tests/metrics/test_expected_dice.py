"""Expected Dice: what probabilities promise, measured by a loop and against labels drawn from them."""

import math

import pytest
import torch
from hypothesis import given, settings
from metric_samples import cases, random_case

from nacl_monai.errors import InputError
from nacl_monai.metrics import ExpectedDiceMetric, expected_dice

STRUCTURES = {"first": [1], "any": [0, 1]}


def slow_expected_dice(probs, classes):
    """One case (C, *spatial), voxel by voxel."""
    overlap = promised = predicted = 0.0
    for vector in probs.flatten(1).T.tolist():
        p = sum(vector[c] for c in classes)
        chosen = vector.index(max(vector)) in classes
        overlap += p * chosen
        promised += p
        predicted += chosen
    return 2 * overlap / (promised + predicted) if promised + predicted else math.nan


@given(cases())
@settings(max_examples=60, deadline=None)
def test_number_of_each_case_and_structure_is_that_of_a_loop(case):
    """In 2-D and 3-D, with ties and saturated voxels; structures may overlap."""
    probs, _, _ = case
    expected = [[slow_expected_dice(one, c) for c in STRUCTURES.values()] for one in probs]

    actual = expected_dice(probs, STRUCTURES)

    assert actual.dtype == torch.float64
    torch.testing.assert_close(actual, torch.tensor(expected).double(), equal_nan=True)


@given(cases())
@settings(max_examples=60, deadline=None)
def test_promise_is_a_dice(case):
    """It is between 0 and 1, and 0 only where nothing is predicted."""
    probs, _, _ = case
    classes = range(probs.shape[1])
    promise = expected_dice(probs, {str(c): [c] for c in classes}).nan_to_num()
    is_predicted = torch.stack([(probs.argmax(1) == c).flatten(1).any(1) for c in classes], 1)

    assert ((promise >= 0) & (promise <= 1 + 1e-6)).all()
    assert torch.equal(promise > 0, is_predicted)


def test_calibrated_network_keeps_its_promise():
    """Over labels that are drawn from the probabilities, the mean Dice is the expected one."""
    probs, _ = random_case((1, 3, 40, 50), scale=3.0)
    structures = {"1": [1], "1 or 2": [1, 2]}
    promised = expected_dice(probs, structures)[0]
    voxels, predicted = probs[0].flatten(1).T, probs[0].argmax(0).flatten()
    generator = torch.Generator().manual_seed(1)
    drawn = torch.multinomial(voxels, 300, replacement=True, generator=generator).T
    for number, classes in enumerate(structures.values()):
        chosen, true = (torch.isin(x, torch.tensor(classes)) for x in (predicted, drawn))
        dice = 2 * (true & chosen).sum(1) / (true.sum(1) + chosen.sum())
        assert dice.mean().item() == pytest.approx(promised[number].item(), abs=0.002)


def test_half_precision_is_summed_exactly():
    """A float16 sum of these voxels would end at 2048."""
    probs = torch.full((1, 2, 100, 100), 0.5, dtype=torch.float16)
    probs[:, 1] = 0.5

    # All are predicted as class 0, the first of two that tie: 2 · 5000 / (5000 + 10000).
    assert expected_dice(probs, {"a": [0]}).item() == pytest.approx(2 / 3)


def test_metric_keeps_the_numbers_of_every_case():
    """One row per case over all calls, with or without labels; its mean leaves NaN out."""
    probs, labels = random_case((3, 3, 5, 6))
    probs[2] = torch.tensor([1.0, 0, 0])[:, None, None]
    metric = ExpectedDiceMetric({"a": [1], "b": [2]})
    metric(probs[:2], labels[:2, None])
    metric([probs[2]])

    rows = metric.get_buffer()

    torch.testing.assert_close(rows, expected_dice(probs, {"a": [1], "b": [2]}), equal_nan=True)
    assert metric.aggregate().item() == pytest.approx(rows[:2].mean().item())


def test_metric_without_cases_is_refused():
    """Rather than MONAI's error about its buffer."""
    with pytest.raises(InputError, match="has seen no case"):
        ExpectedDiceMetric({"a": [1]}).aggregate()


@pytest.mark.parametrize(
    ("probs", "structures", "said"),
    [
        (torch.tensor([[[0.5], [0.2]]]), {"a": [1]}, "sum"),
        (torch.tensor([[[0.5], [0.5]]]), {"a": [1], "b": [2]}, "b is of the classes .2.*0 to 1"),
        (torch.tensor([[[0.5], [0.5]]]), {"a": []}, "a is of the classes"),
    ],
    ids=["no probabilities", "unknown class", "no class"],
)
def test_wrong_input_is_one_line(probs, structures, said):
    """Logits, and structures that the network cannot have."""
    with pytest.raises(InputError, match=said) as refused:
        expected_dice(probs, structures)
    assert "\n" not in str(refused.value)
