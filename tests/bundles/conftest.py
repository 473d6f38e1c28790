"""A finished training, as exports find it."""

import shutil
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser
from monai.networks.nets import UNet

from tests.conftest import forget_modules

BUNDLES = Path(__file__).parents[2] / "bundles"


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory):
    """A folder like that of a finished training of hippocampus, with random weights."""
    run = tmp_path_factory.mktemp("runs") / "hippocampus/unet_nacl_seed0"
    run.mkdir(parents=True)
    sizes = {"channels": [16, 32, 64, 128, 256], "strides": [2] * 4, "num_res_units": 2}
    network = UNet(2, 1, 3, **sizes, act=("leakyrelu", {"negative_slope": 0.25}))
    torch.save(network.state_dict(), run / "model.pt")
    (run / "split.json").write_text('{"train": ["a"], "val": ["b"], "test": ["c"]}')
    (run / "run.json").write_text('{"finished": true}')
    return run


@pytest.fixture
def inference_of(monkeypatch):
    """What a host makes of the inference of a bundle, whose scripts it imports anew."""

    def parser(bundle, **settings):
        forget_modules("scripts")
        monkeypatch.syspath_prepend(bundle)
        config = ConfigParser.load_config_file(bundle / "configs/inference.json")
        return ConfigParser({**config, "device": "cpu", **settings})

    return parser


@pytest.fixture
def run(trained_once, tmp_path):
    """The same, for a test that adds to it."""
    return Path(shutil.copytree(trained_once, tmp_path / "runs/hippocampus/unet_nacl_seed0"))
