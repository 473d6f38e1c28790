"""How each network leaves Python: TorchScript and ONNX that agree with the eager network."""

import onnxruntime
import pytest
import torch

from tests.conftest import nightly_but
from tests.networks.conftest import FEW, NETWORKS, build

# The heads of the first are written to a list, the second asks for the number of axes.
TRACED = {"dynunet": "Arguments for call are not valid", "swin_unetr": "Tuple index out of range"}
FIXED_TRACE = {"swin_unetr"}  # its windows of attention are those of one size
FIXED_SIZE = {"transunet", *FIXED_TRACE}  # with free sizes, torch.export does not end
SIZES = [(2, 2, 96, 64), (1, 2, 96, 64), (3, 2, 64, 32), (1, 2, 224, 224)]
every_network = pytest.mark.parametrize("name", nightly_but(FEW, NETWORKS))

pytestmark = pytest.mark.slow  # to trace and to script takes seconds


def spread(name):
    """A small network in evaluation whose logits are far from zero, so that they can differ."""
    network = build(name, in_channels=2).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def assert_agrees(network, exported, sizes):
    for size in sizes:
        image = torch.randn(size)
        with torch.no_grad():
            expected = network(image)
        assert expected.std() > 0.05
        torch.testing.assert_close(exported(image), expected, rtol=1e-4, atol=1e-4)


@every_network
def test_script_takes_any_size(name, tmp_path):
    """All but two can be scripted, as they are in training, and then take any size."""
    network = spread(name)
    if name in TRACED:
        with pytest.raises(RuntimeError, match=TRACED[name]):
            torch.jit.script(network)
        return
    torch.jit.script(network.train()).eval().save(tmp_path / "model.ts")

    assert_agrees(network.eval(), torch.jit.load(tmp_path / "model.ts"), SIZES)


@every_network
def test_trace_takes_other_batches_and_sizes(name, tmp_path):
    """All can be traced on one image, and the trace takes other batches and, of most, sizes."""
    network = spread(name)
    torch.jit.trace(network, torch.rand(1, 2, 96, 64)).save(tmp_path / "model.ts")

    sizes = SIZES[:2] if name in FIXED_TRACE else SIZES
    assert_agrees(network, torch.jit.load(tmp_path / "model.ts"), sizes)


@pytest.mark.nightly
@every_network
def test_onnxruntime_gives_the_same_logits(name, tmp_path):
    """Onnxruntime gives the same logits for any batch, and for any size but with TransUNet."""
    network, file = spread(name), tmp_path / "model.onnx"
    axes = [0] if name in FIXED_SIZE else [0, 2, 3]
    torch.onnx.export(
        network,
        (torch.rand(2, 2, 96, 64),),
        file,
        input_names=["image"],
        output_names=["logits"],
        dynamic_shapes=(dict.fromkeys(axes, torch.export.Dim.DYNAMIC),),
        dynamo=True,
    )
    session = onnxruntime.InferenceSession(file)

    def run(image):
        return torch.from_numpy(session.run(["logits"], {"image": image.numpy()})[0])

    assert_agrees(network, run, SIZES[:2] if name in FIXED_SIZE else SIZES)
