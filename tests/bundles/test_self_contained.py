"""A configuration that needs no other file than those in its bundle, with the code that it needs."""

import ast
import json
import os
import shutil
import sys
from functools import cache
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser
from monai.networks.nets import UNet
from torch import nn

from nacl_monai import inference
from nacl_monai.bundles import self_contained as module
from nacl_monai.bundles.scripts import scripted, write_scripts
from nacl_monai.bundles.self_contained import (
    OwnCode,
    check_known_code,
    optional_packages,
    own_code,
    run_configs,
    self_contained,
)
from nacl_monai.errors import InputError
from nacl_monai.menus import dataset_names
from tests.bundles.conftest import BUNDLES
from tests.conftest import forget_modules, refused


@pytest.fixture(scope="module")
def configs(trained_once):
    merged = run_configs("hippocampus", {}, trained_once, BUNDLES)
    return {kind: self_contained(config, kind) for kind, config in merged.items()}


def test_chain_of_references_ends_at_the_network():
    """A reference to a reference is followed as well."""
    config = {"a": "@networks::b", "networks": {"b": {"_target_": "X"}}, "network_def": "@a"}

    assert self_contained(config, "train")["network_def"] == {"_target_": "X"}


@pytest.mark.parametrize(
    ("kind", "paths"),
    [
        ("train", {"output_dir": "output", "cache_dir": "cache"}),
        ("train", {"checkpoint": "output/model.pt", "split_file": "output/split.json"}),
        ("evaluate", {"output_dir": "output", "evaluation_dir": "output/evaluation"}),
        ("evaluate", {"cache_dir": "cache", "checkpoint": "models/model.pt"}),
        ("evaluate", {"split_file": "configs/split.json"}),
        ("inference", {"output_dir": "predictions", "checkpoint": "models/model.pt"}),
    ],
)
def test_every_path_is_below_the_bundle(configs, kind, paths):
    """`bundle_root` alone says where a bundle reads and writes."""
    assert configs[kind]["bundle_root"] == "."
    parser = ConfigParser({**configs[kind], "bundle_root": "/b"})

    for key, path in paths.items():
        assert str(parser.get_parsed_content(key)) == f"/b/{path}"


def test_inference_keeps_only_what_it_uses(configs):
    """And what MONAI asks for: nothing of reading labels, of runs or of tracking."""
    config = configs["inference"]

    assert "scripts.inference.orientation.TurnAxesd" in json.dumps(config)
    assert all("nacl_monai" in json.dumps(configs[kind]) for kind in ("train", "evaluate"))
    assert config["dataset"] == "@dataset_def"
    assert {"imports", "bundle_root", "dataset_dir", "preprocessing", "to_ras"} <= config.keys()
    unused = {"load_case", "reading", "run_folder", "tracking_uri", "cases"}
    assert not unused & config.keys()


def test_scripts_are_a_package_with_a_copy_of_each_module(tmp_path, monkeypatch):
    """It is the same but for the names of modules, and can be imported where this package is not."""
    write_scripts(tmp_path)

    source, copy = Path(inference.__path__[0]), tmp_path / "scripts/inference"
    names = {path.name for path in source.glob("*.py")}
    assert {path.name for path in copy.iterdir()} == names
    for name in names:
        assert (copy / name).read_text() == scripted((source / name).read_text())
    monkeypatch.syspath_prepend(tmp_path)
    forget_modules("scripts")
    import scripts.inference

    assert scripts.inference.find_cases is not inference.find_cases


def test_scripts_of_a_package_that_nobody_may_write_are_ordinary_files(tmp_path, monkeypatch):
    """As on a cluster; or of a time before 1980, which no zip can say."""
    installed = shutil.copytree(inference.__path__[0], tmp_path / "installed/inference")
    for path in (*installed.iterdir(), installed):
        os.utime(path, (1, 1))
        path.chmod(path.stat().st_mode & ~0o222)
    monkeypatch.setattr(inference, "__path__", [str(installed)])

    write_scripts(tmp_path / "bundle")

    written = [path.stat() for path in (tmp_path / "bundle").rglob("*")]
    assert all(path.st_mode & 0o200 and path.st_mtime > 1 for path in written)
    installed.chmod(0o755)


def test_what_travels_imports_little():
    """Only torch, MONAI, what MONAI itself needs to read NIfTI, the standard library and our errors."""
    files = Path(inference.__path__[0]).glob("*.py")
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    modules = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    imported_from = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    modules += [node.module for node in imported_from if not node.level]
    packages = {module.partition(".")[0] for module in modules}

    own = {module for module in modules if module.startswith("nacl_monai")}
    assert own == {"nacl_monai.errors"}
    further = packages - {*sys.stdlib_module_names, "nacl_monai"}
    assert further == {"torch", "monai", "numpy", "nibabel"}
    assert all(node.level < 2 for node in imported_from)


def test_scripts_need_no_module_of_this_package(tmp_path):
    """They call each other."""
    write_scripts(tmp_path)

    for file in (tmp_path / "scripts").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert not (node.module or "").startswith("nacl_monai"), file


@pytest.fixture(scope="module", autouse=True)
def _read_once():
    """The sources, which no test changes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_code_of_sources", cache(module._code_of_sources))
        yield


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
        ({"loss": {"_target_": "subprocess.Popen", "args": ["id"]}}, "loss::_target_"),
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
    line = refused(check_known_code, record, "mine/config.json", BUNDLES)

    assert line.startswith(f"mine/config.json: {key} is ")
    assert line.endswith("export it with --trust, if you trust whoever wrote it")


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


def test_fragments_are_merged_with_overrides_and_nothing_is_evaluated(run):
    """Each configuration has the overrides of its own keys, and expressions stay expressions."""
    overrides = {"spatial_size": [32, 32], "loss": "@losses::ecp"}
    configs = run_configs("hippocampus", overrides, run, BUNDLES)

    assert list(configs) == ["train", "evaluate", "inference"]
    assert all(config["spatial_size"] == [32, 32] for config in configs.values())
    assert configs["train"]["loss"] == "@losses::ecp"
    assert "loss" not in configs["inference"]
    assert configs["inference"]["networks"]["unet"]["out_channels"] == "$len(@classes)"


def test_nested_override_changes_that_entry_alone(run):
    """An override below a menu changes that entry, in each configuration that has the menu."""
    configs = run_configs("hippocampus", {"networks#unet#num_res_units": 0}, run, BUNDLES)

    for config in configs.values():
        assert config["networks"]["unet"]["num_res_units"] == 0
        assert config["networks"]["unet"]["strides"] == [2, 2, 2, 2]


@pytest.fixture
def record(run):
    """Writes the configuration that the run was trained with."""
    return lambda **keys: (run / "config.json").write_text(json.dumps(keys))


def test_record_of_the_run_is_believed_where_keys_are_shared(run, record):
    """Training has all that the record says of its keys; the others what it says of shared ones."""
    settings = {"spatial_size": [32, 32], "loss": "@losses::ecp", "handlers": ["trained"]}
    record(**settings, seed=7, unknown=1, pretrained="begin.pth")

    configs = run_configs("hippocampus", {}, run, BUNDLES)

    assert all(config["spatial_size"] == [32, 32] for config in configs.values())
    assert (configs["train"]["loss"], configs["train"]["seed"]) == ("@losses::ecp", 7)
    assert all(config.get("handlers") != ["trained"] for config in configs.values())
    assert not any("unknown" in config for config in configs.values())
    begun = [config["pretrained"] for config in configs.values()]  # of no need afterwards
    assert begun == ["begin.pth", False, False]


def test_configurations_of_a_record_share_no_object(run, record):
    """An override of one configuration cannot leak into another through the record."""
    record(structures={"anterior": [1]})

    configs = run_configs("hippocampus", {"structures::anterior": [1, 2]}, run, BUNDLES)

    assert configs["train"]["structures"] == configs["inference"]["structures"]
    assert configs["train"]["structures"] is not configs["inference"]["structures"]


@pytest.mark.parametrize("key", ["imports", "losses", "unknown"])
def test_code_of_a_record_is_executed_only_if_it_is_trusted(run, record, tmp_path, key):
    """An import would be, by the very check of the configuration."""
    (tmp_path / "evil.py").write_text("raise SystemExit('executed')")
    record(**{key: ["$import evil"]})

    message = rf"config.json: {key}::0 is '\$import evil', code that no "
    with pytest.raises(InputError, match=message):
        run_configs("hippocampus", {}, run, BUNDLES)


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


def configs_of(network, loss=None):
    return {"inference": {"network_def": network}, "train": {"network_def": network, "loss": loss}}


def test_modules_are_followed_to_all_that_they_import(path):
    """One's own are; pip's are named for inference only, and what is not there is passed over."""
    configs = configs_of(component("own_net.Net"), component("own_loss.Loss"))

    found = own_code(configs, nn.Identity())

    files = {f"own_{name}": path / f"own_{name}.py" for name in ("net", "helper", "loss")}
    assert found.modules == {**files, "own_parts": path / "own_parts"}
    assert found.packages == {"tqdm"}


def test_folder_without_init_is_a_package_too(path):
    """As Python has it."""
    found = own_code(configs_of(component("own_space.inner.Net")), nn.Identity())

    assert found.modules == {"own_space": path / "own_space"}


def test_editable_package_is_ones_own(path, monkeypatch):
    """Its name may be somebody else's where the receiver installs from."""
    monkeypatch.setattr(module, "_installed", lambda: {"own_loss": ["own"], "yaml": ["PyYAML"]})

    found = own_code(configs_of(component("own_loss.Loss")), nn.Identity())

    assert found == OwnCode({"own_loss": path / "own_loss.py"}, frozenset({"PyYAML"}))


def test_networks_of_monai_and_losses_need_nothing():
    """MONAI is named by its version, and inference has no loss."""
    loss = component("nacl_monai.losses.NACLLoss", other=component("monai.losses.DiceLoss"))

    found = own_code(configs_of(component("UNet"), loss), UNet(2, 1, 2, [4, 8], [2]))

    assert found == OwnCode({}, frozenset())


def test_network_that_imports_this_package_needs_it(path):
    """Whoever calls it, the configuration or a module of one's own."""
    (path / "own_net.py").write_text("from nacl_monai.networks import SingleOutput\n")
    wrapped = component("nacl_monai.networks.SingleOutput", network=component("UNet"))

    for network in (component("own_net.Net"), wrapped):
        assert own_code(configs_of(network), nn.Identity()).packages == {"nacl-monai"}


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
    text = "from own_parts.blocks import helper\nfound = helper.__file__\n"
    (path / "own_net.py").write_text(text)
    (tmp_path / "bundle/scripts").mkdir(parents=True)
    own_code(configs_of(component("own_net.Net")), nn.Identity()).write(tmp_path / "bundle")
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

    message = "hints.py: a bundle's scripts have a module hints; rename"
    with pytest.raises(InputError, match=message):
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
