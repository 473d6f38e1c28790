"""TransUNet: its encoder is timm's, its size the published one, its weights are read from files."""

import subprocess
import sys

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from nacl_monai.errors import InputError
from nacl_monai.networks import TransUNet
from nacl_monai.networks.transunet import PRETRAINED
from tests.networks.conftest import SMALL
from tests.same import same_bits

TINY = SMALL["transunet"]


def tiny(in_channels=3, **settings):
    return TransUNet(in_channels, 2, **{**TINY, **settings}).eval()


@pytest.mark.parametrize("size", [(224, 224), (48, 64), (50, 37)])
def test_encoder_is_that_of_timm(size):
    """The tokens equal timm's own forward pass, at the size of its weights and at others."""
    network, image = tiny(), torch.rand(2, 3, *size)
    *features, tokens = network.encode(image)
    backbone, theirs = network.encoder.patch_embed.backbone, []
    for layer in (backbone.stem.norm, *backbone.stages[:2]):
        layer.register_forward_hook(lambda _, __, level: theirs.append(level))
    expected = network.encoder.forward_features(image)[:, 1:]

    torch.testing.assert_close(tokens.flatten(2).transpose(1, 2), expected)
    scales = [tuple(-(-n // scale) for n in size) for scale in (2, 4, 8, 16)]
    assert [tuple(level.shape[2:]) for level in (*features, tokens)] == scales
    torch.testing.assert_close(features, theirs)


def test_decoder_is_the_cascaded_up_sampler():
    """The decoder equals a direct rendering of the paper's: double, join, convolve twice; four times."""
    network, image = tiny(), torch.rand(2, 3, 48, 64)
    for parameter in network.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    half, quarter, eighth, tokens = network.encode(image)

    def convolve(features, block):
        convolution, norm, _ = block
        features = F.conv2d(features, convolution.weight, padding=1)
        statistics = norm.running_mean, norm.running_var
        return F.relu(F.batch_norm(features, *statistics, norm.weight, norm.bias))

    double = torch.nn.UpsamplingBilinear2d(scale_factor=2)
    features = convolve(tokens, network.bridge)
    ups = (network.up1, network.up2, network.up3, network.up4)
    for up, skip in zip(ups, (eighth, quarter, half, None), strict=True):
        joined = [double(features)] if skip is None else [double(features), skip]
        features = torch.cat(joined, dim=1)
        for block in up.convolutions:
            features = convolve(features, block)
    expected = F.conv2d(features, network.head.weight, network.head.bias, padding=1)

    torch.testing.assert_close(network(image), expected)


@pytest.mark.nightly
def test_default_has_the_published_size():
    """The default is R50+ViT-B/16 by timm, with about the 105 million parameters published."""
    network = TransUNet(3, 9).eval()
    theirs = timm.create_model(PRETRAINED.partition(".")[0], num_classes=0).eval()
    network.encoder.load_state_dict(theirs.state_dict())
    image = torch.rand(1, 3, 224, 224)

    assert round(sum(p.numel() for p in network.parameters()) / 1e6) == 105
    tokens = network.encode(image)[-1].flatten(2).transpose(1, 2)
    torch.testing.assert_close(tokens, theirs.forward_features(image)[:, 1:])


def with_classifier(weights):
    return {**weights, "head.weight": torch.zeros(5, 16), "head.bias": torch.zeros(5)}


def other_grid(weights):
    return {**weights, "pos_embed": torch.rand(1, 1 + 24 * 24, 16)}


SAVERS = {"weights.safetensors": save_file, "weights.pth": torch.save}


@pytest.mark.parametrize("form", [dict, with_classifier, other_grid])
@pytest.mark.parametrize("name", SAVERS)
def test_weights_are_those_in_the_file(tmp_path, name, form):
    """The encoder's weights are those in the file, whatever its classifier and its grid."""
    torch.manual_seed(1)
    weights = tiny().encoder.state_dict()
    SAVERS[name](form(weights), tmp_path / name)
    loaded = tiny(pretrained=str(tmp_path / name)).encoder.state_dict()

    different = {key for key in weights if not torch.allclose(weights[key], loaded[key])}
    assert different == ({"pos_embed"} if form is other_grid else set())


@pytest.mark.parametrize("in_channels", [1, 2, 4])
def test_first_convolution_is_adapted_to_the_channels(tmp_path, in_channels):
    """A gray image is seen as a color image of equal channels; other numbers repeat them."""
    file, image = tmp_path / "weights.pth", torch.rand(1, 1, 48, 64)
    torch.save(tiny().encoder.state_dict(), file)
    seen = image.expand(-1, in_channels, -1, -1)
    ours = tiny(in_channels, pretrained=file).encode(seen)[-1]

    if in_channels == 1:
        color = tiny(pretrained=file).encode(image.expand(-1, 3, -1, -1))[-1]
        torch.testing.assert_close(ours, color)
    assert not torch.allclose(ours, tiny(in_channels).encode(seen)[-1])


def garbage(path):
    path.write_bytes(b"no weights at all")


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("garbage.pth", garbage),
        ("garbage.safetensors", garbage),
        ("garbage.npz", garbage),
        ("other.npz", lambda path: np.savez(path, weights=np.zeros(3))),
        ("other.pth", lambda path: torch.save({"weight": torch.zeros(3)}, path)),
        ("list.pth", lambda path: torch.save([torch.zeros(3)], path)),
        ("wider.pth", lambda path: torch.save(tiny(embed_dim=32).encoder.state_dict(), path)),
        ("deeper.pth", lambda path: torch.save(tiny(depth=2).encoder.state_dict(), path)),
    ],
)
def test_file_that_does_not_fit_is_refused(tmp_path, name, write):
    """A file that is not a file of weights, or of another encoder, is refused by name in one line."""
    write(tmp_path / name)
    with pytest.raises(InputError, match=f"{name}: holds no weights that fit") as caught:
        tiny(pretrained=tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The hub's cache, empty, on a machine without a network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path / f"models--timm--{PRETRAINED}"


def test_hub_is_asked_for_the_published_name(hub):
    """`pretrained: true` takes the weights that the hub's client has under the published name."""
    torch.manual_seed(1)
    weights = tiny().encoder.state_dict()
    (hub / "snapshots" / "0").mkdir(parents=True)
    (hub / "refs").mkdir()
    (hub / "refs" / "main").write_text("0")
    save_file(weights, hub / "snapshots" / "0" / "model.safetensors")
    loaded = tiny(pretrained=True).encoder.state_dict()

    same_bits(loaded, weights, "they are read back")


@pytest.mark.usefixtures("hub")
def test_unreachable_hub_is_reported_with_the_remedy():
    """Without the hub, the error says what to do instead."""
    with pytest.raises(
        InputError, match="cannot be downloaded from the Hugging Face hub; pass a local file"
    ):
        tiny(pretrained=True)


@pytest.mark.slow
def test_timm_is_imported_for_transunet_alone():
    """Who trains another network need not have it, nor wait for it; one line says what to install."""
    program = (
        "import sys; sys.modules['timm'] = None; import nacl_monai.networks as networks\n"
        "import nacl_monai.training\n"
        "try: networks.TransUNet(1, 2)\n"
        "except ValueError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert done.stdout == "timm: is needed by TransUNet and not installed; pip install timm\n"


def test_archives_of_the_transformers_authors_are_left_to_timm(tmp_path, monkeypatch, caplog):
    """Timm knows their names and axes; one line says where the weights come from."""
    configs = []
    monkeypatch.setattr(
        timm.models, "load_pretrained", lambda _, config, **__: configs.append(config)
    )
    (tmp_path / "R50+ViT-B_16.npz").touch()
    with caplog.at_level("INFO", "nacl_monai"):
        tiny(pretrained=tmp_path / "R50+ViT-B_16.npz")

    assert [(config["file"], config["custom_load"]) for config in configs] == [
        (f"{tmp_path}/R50+ViT-B_16.npz", True)
    ]
    assert f"of the encoder come from {tmp_path}" in caplog.text
