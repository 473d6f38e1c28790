"""The logits of each class are divided by its temperature."""

import pytest
import torch

from nacl_monai.errors import InputError
from nacl_monai.posthoc import ClassTemperatures
from tests.posthoc.shipping import LOGITS, shipped

TEMPERATURES = [2.0, 0.5, 1.5]


def test_each_class_has_its_own_temperature():
    """In two and in three dimensions, and for single voxels."""
    module = ClassTemperatures(TEMPERATURES)
    slow = torch.stack([LOGITS[:, c] / TEMPERATURES[c] for c in range(3)], 1)

    torch.testing.assert_close(module(LOGITS), slow)
    torch.testing.assert_close(module(LOGITS[..., None]), slow[..., None])
    torch.testing.assert_close(module(LOGITS[:, :, 0, 0]), slow[:, :, 0, 0])


def test_dtype_stays():
    """Half precision stays half precision."""
    assert ClassTemperatures(TEMPERATURES)(LOGITS.half()).dtype == torch.float16


def test_every_form_does_the_same(tmp_path):
    """TorchScript and ONNX hold it, with its values."""
    module = ClassTemperatures(TEMPERATURES)

    for form, outputs in shipped(module, tmp_path).items():
        torch.testing.assert_close(outputs, module(LOGITS), msg=form)


@pytest.mark.parametrize("values", [[1.0, 0.0], [1.0, -1.0], [1.0, float("nan")], []])
def test_what_is_no_temperature_is_refused(values):
    """Each is a finite number above 0."""
    with pytest.raises(
        InputError, match="temperatures: are .*; choose finite numbers above 0, one"
    ):
        ClassTemperatures(values)
