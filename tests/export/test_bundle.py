"""What becomes of a run when it is exported, and what is refused."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser
from monai.networks.nets import UNet

from nacl_monai.errors import InputError
from nacl_monai.export.__main__ import main
from nacl_monai.export.bundle import export_bundle
from nacl_monai.export.fragments import run_configs
from nacl_monai.export.runs import newest_run

BUNDLES = Path(__file__).parents[2] / "bundles"


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory):
    """A folder like that of a finished training of hippocampus, with random weights."""
    run = tmp_path_factory.mktemp("runs") / "hippocampus/unet_nacl_seed0"
    run.mkdir(parents=True)
    network = UNet(2, 1, 3, channels=[16, 32, 64, 128, 256], strides=[2] * 4, num_res_units=2)
    torch.save(network.state_dict(), run / "model.pt")
    (run / "split.json").write_text('{"train": ["a"], "val": ["b"], "test": ["c"]}')
    return run


@pytest.fixture
def run(trained_once, tmp_path):
    """The same, for a test that adds to it."""
    return Path(shutil.copytree(trained_once, tmp_path / "runs/hippocampus/unet_nacl_seed0"))


def test_configurations(run):
    """Fragments are merged, overrides are in them, and nothing is evaluated."""
    configs = run_configs(
        BUNDLES, "hippocampus", {"spatial_size": [32, 32], "loss": "@losses::ecp"}, run
    )

    assert list(configs) == ["train", "evaluate", "inference"]
    assert all(config["spatial_size"] == [32, 32] for config in configs.values())
    assert configs["train"]["loss"] == "@losses::ecp"
    assert "loss" not in configs["inference"]
    assert configs["inference"]["networks"]["unet"]["out_channels"] == "$len(@classes)"


def test_nested_overrides(run):
    """An override below a menu changes that entry alone, in each configuration that has it."""
    configs = run_configs(BUNDLES, "hippocampus", {"networks#unet#num_res_units": 0}, run)

    for config in configs.values():
        assert config["networks"]["unet"]["num_res_units"] == 0
        assert config["networks"]["unet"]["strides"] == [2, 2, 2, 2]


def test_record(run):
    """A run that recorded its configuration is taken at its word, where the keys are shared."""
    record = {
        "spatial_size": [32, 32],
        "loss": "@losses::ecp",
        "imports": ["$import torch"],
        "x": 1,
    }
    (run / "config.json").write_text(json.dumps(record))

    configs = run_configs(BUNDLES, "hippocampus", {}, run)

    assert all(config["spatial_size"] == [32, 32] for config in configs.values())
    assert configs["train"]["loss"] == "@losses::ecp"
    assert "$import glob" in configs["inference"]["imports"]
    assert not any("x" in config for config in configs.values())


def test_damaged_record(run):
    """A record that cannot be read is named."""
    (run / "config.json").write_text("{")

    with pytest.raises(InputError, match=r"config.json: is damaged"):
        run_configs(BUNDLES, "hippocampus", {}, run)


@pytest.mark.parametrize(
    ("dataset", "overrides", "message"),
    [
        ("hipocampus", {}, "no dataset hipocampus .*choose from: acdc, "),
        ("hippocampus", {"spatial_sise": [1, 1]}, "did you mean --spatial_size"),
        (
            "hippocampus",
            {"network_def": "@networks::vnet"},
            "no networks::vnet .*choose from: unet",
        ),
        ("hippocampus", {"classes": ["a", "b"]}, "model.pt: does not fit the network"),
        ("hippocampus", {"network_def": "@networks::attention_unet"}, "does not fit the network"),
    ],
)
def test_refused(run, tmp_path, dataset, overrides, message):
    """A wrong choice is one line, and leaves nothing behind."""
    with pytest.raises(InputError, match=message):
        export_bundle(run, tmp_path / "dist/x", dataset, overrides, BUNDLES)

    assert not (tmp_path / "dist").exists()


@pytest.mark.parametrize("missing", ["model.pt", "split.json"])
def test_incomplete_run(run, tmp_path, missing):
    """A run without weights or split is no run to export; what was begun is gone."""
    (run / missing).unlink()

    with pytest.raises(InputError, match=f"{missing}: "):
        export_bundle(run, tmp_path / "dist/x", "hippocampus", {}, BUNDLES)

    assert list((tmp_path / "dist").glob("*")) == []


@pytest.mark.parametrize("name", ["x", "x.zip"])
def test_no_overwriting(run, tmp_path, name):
    """What is there stays as it is."""
    (tmp_path / "dist" / name).mkdir(parents=True)

    with pytest.raises(InputError, match=f"{name}: is already there"):
        export_bundle(run, tmp_path / "dist/x", "hippocampus", {}, BUNDLES)

    assert [path.name for path in (tmp_path / "dist").iterdir()] == [name]


def test_self_contained(run, tmp_path):
    """One network, paths below the bundle, no dataset and nothing of this package in inference."""
    bundle, _ = export_bundle(run, tmp_path / "x", "hippocampus", {}, BUNDLES)
    configs = {
        kind: json.loads((bundle / f"configs/{kind}.json").read_text())
        for kind in ("train", "evaluate", "inference")
    }

    for config in configs.values():
        assert config["network_def"]["_target_"] == "UNet"
        assert "networks" not in config
        paths = [config[key] for key in ("output_dir", "cache_dir", "checkpoint") if key in config]
        assert all("@bundle_root" in path or "@output_dir" in path for path in paths)
    assert "nacl_monai" not in json.dumps(configs["inference"])
    parser = ConfigParser({**configs["evaluate"], "bundle_root": "/b"})
    assert parser.get_parsed_content("checkpoint") == "/b/models/model.pt"
    assert parser.get_parsed_content("split_file") == "/b/configs/split.json"
    for file in bundle.rglob("*.json"):
        assert str(tmp_path) not in file.read_text()
        assert file.read_text().isascii()


def test_newest_run(run):
    """Of a choice's finished runs the newest is taken; others and unfinished ones are not."""
    runs = run.parents[1]
    for number, name in enumerate(
        ["unet_nacl_seed1", "unet_nacl_seed2", "unet_ecp_seed0"], start=1
    ):
        other = Path(shutil.copytree(run, run.parent / name))
        stamp = (run / "model.pt").stat().st_mtime + number
        os.utime(other / "model.pt", (stamp, stamp))
    (run.parent / "unet_nacl_seed2/run.json").write_text('{"finished": false}')

    assert newest_run(runs, "hippocampus", "unet", "nacl").name == "unet_nacl_seed1"
    with pytest.raises(InputError, match=r"attention_unet_nacl_seed\*: no finished training there"):
        newest_run(runs, "hippocampus", "attention_unet", "nacl")


def test_command(run, tmp_path, monkeypatch, capsys):
    """The command exports the newest run by its choice, with overrides; errors are one line."""
    monkeypatch.chdir(tmp_path)
    words = ["export", "hippocampus", "--bundles", str(BUNDLES)]

    assert main([*words, "--spatial_size", "[32, 32]"]) == 0
    metadata = json.loads(Path("dist/hippocampus_unet_nacl/configs/metadata.json").read_text())
    image = metadata["network_data_format"]["inputs"]["image"]
    assert image["spatial_shape"] == [32, 32]
    assert metadata["description"].startswith("UNet trained on 2-D slices with NACLLoss")
    capsys.readouterr()

    assert main([*words, "--loss", "ecp"]) == 1
    assert capsys.readouterr().err.startswith("error: runs/hippocampus/unet_ecp_seed*: no finished")
    assert main([*words, "--run", str(run)]) == 1
    assert "is already there" in capsys.readouterr().err
