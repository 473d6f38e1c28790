"""A lower precision is the network's alone; what comes out is float32."""

import pytest
import torch

from nacl_monai.errors import InputError
from nacl_monai.runtime import PrecisionInferer

CPU = torch.device("cpu")


class Network(torch.nn.Module):
    """Remembers what its convolution computed with."""

    def __init__(self):
        super().__init__()
        self.convolution = torch.nn.Conv2d(1, 2, 3)

    def forward(self, image):
        self.image, self.inner = image, self.convolution(image)
        return [self.inner, self.inner]


@pytest.mark.parametrize(
    ("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)]
)
def test_dtypes(precision, dtype):
    """Inside, the precision that was asked for; outside, float32 outputs, weights and gradients."""
    network = Network()
    outputs = PrecisionInferer(precision, CPU)(torch.randn(2, 1, 8, 8), network)
    sum(output.square().mean() for output in outputs).backward()

    assert network.inner.dtype == dtype
    assert all(output.dtype == torch.float32 for output in outputs)
    assert network.convolution.weight.dtype == torch.float32
    assert network.convolution.weight.grad.dtype == torch.float32


def test_channels_last():
    """The layout changes, the values do not."""
    network, image = Network(), torch.randn(2, 1, 8, 8)
    expected = network(image)[0]
    outputs = PrecisionInferer("float32", CPU, channels_last=True)(image, network)

    assert network.image.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(outputs[0], expected)


@pytest.mark.parametrize(
    ("capabilities", "dtype"),
    [
        ({"avx2": True}, "float32"),
        ({"avx2": True, "avx512_bf16": True}, "bfloat16"),
        ({"amx_bf16": True}, "bfloat16"),
    ],
)
def test_auto(monkeypatch, capsys, capabilities, dtype):
    """The choice is the CPU's, and is said."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)

    assert str(PrecisionInferer("auto", CPU).dtype) == f"torch.{dtype}"
    assert capsys.readouterr().out == f"precision: {dtype} (chosen for this device)\n"


def test_unknown():
    """A precision that there is not is refused."""
    with pytest.raises(InputError, match="precision fp8: choose from: auto, float32"):
        PrecisionInferer("fp8", CPU)
