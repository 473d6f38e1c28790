"""A temperature divides logits, in every form in which a model is shipped."""

import io

import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nacl_monai.errors import InputError
from nacl_monai.posthoc import Temperature

LOGITS = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)) * 8


@given(st.floats(0.02, 50))
def test_logits_are_divided_and_label_maps_stay(temperature):
    """Only how sure the network is changes."""
    scaled = Temperature(temperature)(LOGITS)

    torch.testing.assert_close(scaled.double(), LOGITS.double() / temperature, rtol=1e-6, atol=0)
    assert torch.equal(scaled.argmax(1), LOGITS.argmax(1))


def test_temperature_of_one_changes_no_bit():
    """Switched off, the plain model remains."""
    assert torch.equal(Temperature()(LOGITS), LOGITS)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtype_stays(dtype):
    """Half precision stays half precision."""
    assert Temperature(2.0)(LOGITS.to(dtype)).dtype == dtype


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_what_is_no_temperature_is_refused(temperature):
    """Zero, negative numbers and what is no number divide nothing."""
    with pytest.raises(InputError, match="temperature: is .*; choose a finite number above 0"):
        Temperature(temperature)


def test_scripted_and_traced_modules_do_the_same():
    """TorchScript holds it, and its file keeps the temperature."""
    module = Temperature(1.7)
    stream = io.BytesIO()
    torch.jit.save(torch.jit.script(module), stream)
    stream.seek(0)

    assert torch.equal(torch.jit.load(stream)(LOGITS), module(LOGITS))
    assert torch.equal(torch.jit.trace(module, LOGITS)(LOGITS), module(LOGITS))


def test_onnx_does_the_same(tmp_path):
    """ONNX holds it."""
    module = Temperature(1.7).eval()
    torch.onnx.export(module, (LOGITS,), tmp_path / "t.onnx", input_names=["logits"])
    session = onnxruntime.InferenceSession(tmp_path / "t.onnx")

    (scaled,) = session.run(None, {"logits": LOGITS.numpy()})
    torch.testing.assert_close(torch.from_numpy(scaled), module(LOGITS))
