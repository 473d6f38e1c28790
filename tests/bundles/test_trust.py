"""A record may name what the bundles name, and nothing else."""

import json
from pathlib import Path

import pytest
from monai.bundle import ConfigParser

from nacl_monai.bundles.trust import check_known_code
from nacl_monai.errors import InputError
from nacl_monai.menus import dataset_names

ROOT = Path(__file__).parents[2]
BUNDLES = ROOT / "bundles"


@pytest.mark.parametrize("dataset", dataset_names(BUNDLES))
def test_what_the_sources_say_is_known(dataset):
    """A run without overrides of code is exported as it is."""
    files = [f"{dataset}/configs/dataset.yaml", "common/model.yaml", "common/train.yaml"]
    record = ConfigParser.load_config_files([str(BUNDLES / file) for file in files])

    check_known_code(record, "config.json", BUNDLES)


@pytest.mark.parametrize(
    ("record", "key"),
    [
        ({"a": "$__import__('os').system('id')"}, "a"),
        ({"a": {"b": [1, "$1 + 1"]}}, "a::b::1"),
        ({"imports": ["$import os"]}, "imports::0"),
        ({"a": "%/etc/other.json::key"}, "a"),
        (
            {"network_def": {"_target_": "subprocess.Popen", "args": ["id"]}},
            "network_def::_target_",
        ),
        ({"a": {"_target_": ["os.system"]}}, "a::_target_::0"),
        ({"a": {"_target_": {"_target_": "os.system"}}}, "a::_target_::_target_"),
        ({"a": {"_target_": "@b"}, "b": "os.system"}, "a::_target_"),
        ({"loss": {"_target_": "my_package.MyLoss"}}, "loss::_target_"),
        ({"a": {"_target_": "monai.losses.dice.torch.load"}}, "a::_target_"),
        ({"a": {"_target_": "monai.losses.dice.nn.Module"}}, "a::_target_"),
        ({"a": {"_target_": "monai.networks.utils.torch.hub.load"}}, "a::_target_"),
        ({"a": {"_target_": "monai.losses.Nix"}}, "a::_target_"),
    ],
)
def test_code_that_no_bundle_has_is_refused(record, key):
    """Wherever it is; the line says where, what it is and how to export all the same."""
    with pytest.raises(InputError) as caught:
        check_known_code(record, "mine/config.json", BUNDLES)

    assert str(caught.value).startswith(f"mine/config.json: {key} is ")
    assert str(caught.value).endswith("export it with --trust, if you trust whoever wrote it")


def test_what_earlier_versions_were_trained_with_is_known():
    """Their runs are exported as before."""
    inferer = {"_target_": "SliceInferer", "roi_size": "@spatial_size", "spatial_dim": 2}
    dataset = {"_target_": "nacl_monai.data.SliceDataset"}

    check_known_code({"inferer": inferer, "train": {"dataset": dataset}}, "config.json", BUNDLES)


def test_values_are_no_code():
    """Numbers, names, references, and a dollar within a text."""
    record = {"a": 1, "b": [None, True, 0.5], "c": "@networks::unet", "d": "costs 5 $", "e": {}}

    check_known_code(json.loads(json.dumps(record)), "config.json", BUNDLES)


def test_networks_and_losses_of_monai_and_of_this_package_are_harmless():
    """Whether a bundle has them or not."""
    names = ["SegResNet", "monai.networks.nets.SwinUNETR", "monai.losses.TverskyLoss"]
    names += ["nacl_monai.losses.ComposedLoss", "nacl_monai.losses.ForeignLoss"]

    check_known_code({"a": [{"_target_": name} for name in names]}, "config.json", BUNDLES)


def test_what_was_asked_for_is_trusted():
    """Whoever exports has named it."""
    record = {"network_def": {"_target_": "my_package.MyNet"}}

    check_known_code(record, "config.json", BUNDLES, ["my_package.MyNet"])
