"""A lower precision is the network's alone; what it returns is float32."""

import pytest
import torch

from nacl_monai.errors import InputError
from nacl_monai.training import PrecisionInferer

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
def test_forward_pass_alone_is_in_a_lower_precision(precision, dtype):
    """Inside, the precision that was asked for; outside, float32 outputs, weights and gradients."""
    network = Network()
    outputs = PrecisionInferer(precision, CPU)(torch.randn(2, 1, 8, 8), network)
    sum(output.square().mean() for output in outputs).backward()

    assert network.inner.dtype == dtype
    assert all(output.dtype == torch.float32 for output in outputs)
    assert network.convolution.weight.dtype == torch.float32
    assert network.convolution.weight.grad.dtype == torch.float32


def test_channels_last_changes_the_layout_and_no_value():
    """The image reaches the network with its channels last."""
    network, image = Network(), torch.randn(2, 1, 8, 8)
    expected = network(image)[0]
    outputs = PrecisionInferer("float32", CPU, channels_last=True)(image, network)

    assert network.image.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(outputs[0], expected)


def test_channels_of_patches_are_last_too():
    """Torch has another name for their layout."""
    seen = []
    network = torch.nn.Conv3d(2, 3, kernel_size=1)
    network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    PrecisionInferer("float32", CPU, channels_last=True)(torch.randn(2, 2, 4, 4, 4), network)

    assert seen[0].is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize(
    ("capabilities", "dtype"),
    [
        ({"avx2": True}, "float32"),
        ({"avx2": True, "avx512_bf16": True}, "bfloat16"),
        ({"amx_bf16": True}, "bfloat16"),
    ],
)
def test_auto_takes_what_the_cpu_computes_with_and_says_so(
    monkeypatch, capsys, capabilities, dtype
):
    """bfloat16 only where it is fast."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)

    assert str(PrecisionInferer("auto", CPU).dtype) == f"torch.{dtype}"
    assert capsys.readouterr().out == f"precision: {dtype} (chosen for this device)\n"


@pytest.mark.parametrize(
    ("window", "dtype"),
    [
        ((32, 48, 48), torch.float32),
        ((64, 8, 8), torch.float32),
        ((1, 8, 8), torch.float32),
        ((48, 32, 8), torch.bfloat16),
        ((128, 32, 8), torch.bfloat16),
        ((64, 64), torch.bfloat16),
    ],
)
def test_patches_that_torch_would_get_wrong_are_not_trained_in_bfloat16(monkeypatch, window, dtype):
    """Those that networks halve to a height of two: auto is float32, and bfloat16 is refused."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True}, raising=False)

    assert PrecisionInferer("auto", CPU, window).dtype == dtype
    assert PrecisionInferer("bfloat16", "cuda:0", window).dtype == torch.bfloat16
    if dtype == torch.bfloat16:
        assert PrecisionInferer("bfloat16", CPU, window).dtype == dtype
        return
    with pytest.raises(InputError, match="wrong in it on a CPU for patches") as refused:
        PrecisionInferer("bfloat16", CPU, window)
    height = int(str(refused.value).rpartition(" ")[2])
    assert PrecisionInferer("bfloat16", CPU, (height, *window[1:])).dtype == torch.bfloat16


def test_unknown_precision_is_refused():
    """With those that there are."""
    with pytest.raises(InputError, match="precision fp8: not known; choose from: auto, float32"):
        PrecisionInferer("fp8", CPU)


@pytest.mark.parametrize("device", ["cpu", CPU])
def test_float16_on_a_cpu_is_refused(device):
    """However the device is written: --device cpu is a text."""
    with pytest.raises(InputError, match="precision float16: needs a GPU; choose bfloat16"):
        PrecisionInferer("float16", device)


@pytest.mark.parametrize(
    ("precision", "device", "scaled"),
    [("float32", "cpu", False), ("bfloat16", "cpu", False), ("float16", "cuda:0", True)],
)
def test_gradients_are_scaled_in_float16_alone(precision, device, scaled):
    """Its exponents are too short for small gradients; those of bfloat16 are not."""
    assert PrecisionInferer(precision, device).scales_gradients is scaled


def test_auto_is_float32_on_a_gpu_and_on_older_versions_of_torch(monkeypatch):
    """Where nothing was measured, and where torch cannot tell."""
    assert PrecisionInferer("auto", "cuda:0").dtype == torch.float32
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert PrecisionInferer("auto", CPU).dtype == torch.float32
