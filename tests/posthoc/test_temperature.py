"""A temperature divides logits, in every form in which a model is shipped."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nacl_monai.errors import InputError
from nacl_monai.posthoc import Temperature
from tests.posthoc.shipping import LOGITS, shipped


@given(st.floats(0.02, 50))
def test_logits_are_divided_and_label_maps_stay(temperature):
    """Only how sure the network is changes."""
    scaled = Temperature(temperature)(LOGITS)

    torch.testing.assert_close(scaled.double(), LOGITS.double() / temperature, rtol=1e-6, atol=0)
    assert torch.equal(scaled.argmax(1), LOGITS.argmax(1))


def test_temperature_of_one_changes_no_bit():
    """Switched off, the plain model remains."""
    assert torch.equal(Temperature(1.0)(LOGITS), LOGITS)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtype_stays(dtype):
    """Half precision stays half precision."""
    assert Temperature(2.0)(LOGITS.to(dtype)).dtype == dtype


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_what_is_no_temperature_is_refused(temperature):
    """Zero, negative numbers and what is not a number divide nothing."""
    with pytest.raises(InputError, match="temperature: is .*; choose a finite number above 0"):
        Temperature(temperature)


def test_every_form_does_the_same(tmp_path):
    """TorchScript and ONNX hold it, with its value."""
    module = Temperature(1.7)

    for form, outputs in shipped(module, tmp_path).items():
        torch.testing.assert_close(outputs, module(LOGITS), msg=form)
