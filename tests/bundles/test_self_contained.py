"""A configuration that needs no other file than those in its bundle."""

import ast
import json
import os
import shutil
import sys
from functools import cache
from pathlib import Path

import pytest
from monai.bundle import ConfigParser

from nacl_monai import inference
from nacl_monai.bundles import self_contained as module
from nacl_monai.bundles.self_contained import (
    check_known_code,
    run_configs,
    self_contained,
    write_scripts,
)
from nacl_monai.errors import InputError
from nacl_monai.menus import dataset_names
from tests.bundles.conftest import BUNDLES
from tests.conftest import forget_modules


@pytest.fixture(scope="module")
def configs(trained_once):
    merged = run_configs("hippocampus", {}, trained_once, BUNDLES)
    return {kind: self_contained(config, kind) for kind, config in merged.items()}


def test_chain_of_references_ends_at_the_network():
    """A reference to a reference is followed as well."""
    config = {"a": "@networks::b", "networks": {"b": {"_target_": "X"}}, "network_def": "@a"}

    assert self_contained(config, "train")["network_def"] == {"_target_": "X"}


@pytest.mark.parametrize(
    ("kind", "key", "path"),
    [
        ("train", "output_dir", "/b/output"),
        ("train", "cache_dir", "/b/cache"),
        ("train", "checkpoint", "/b/output/model.pt"),
        ("train", "split_file", "/b/output/split.json"),
        ("evaluate", "output_dir", "/b/output"),
        ("evaluate", "evaluation_dir", "/b/output/evaluation"),
        ("evaluate", "cache_dir", "/b/cache"),
        ("evaluate", "checkpoint", "/b/models/model.pt"),
        ("evaluate", "split_file", "/b/configs/split.json"),
        ("inference", "output_dir", "/b/predictions"),
        ("inference", "checkpoint", "/b/models/model.pt"),
    ],
)
def test_every_path_is_below_the_bundle(configs, kind, key, path):
    """`bundle_root` alone says where a bundle reads and writes."""
    assert configs[kind]["bundle_root"] == "."
    parser = ConfigParser({**configs[kind], "bundle_root": "/b"})

    assert str(parser.get_parsed_content(key)) == path


def test_inference_keeps_only_what_it_uses(configs):
    """And what MONAI asks for: nothing of reading labels, of runs or of tracking."""
    config = configs["inference"]

    assert "scripts.inference.orientation.TurnAxesd" in json.dumps(config)
    assert all("nacl_monai" in json.dumps(configs[kind]) for kind in ("train", "evaluate"))
    assert config["dataset"] == "@dataset_def"
    assert {"imports", "bundle_root", "dataset_dir", "preprocessing", "to_ras"} <= config.keys()
    unused = {"load_case", "reading", "run_folder", "tracking_uri", "cases", "structures"}
    assert not unused & config.keys()


def test_scripts_are_a_package_with_a_copy_of_each_module(tmp_path, monkeypatch):
    """Byte for byte, so that it can be imported where this package is not."""
    write_scripts(tmp_path)

    source, copy = Path(inference.__path__[0]), tmp_path / "scripts/inference"
    names = {path.name for path in source.glob("*.py")}
    assert {path.name for path in copy.iterdir()} == names
    for name in names:
        assert (copy / name).read_bytes() == (source / name).read_bytes()
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
    """Only torch, MONAI, what MONAI itself needs to read NIfTI, and the standard library."""
    files = Path(inference.__path__[0]).glob("*.py")
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    modules = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    modules += [
        node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level
    ]
    packages = {module.partition(".")[0] for module in modules}

    assert packages - set(sys.stdlib_module_names) == {"torch", "monai", "numpy", "nibabel"}
    assert all(node.level < 2 for node in nodes if isinstance(node, ast.ImportFrom))


def test_scripts_need_no_module_of_this_package(tmp_path):
    """They call each other."""
    write_scripts(tmp_path)

    for file in (tmp_path / "scripts").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert not node.module.startswith("nacl_monai"), file


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
