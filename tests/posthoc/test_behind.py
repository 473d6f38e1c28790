"""A calibrator behind a network sees the logits and the image."""

import pytest
import torch
from torch import nn

from nacl_monai.posthoc import METHODS, Behind, LocalTemperatures, module_of

IMAGE = torch.randn(2, 1, 6, 5, generator=torch.Generator().manual_seed(0))
PARAMETERS = {
    "temperature": {"temperature": 2.0},
    "class_temperatures": {"temperatures": [1.0, 2.0, 3.0]},
    "vector": {"scales": [0.5, 1.0, 2.0], "biases": [0.1, 0.0, -0.1]},
    "local_temperatures": {
        "temperature": 2.0,
        "first": torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(1)).tolist(),
        "first_bias": [0.1, -0.1],
        "second": torch.randn(1, 2, 3, 3, generator=torch.Generator().manual_seed(2)).tolist(),
        "second_bias": [0.2],
    },
}


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Conv2d(1, 3, 1).eval()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_goes_behind_a_network(method, network):
    """Scripted and traced as well; a method that does not want the image leaves it alone."""
    calibrator = module_of({"method": method, "parameters": PARAMETERS[method]}).eval()
    whole = Behind(network, calibrator).eval()

    found = whole(IMAGE)

    torch.testing.assert_close(found, calibrator(network(IMAGE), IMAGE))
    torch.testing.assert_close(torch.jit.script(whole)(IMAGE), found)
    torch.testing.assert_close(torch.jit.trace(whole, IMAGE)(IMAGE), found)
    assert isinstance(calibrator, LocalTemperatures) == METHODS[method].sees_image
