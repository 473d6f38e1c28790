"""`nacl-monai export`."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from monai.networks.nets import UNet

from nacl_monai.bundles.__main__ import main
from tests.bundles.conftest import BUNDLES

pytestmark = pytest.mark.usefixtures("run")

WORDS = ["export", "hippocampus", "--bundles", str(BUNDLES)]


@pytest.fixture
def export(tmp_path, monkeypatch, capsys):
    """Runs the command in the folder of the runs, but for TorchScript; returns all that it says."""
    monkeypatch.setattr("nacl_monai.bundles.export._write_torchscript", lambda *_: "script")

    def command(*args):
        monkeypatch.chdir(tmp_path)
        code = main([*WORDS, *map(str, args)])
        return code, *capsys.readouterr()

    return command


def metadata(bundle):
    return json.loads(Path(bundle, "configs/metadata.json").read_text())


def test_newest_run_is_exported_by_its_choice_with_overrides(export, tmp_path):
    """It goes to dist/, and the command says what it wrote."""
    shutil.move(tmp_path / "runs", tmp_path / "others")
    code, output, _ = export("--spatial_size", "[32, 32]", "--runs", "others")

    assert code == 0
    bundle = "dist/hippocampus_unet_nacl"
    *_, folder, packed, following = output.splitlines()
    assert (folder, packed) == (f"wrote {bundle}", f"wrote {bundle}.zip")
    config = f"--config_file {bundle}/configs/inference.json --bundle_root {bundle}"
    assert following == f"next: python -m monai.bundle run inference {config} --images IMAGES"
    image = metadata(bundle)["network_data_format"]["inputs"]["image"]
    assert image["spatial_shape"] == [32, 32]
    assert metadata(bundle)["description"].startswith("UNet trained on 2-D slices with NACLLoss")


def test_run_of_a_seed_is_found_and_named(export, run):
    """A newer run with another seed is not taken, and the folder is printed before it is packed."""
    other = Path(shutil.copytree(run, run.with_name("unet_nacl_seed1")))
    for folder, seed in ((run, 0), (other, 1)):
        (folder / "config.json").write_text(json.dumps({"seed": seed}))
    (other / "model.pt").touch()

    code, output, errors = export("--seed", 0)

    assert code == 0, errors
    assert "packing runs/hippocampus/unet_nacl_seed0\n" in output


def test_run_without_a_record_was_trained_with_what_is_chosen(export, run, tmp_path):
    """`--run` names a folder; `--loss` says how it was trained, unless the run says so itself."""
    code, _, errors = export("--run", run, "--loss", "ecp", "--output", tmp_path / "mine")

    assert code == 0, errors
    assert "with ECPLoss" in metadata(tmp_path / "mine")["description"]


def test_run_on_patches_is_found_by_its_name_and_named_so(export, run):
    """Its record says that it is 3-D."""
    sizes = {"channels": [16, 32, 64, 128, 256], "strides": [2] * 4, "num_res_units": 2}
    network = UNet(3, 1, 3, **sizes, act=("leakyrelu", {"negative_slope": 0.25}))
    torch.save(network.state_dict(), run / "model.pt")
    record = {"network_def": "@networks::unet", "loss": "@losses::focal", "dims": 3}
    (run / "config.json").write_text(json.dumps(record))
    run.rename(run.with_name("unet3d_nacl_seed0"))

    code, _, errors = export("--network", "unet", "--dims", 3)

    assert code == 0, errors
    found = metadata("dist/hippocampus_unet3d_focal")
    assert found["network_data_format"]["inputs"]["image"]["spatial_shape"] == [48, 64, 48]
    assert "with FocalLoss" in found["description"]


@pytest.mark.parametrize(
    ("record", "args", "named"),
    [
        ({"loss": "@losses::focal"}, ["--loss", "ecp"], "loss (@losses::focal, now @losses::ecp)"),
        ({"spatial_size": [48, 9]}, ["--spatial_size", "[64, 9]"], "spatial_size::0 (48, now 64)"),
        ({"dataset": "acdc"}, [], "dataset (acdc, now hippocampus)"),
    ],
)
def test_contradiction_of_the_record_is_refused(export, run, record, args, named):
    """With both values; nothing is written."""
    (run / "config.json").write_text(json.dumps({"loss": "", "network_def": "", **record}))

    code, _, errors = export("--run", run, *args, "--output", "mine")

    assert code == 1
    assert f"{run}/config.json: the run was trained with another {named}; " in errors
    assert not Path("mine").exists()


def test_code_in_a_run_is_executed_only_with_trust(export, run, tmp_path):
    """Whoever sent the run could have written anything into its record."""
    code = f"$open({str(tmp_path / 'executed')!r}, 'w').close() or [48, 64]"
    (run / "config.json").write_text(json.dumps({"spatial_size": code}))

    exit_code, _, errors = export("--run", run)

    assert exit_code == 1
    assert errors.startswith(f"error: {run}/config.json: spatial_size is ")
    assert len(errors.splitlines()) == 1
    assert not (tmp_path / "executed").exists()
    assert not (tmp_path / "dist").exists()
    assert export("--run", run, "--trust")[0] == 0
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--loss", "ecp"], "runs/hippocampus/unet_ecp_seed*: no finished training there; "),
        (["--spatial_sise", "1"], "--spatial_sise: there is no such key in the configuration; "),
        (
            ["--output", "runs"],
            "runs: is already there; remove it, or choose another --output, with make OUTPUT=DIR\n",
        ),
    ],
)
def test_errors_are_one_line(export, args, message):
    """And the exit code is 1, or argparse's 2 where a word of the command is wrong."""
    code, _, errors = export(*args)

    assert code == (2 if "no such key" in message else 1)
    assert errors.startswith(f"error: {message}")
    assert len(errors.splitlines()) == 1
