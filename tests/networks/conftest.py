"""The menu of networks, each entry also in a size for tests."""

from copy import deepcopy
from functools import cache
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

ROOT = Path(__file__).parents[2]

# What makes an entry of the menu small, key by key, as on the command line.
SMALL = {
    "unet": {"channels": [4, 4, 8, 8, 16], "num_res_units": 1},
    "unet_authors": {"features": [4, 4, 8, 8, 16, 4]},
    "attention_unet": {"channels": [4, 4, 8, 8, 16]},
    "basic_unet_plus_plus": {"network::features": [4, 4, 8, 8, 16, 4]},
    "dynunet": {"filters": [4, 4, 8, 8, 16]},
    "segresnet": {"init_filters": 8, "blocks_down": [1, 1, 1, 1]},
    "swin_unetr": {"feature_size": 12, "num_heads": [1, 1, 2, 2], "depths": [1, 1, 1, 1]},
    "transunet": {
        "resnet_layers": [1, 1, 1],
        "resnet_channels": [32, 128, 128, 128],
        "embed_dim": 16,
        "depth": 1,
        "num_heads": 2,
        "bridge_channels": 16,
        "decoder_channels": [16, 8, 8, 8],
    },
}
NETWORKS = list(SMALL)
#: Tested before a change lands: one of MONAI's, one with several outputs, and one of our own.
FEW = ("unet", "dynunet", "transunet")
#: What the sides of an image are multiples of, for those that take fewer than multiples of 16.
MULTIPLES = {"swin_unetr": 32}
#: They take patches, too.
THREE_D = [name for name in NETWORKS if name != "transunet"]


@cache
def model_config():
    """bundles/common/model.yaml as it is."""
    return ConfigParser.load_config_file(ROOT / "bundles/common/model.yaml")


def small_overrides(network):
    """The words that make the network small on the command line."""
    pairs = SMALL[network].items()
    return [word for key, value in pairs for word in (f"--networks::{network}::{key}", value)]


def make_small(parser):
    """Makes every entry of the menu in a configuration small."""
    for network, sizes in SMALL.items():
        for key, value in sizes.items():
            parser[f"networks::{network}::{key}"] = value


def build(network, in_channels=1, classes=3, small=True, dims=2):
    """An entry of the menu, for images of so many channels and so many classes."""
    names = [str(number) for number in range(classes)]
    sizes = {"in_channels": in_channels, "classes": names, "dims": dims}
    parser = ConfigParser({**deepcopy(model_config()), **sizes})
    if small:
        make_small(parser)
    return parser.get_parsed_content(f"networks::{network}")


@pytest.fixture(autouse=True)
def _same_numbers_every_time():
    """Every test draws the same numbers, whichever ran before it."""
    torch.manual_seed(0)
