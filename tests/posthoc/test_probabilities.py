"""Probabilities as logits: what a calibrator does to them is what it does to the network's."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nacl_monai.posthoc import Temperature, logits_of, structure_logits_of

LOGITS = 4 * torch.randn(3, 6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_softmax_of_the_logits_is_what_was_saved():
    """They differ from the network's by what all classes share."""
    probs = LOGITS.softmax(0)

    torch.testing.assert_close(logits_of(probs).softmax(0), probs.float())


@given(st.floats(0.2, 5))
def test_temperature_does_the_same_to_both(temperature):
    """The constant of each voxel cancels."""
    scale = Temperature(temperature)

    torch.testing.assert_close(
        scale(logits_of(LOGITS.softmax(0))).softmax(0),
        scale(LOGITS.float()).softmax(0),
        rtol=1e-4,
        atol=1e-6,
    )


@pytest.mark.parametrize(
    ("dtype", "smallest"),
    [
        (np.uint8, 1 / 510),
        (np.float16, 2.0**-25),
        (np.float32, 2.0**-126),
        (np.float64, 2.0**-126),
    ],
)
def test_zero_is_half_of_what_the_dtype_tells_from_it(dtype, smallest):
    """Its logarithm would be infinite, and no fit could be finite; a byte holds 255ths."""
    one = 255 if dtype == np.uint8 else 1
    probs = torch.from_numpy(np.array([[0], [one]], dtype))

    assert logits_of(probs).flatten().tolist() == pytest.approx([np.log(smallest), 0.0])


@pytest.mark.parametrize("steps", [255, 32767, 65535])
def test_zero_and_one_are_half_a_step_from_themselves(steps):
    """Integers that a file scales are read as single precision, which says nothing of their steps."""
    ends, half = torch.tensor([[0.0], [1.0]]), 0.5 / steps

    assert logits_of(ends, 1 / steps).flatten().tolist() == pytest.approx([np.log(half), 0.0])
    low, high = structure_logits_of(ends, 1 / steps).flatten().tolist()
    assert [low, high] == pytest.approx([np.log(half / (1 - half)), -np.log(half / (1 - half))])


def test_bytes_are_255ths():
    """51 of 255 are a fifth."""
    probs = torch.tensor([[51], [204]], dtype=torch.uint8)

    assert logits_of(probs).exp().flatten().tolist() == pytest.approx([0.2, 0.8])


@given(st.floats(-15, 15))
def test_logits_of_a_sigmoid_are_the_networks(logit):
    """As well as single precision has kept them."""
    probs = torch.tensor([logit], dtype=torch.float64).sigmoid()

    assert structure_logits_of(probs).item() == pytest.approx(logit, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_one_of_a_sigmoid_is_between_itself_and_the_next_below(dtype):
    """Its logit would be infinite."""
    one = np.ones(1, dtype)
    below = float(np.nextafter(one, np.zeros(1, dtype))[0])
    found = torch.sigmoid(structure_logits_of(torch.from_numpy(one)).double()).item()

    assert 1 - found == pytest.approx((1 - below) / 2, rel=1e-3)


def test_one_of_a_sigmoid_in_double_precision_is_the_largest_number_below_it():
    """No double is nearer to 1."""
    found = structure_logits_of(torch.ones(1, dtype=torch.float64)).item()

    assert found == pytest.approx(-np.log(1 - np.nextafter(1, 0)))


def test_bytes_of_a_sigmoid_are_255ths_and_its_ends_are_finite():
    """0 and 255 are as far from certain as each other."""
    logits = structure_logits_of(torch.tensor([0, 51, 204, 255], dtype=torch.uint8)).tolist()

    assert logits[1:3] == pytest.approx([np.log(1 / 4), np.log(4)])
    assert logits[3] == pytest.approx(-logits[0])
    assert logits[0] == pytest.approx(np.log(1 / 509))
