"""The logits of each class have a scale and a bias."""

import pytest
import torch

from nacl_monai.errors import InputError
from nacl_monai.posthoc import VectorScaling
from tests.posthoc.shipping import LOGITS, shipped

SCALES, BIASES = (0.5, 2.0, 1.5), (0.25, -0.5, 0.0)


def test_each_class_has_its_own_values():
    """In two and in three dimensions, and for single voxels."""
    module = VectorScaling(SCALES, BIASES)
    slow = torch.stack([LOGITS[:, c] * SCALES[c] + BIASES[c] for c in range(3)], 1)

    torch.testing.assert_close(module(LOGITS), slow)
    torch.testing.assert_close(module(LOGITS[..., None]), slow[..., None])
    torch.testing.assert_close(module(LOGITS[:, :, 0, 0]), slow[:, :, 0, 0])


def test_dtype_stays():
    """Half precision stays half precision."""
    assert VectorScaling(SCALES, BIASES)(LOGITS.half()).dtype == torch.float16


def test_every_form_does_the_same(tmp_path):
    """TorchScript and ONNX hold it, with its values."""
    module = VectorScaling(SCALES, BIASES)

    for form, outputs in shipped(module, tmp_path).items():
        torch.testing.assert_close(outputs, module(LOGITS), msg=form)


@pytest.mark.parametrize(
    ("scales", "biases", "named"),
    [
        ([1.0, 0.0], [0.0, 0.0], "scales: are .* above 0"),
        ([1.0, 1.0], [0.0, float("inf")], "biases: are"),
        ([1.0, 1.0], [0.0], "scales: are .*one for each class"),
    ],
)
def test_what_is_no_scale_or_bias_is_refused(scales, biases, named):
    """Both are finite, and there are as many."""
    with pytest.raises(InputError, match=named):
        VectorScaling(scales, biases)
