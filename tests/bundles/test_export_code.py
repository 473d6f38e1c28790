"""The source of one's own classes travels; what pip installed is named."""

import json
import sys

import pytest
import torch
from monai.networks.nets import UNet
from torch import nn

from nacl_monai.bundles import self_contained as module
from nacl_monai.bundles.self_contained import OwnCode, optional_packages, own_code
from nacl_monai.errors import InputError
from tests.conftest import forget_modules

FILES = {
    "own_net.py": "import torch\nfrom own_parts.blocks import A\nimport tqdm\nimport no_such_thing\n",
    "own_parts/__init__.py": "",
    "own_parts/blocks.py": "from . import deep\nimport own_helper as helper\n",
    "own_parts/deep/__init__.py": "",
    "own_helper.py": "import os\n",
    "own_loss.py": "import yaml\n",
    "own_space/inner.py": "",
    "unused.py": "",
}


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A folder with modules of one's own, on the path, that no later test finds imported."""
    for name, text in FILES.items():
        file = tmp_path / "code" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    monkeypatch.syspath_prepend(tmp_path / "code")
    yield tmp_path / "code"
    forget_modules("scripts", *(name.partition("/")[0].removesuffix(".py") for name in FILES))


def component(name, **arguments):
    return {"_target_": name, **arguments}


def configs(network, loss=None):
    return {"inference": {"network_def": network}, "train": {"network_def": network, "loss": loss}}


def test_modules_are_followed_to_all_that_they_import(path):
    """One's own are; pip's are named for inference only, and what is not there is passed over."""
    found = own_code(configs(component("own_net.Net"), component("own_loss.Loss")), nn.Identity())

    assert found.modules == {
        "own_net": path / "own_net.py",
        "own_parts": path / "own_parts",
        "own_helper": path / "own_helper.py",
        "own_loss": path / "own_loss.py",
    }
    assert found.packages == {"tqdm"}


def test_folder_without_init_is_a_package_too(path):
    """As Python has it."""
    found = own_code(configs(component("own_space.inner.Net")), nn.Identity())

    assert found.modules == {"own_space": path / "own_space"}


def test_editable_package_is_ones_own(path, monkeypatch):
    """Its name may be somebody else's where the receiver installs from."""
    monkeypatch.setattr(module, "_installed", lambda: {"own_loss": ["own"], "yaml": ["PyYAML"]})

    found = own_code(configs(component("own_loss.Loss")), nn.Identity())

    assert found == OwnCode({"own_loss": path / "own_loss.py"}, frozenset({"PyYAML"}))


def test_networks_of_monai_and_losses_need_nothing():
    """MONAI is named by its version, and inference has no loss."""
    loss = component("nacl_monai.losses.NACLLoss", other=component("monai.losses.DiceLoss"))

    found = own_code(configs(component("UNet"), loss), UNet(2, 1, 2, [4, 8], [2]))

    assert found == OwnCode({}, frozenset())


def test_network_that_imports_this_package_needs_it(path):
    """Whoever calls it, the configuration or a module of one's own."""
    (path / "own_net.py").write_text("from nacl_monai.networks import SingleOutput\n")
    wrapped = component("nacl_monai.networks.SingleOutput", network=component("UNet"))

    for network in (component("own_net.Net"), wrapped):
        assert own_code(configs(network), nn.Identity()).packages == {"nacl-monai"}


@pytest.mark.usefixtures("path")
def test_configurations_call_the_modules_where_they_travel():
    """At any depth, and nothing else."""
    inner = component("own_loss.Loss")
    config = {
        "network_def": component("own_net.Net", width=3),
        "loss": component("nacl_monai.losses.ComposedLoss", base=inner, others=[inner, 1]),
        "text": "own_net.Net",
    }

    moved = own_code({"inference": config}, nn.Identity()).moved(config)

    assert moved["network_def"] == component("scripts.own_net.Net", width=3)
    assert moved["loss"]["base"] == component("scripts.own_loss.Loss")
    assert moved["loss"]["others"] == [component("scripts.own_loss.Loss"), 1]
    assert moved["text"] == "own_net.Net"
    assert json.loads(json.dumps(config)) == config


def test_sources_are_copied_and_find_each_other(path, tmp_path, monkeypatch):
    """By the names that they have among themselves, without their folder on the path."""
    (path / "own_net.py").write_text(
        "from own_parts.blocks import helper\nfound = helper.__file__\n"
    )
    (tmp_path / "bundle/scripts").mkdir(parents=True)
    own_code(configs(component("own_net.Net")), nn.Identity()).write(tmp_path / "bundle")
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(path)])
    monkeypatch.syspath_prepend(tmp_path / "bundle")
    forget_modules("scripts")

    from scripts.own_net import found

    assert found == str(tmp_path / "bundle/scripts/own_helper.py")


def test_module_of_the_name_of_a_script_is_refused(path, tmp_path):
    """It would take its place."""
    (path / "hints.py").touch()
    (tmp_path / "bundle/scripts").mkdir(parents=True)
    (tmp_path / "bundle/scripts/hints.py").touch()

    with pytest.raises(
        InputError, match=r"hints.py: a bundle's scripts have a module hints; rename"
    ):
        OwnCode({"hints": path / "hints.py"}, frozenset()).write(tmp_path / "bundle")


def test_packages_that_a_network_of_monai_imports_if_they_are_there(tmp_path, monkeypatch):
    """As SwinUNETR einops; of those, what is installed."""
    source = tmp_path / "swin.py"
    source.write_text(
        'rearrange, _ = optional_import("einops", name="rearrange")\n'
        "a, _ = optional_import('absent.part')\n"
        'b, _ = optional_import("torch.fft")\n'
    )
    fake = type(sys)("monai.fake_swin")
    fake.__file__ = str(source)
    monkeypatch.setitem(sys.modules, "monai.fake_swin", fake)
    network = nn.Sequential(type("Swin", (nn.Module,), {"__module__": "monai.fake_swin"})())
    monkeypatch.setattr(module, "_installed", lambda: {"einops": ["einops"], "torch": ["torch"]})

    assert optional_packages(network) == {"einops"}
    assert optional_packages(nn.Sequential(torch.nn.ReLU())) == set()
