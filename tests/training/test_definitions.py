"""A class is chosen by its name, and told what the configuration knows."""

import pytest
import yaml
from monai.bundle import ConfigParser

from nacl_monai.bundles.overrides import checked_overrides
from nacl_monai.errors import SettingError
from nacl_monai.training.definitions import complete_definitions, completed
from tests.conftest import ROOT

COMMON = ROOT / "bundles/common"
KNOWN = {
    key: yaml.safe_load((COMMON / file).read_text(encoding="utf-8"))[key]
    for key, file in (("network_arguments", "model.yaml"), ("loss_arguments", "train.yaml"))
}
OWN = """
import torch

class Net(torch.nn.Module):
    def __init__(self, num_classes, width=8, **more):
        super().__init__()

class Narrow(Net):
    def __init__(self, in_channels, **more):
        super().__init__(**more)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of one's own on the path."""
    (tmp_path / "own_definitions.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    return "own_definitions"


def complete(key, definition):
    return completed({**KNOWN, key: definition})[key]


def test_class_is_given_what_it_takes(own):
    """It gets what the configuration knows, by the names of its parameters and its parents'."""
    classes = {"out_channels": "$len(@classes)", "num_classes": "$len(@classes)"}

    assert complete("network_def", f"{own}.Net") == {
        "_target_": f"{own}.Net",
        "num_classes": classes["num_classes"],
    }
    assert complete("network_def", f"{own}.Narrow") == {
        "_target_": f"{own}.Narrow",
        "in_channels": "@in_channels",
        "num_classes": classes["num_classes"],
    }
    assert complete("network_def", {"_target_": "SegResNet", "init_filters": 8}) == {
        "_target_": "SegResNet",
        "init_filters": 8,
        "spatial_dims": "@dims",
        "in_channels": "@in_channels",
        "out_channels": classes["out_channels"],
    }


def test_what_is_given_stays_and_completing_again_changes_nothing():
    """Whoever says another number of channels means it."""
    definition = complete("network_def", {"_target_": "SegResNet", "out_channels": 7})

    assert definition["out_channels"] == 7
    assert completed({**KNOWN, "network_def": definition}) == {}


@pytest.mark.parametrize("value", ["@networks::unet", "$make()", "%file::key", None, 3])
def test_what_is_no_definition_stays(value):
    """References to the menu above all."""
    assert completed({**KNOWN, "network_def": value}) == {}


def test_losses_of_monai_are_told_what_labels_and_logits_are():
    """Each by the arguments that it has."""
    assert complete("loss", "monai.losses.DiceLoss") == {
        "_target_": "monai.losses.DiceLoss",
        "to_onehot_y": True,
        "softmax": True,
    }
    assert complete("loss", "monai.losses.FocalLoss") == {
        "_target_": "monai.losses.FocalLoss",
        "to_onehot_y": True,
        "use_softmax": True,
    }


def test_definition_within_a_wrapper_of_this_package_is_completed():
    """Within anybody else's class nobody knows what the arguments mean."""
    inner = {"_target_": "monai.losses.DiceLoss"}

    whole = complete("loss", {"_target_": "nacl_monai.losses.ComposedLoss", "base": inner})
    assert whole["base"] == {**inner, "to_onehot_y": True, "softmax": True}
    foreign = {"_target_": "monai.losses.MaskedLoss", "loss": inner}
    assert completed({**KNOWN, "loss": foreign}) == {}


def test_module_that_cannot_be_imported_is_one_line(tmp_path, monkeypatch):
    """With the reason."""
    (tmp_path / "own_broken.py").write_text("import nowhere_to_be_found\n")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(SettingError, match=r"own_broken.Net cannot be imported \(.*nowhere_to_be"):
        complete("network_def", "own_broken.Net")


def test_running_configuration_is_completed():
    """What is made after that is made of the complete definition."""
    parser = ConfigParser(
        {
            **KNOWN,
            "dims": 2,
            "window": [32, 32],
            "in_channels": 2,
            "classes": ["a", "b", "c"],
            "network_def": {"_target_": "SegResNet", "init_filters": 8},
            "complete": {"_target_": f"{complete_definitions.__module__}.complete_definitions"},
        }
    )

    parser.get_parsed_content("complete")

    network = parser.get_parsed_content("network_def")
    assert network.convInit.conv.weight.shape == (8, 2, 3, 3)


MENU = {"networks": {"unet": {"_target_": "UNet"}}, "network_def": "@networks::unet"}


def test_name_of_a_class_on_the_command_line_is_its_definition(own):
    """A class of MONAI's, or one with a module."""
    for name in ("SegResNet", f"{own}.Net"):
        asked = checked_overrides(MENU, {"network_def": name})
        assert asked == {"network_def": {"_target_": name}}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "unet",
            "is not a reference to the menu; write it as a reference, --network_def @networks::un",
        ),
        ("unett", "is not a reference to the menu"),
        ("my_package.Nix", "no such class can be imported; correct the name, or put its folder on"),
        ("TransUNet", "write nacl_monai.networks.TransUNet"),
    ],
)
def test_other_words_are_refused(name, message):
    """An entry of the menu without it, a slip, and a name that this package has too."""
    with pytest.raises(SettingError, match=message):
        checked_overrides(MENU, {"network_def": name})


def test_parts_behind_a_name_are_refused(own):
    """MONAI would fail on the text; a definition has parts."""
    with pytest.raises(SettingError, match=r"without parts; write --network_def \"\{'_target_'"):
        checked_overrides(MENU, {"network_def": f"{own}.Net", "network_def::width": 4})
