"""An exported run is a stock MONAI bundle: MONAI's own commands accept it, from any folder."""

import json
import re
import shlex
import subprocess
import sys
import venv
import zipfile
from functools import cache
from pathlib import Path

import monai.bundle
import nibabel
import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from monai.bundle import ConfigParser

from nacl_monai.bundles.command_line import keys_and_values
from nacl_monai.bundles.export import export_bundle
from tests.configurations.conftest import FAST, ROOT, block_package, export_arguments, parser_of
from tests.conftest import nightly_but
from tests.same import same_bits

MODULES = {"__init__", "command_line", "definitions", "error_lines", "errors"}
MODULES |= {"hints", "overrides", "words"}
INFERENCE = sorted((ROOT / "nacl_monai/inference").glob("*.py"))
NETWORKS = list(ConfigParser.load_config_file(ROOT / "bundles/common/model.yaml")["networks"])


@pytest.fixture(scope="session")
def export_of(run_of, tmp_path_factory):
    """For a dataset: its folder, a run of two epochs, and the bundle exported from it."""

    @cache
    def export(dataset):
        _, dataset_dir, run = run_of(dataset)
        output = tmp_path_factory.mktemp("dist") / f"{dataset}_unet_nacl"
        overrides = keys_and_values(FAST[dataset])
        export_bundle(run, output, dataset, overrides, bundles=ROOT / "bundles")
        return dataset_dir, run, output

    return export


def configs(bundle):
    """What MONAI's commands ask for of a bundle."""
    names = {"meta_file": "metadata", "config_file": "inference"}
    return {key: f"{bundle}/configs/{name}.json" for key, name in names.items()}


@pytest.fixture(params=nightly_but(("hippocampus",), sorted(FAST)))
def exported(request, export_of):
    return export_of(request.param)


@pytest.fixture
def without_package(monkeypatch, tmp_path):
    """Another working folder, in which neither this package nor a bundle's scripts can be imported."""
    monkeypatch.chdir(tmp_path)
    block_package(monkeypatch)
    monkeypatch.setitem(sys.modules, "scripts", None)


@pytest.fixture
def elsewhere(bundle, tmp_path):
    """Runs a command of ``monai.bundle`` in another folder; returns what it wrote there."""

    def run(exported, run_id, kind, *args):
        output = ["--output_dir", tmp_path / run_id]
        bundle.done(*export_arguments(exported, run_id, *output, *args, kind=kind), cwd=tmp_path)
        return tmp_path / run_id

    return run


def test_folder_and_zip_hold_what_the_model_zoo_asks_for(exported):
    """The folder holds what the Model Zoo asks for, and the zip the same."""
    _, _, bundle = exported
    files = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}

    kinds = ("metadata", "train", "evaluate", "inference", "split", "meta_schema")
    assert files == {
        *(f"configs/{kind}.json" for kind in kinds),
        "configs/logging.conf",
        "models/model.pt",
        "models/model.pt.sha256",
        "models/model.ts",
        *(f"scripts/{name}.py" for name in MODULES),
        *(f"scripts/inference/{file.name}" for file in INFERENCE),
        "docs/README.md",
        "docs/data_license.txt",
        "docs/reliability.png",
        "reliability.png",
        "LICENSE",
    }
    with zipfile.ZipFile(f"{bundle}.zip") as archive:
        zipped = {info.filename for info in archive.infolist() if not info.is_dir()}
        for file in files:
            assert archive.read(f"{bundle.name}/{file}") == (bundle / file).read_bytes()
    assert zipped == {f"{bundle.name}/{file}" for file in files}
    metadata = json.loads((bundle / "configs/metadata.json").read_text())
    assert metadata["version"] in metadata["changelog"]
    assert max((bundle / file).stat().st_size for file in files) < 25e6  # of one file, in the Zoo
    assert {path.name for path in bundle.parent.iterdir()} == {bundle.name, f"{bundle.name}.zip"}


def test_card_shows_the_picture_that_lies_beside_it(exported):
    """On Hugging Face as well, where MONAI puts the card at the top of the folder."""
    card = (exported[2] / "docs/README.md").read_text(encoding="utf-8")

    assert "## How far its probabilities can be trusted" in card
    assert re.findall(r"!\[[^\]]*\]\(([^)]+)\)", card) == ["reliability.png"]


def test_metadata_pass_the_check_of_monai(exported, monkeypatch, tmp_path):
    """The metadata pass MONAI's check without a network, and fail it without a required key."""
    _, _, bundle = exported
    monkeypatch.setattr("monai.apps.utils.urlopen", None, raising=False)
    schema, file = bundle / "configs/meta_schema.json", bundle / "configs/metadata.json"

    monai.bundle.verify_metadata(meta_file=str(file), filepath=str(schema))

    spoilt = json.loads(file.read_text())
    del spoilt["task"]
    file = tmp_path / "spoilt.json"
    file.write_text(json.dumps(spoilt))
    with pytest.raises(ValueError, match="Failed validating"):
        monai.bundle.verify_metadata(meta_file=str(file), filepath=str(schema))


@pytest.mark.usefixtures("without_package")
@pytest.mark.parametrize("net_id", ["network_def", "network"])
def test_network_takes_and_gives_what_the_metadata_say(exported, net_id):
    """MONAI's `verify_net_in_out` says so, from any folder and without this package."""
    _, _, bundle = exported
    monai.bundle.verify_net_in_out(net_id=net_id, **configs(bundle))


@pytest.mark.parametrize("kind", ["train", "inference"])
def test_load_returns_the_weights_of_the_run(exported, monkeypatch, tmp_path, kind):
    """`monai.bundle.load` makes the network, from any folder; for inference without this package."""
    _, run, bundle = exported
    monkeypatch.chdir(tmp_path)
    if kind == "inference":
        block_package(monkeypatch)

    network = monai.bundle.load(bundle.name, bundle_dir=bundle.parent, workflow_type=kind)

    weights = torch.load(run / "model.pt", weights_only=True)
    same_bits(network.state_dict(), weights, "they are read back")


@pytest.mark.usefixtures("without_package")
def test_torchscript_computes_what_the_network_computes(exported, tmp_path):
    """For any batch; as does what `ckpt_export` makes from any folder, without this package."""
    _, _, bundle = exported
    again = tmp_path / "again.ts"
    weights = str(bundle / "models/model.pt")
    to = {"net_id": "network_def", "filepath": str(again), "ckpt_file": weights}
    monai.bundle.ckpt_export(**to, **configs(bundle))

    for file in (bundle / "models/model.ts", again):
        images, expected = images_and_logits(bundle)
        with torch.no_grad():
            torch.testing.assert_close(torch.jit.load(file)(images), expected, atol=1e-4, rtol=1e-4)


def images_and_logits(bundle, batch=3):
    options = {"bundle_dir": bundle.parent, "device": "cpu", "workflow_type": "inference"}
    network = monai.bundle.load(bundle.name, **options).eval()
    metadata = json.loads((bundle / "configs/metadata.json").read_text())
    image = metadata["network_data_format"]["inputs"]["image"]
    images = torch.rand(batch, image["num_channels"], *image["spatial_shape"])
    with torch.no_grad():
        return images, network(images)


def test_evaluation_from_the_bundle_gives_the_numbers_of_the_run(exported, elsewhere):
    """Evaluation from the bundle gives the numbers of the evaluation that the run had."""
    dataset_dir, run, bundle = exported
    args = ["--dataset_dir", dataset_dir, "--cache_dir", run.parent / "cache"]

    output = elsewhere(bundle, "evaluating", "evaluate", *args)

    tables = [pd.read_csv(folder / "evaluation/cases.csv") for folder in (run, output)]
    pd.testing.assert_frame_equal(*tables)


@pytest.mark.slow
def test_training_from_the_bundle_leaves_its_model_as_it_is(exported, elsewhere):
    """A training starts from the bundle, and leaves the bundle's own model as it is."""
    dataset_dir, run, bundle = exported
    before = (bundle / "models/model.pt").read_bytes()
    args = ["--dataset_dir", dataset_dir, "--cache_dir", run.parent / "cache", "--max_epochs", 1]

    output = elsewhere(bundle, "training", "train", *args)

    assert (output / "model.pt").is_file()
    assert (bundle / "models/model.pt").read_bytes() == before


def phantom_image(bundle, dataset_dir):
    """An image of a dataset: the file, or the folder with a file per modality."""
    config = json.loads((bundle / "configs/train.json").read_text())
    case = ConfigParser({**config, "dataset_dir": str(dataset_dir)}).get_parsed_content("cases")[0]
    image = case["image"]
    return Path(image) if isinstance(image, str) else Path(image[0])


def test_inference_needs_no_package(exported, elsewhere, monkeypatch):
    """It needs none of this package but its own copy, and writes four maps on the image's grid."""
    dataset_dir, _, bundle = exported
    file = phantom_image(bundle, dataset_dir)
    block_package(monkeypatch)

    output = elsewhere(bundle, "inference", "inference", "--images", file)

    image = nibabel.load(file)
    module = sys.modules["scripts.inference"]
    assert Path(module.__file__) == bundle / "scripts/inference/__init__.py"
    maps = [nibabel.load(path) for path in output.glob("*.nii.gz")]
    assert len(maps) == 4
    for written in maps:
        assert written.shape[:3] == image.shape[:3]
        np.testing.assert_allclose(written.affine, image.affine, atol=1e-4)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["STRAY"], "STRAY: is not an option"),
        (["--imagez", "x"], "--imagez: there is no such key in the configuration; did you mean"),
        (["--device", "cuda:99"], "--device cuda:99: is not there; choose from: cpu"),
        (["--inferer::overlap", "2"], "--inferer::overlap 2: is not a number"),
        (["--output_dir", "2024"], "--output_dir 2024: is not text"),
    ],
)
def test_inference_is_as_strict_without_this_package(
    export_of, bundle, monkeypatch, tmp_path, args, message
):
    """The scripts of the bundle refuse what the package refuses, in the same words."""
    command = export_arguments(export_of("hippocampus")[2], "inference", *args)
    block_package(monkeypatch)

    assert f"error: {message}" in bundle.refused(*command, code=2, cwd=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="session")
def untrained(tmp_path_factory):
    """For a network of the menu: a bundle of hippocampus with its random weights."""

    @cache
    def export(name):
        folder = tmp_path_factory.mktemp("networks")
        torch.manual_seed(0)
        network = parser_of("hippocampus").get_parsed_content(f"networks::{name}")
        torch.save(network.state_dict(), folder / "model.pt")
        (folder / "split.json").write_text('{"train": [], "val": [], "test": []}')
        overrides = {"network_def": f"@networks::{name}", "spatial_size": [64, 64]}
        output = folder / f"hippocampus_{name}"
        return export_bundle(folder, output, "hippocampus", overrides, ROOT / "bundles")[0]

    return export


@pytest.mark.nightly
@pytest.mark.parametrize("name", NETWORKS)
def test_torchscript_of_every_network_computes_the_same(untrained, name):
    """TorchScript of every network computes what the network computes."""
    bundle = untrained(name)
    images, expected = images_and_logits(bundle)

    with torch.no_grad():
        found = torch.jit.load(bundle / "models/model.ts")(images)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.nightly
@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_of_every_network_computes_the_same(untrained, name, tmp_path):
    """MONAI's `onnx_export` of every network computes, under onnxruntime, what the network computes."""
    bundle = untrained(name)
    images, expected = images_and_logits(bundle, batch=1)

    weights = str(bundle / "models/model.pt")
    to = {"net_id": "network_def", "filepath": f"{tmp_path}/model.onnx", "ckpt_file": weights}
    monai.bundle.onnx_export(**to, **configs(bundle))

    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (found,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4, rtol=1e-4)


@pytest.mark.nightly
def test_export_runs_where_there_is_nothing_but_the_packages_that_it_names(export_of, tmp_path):
    """The command that its README shows installs all that inference needs, and not this package."""
    dataset_dir, _, bundle = export_of("hippocampus")
    venv.create(tmp_path / "venv", symlinks=True, with_pip=True)
    python = tmp_path / "venv/bin/python"

    def run(*args):
        return subprocess.run(
            [python, *map(str, args)], cwd=tmp_path, capture_output=True, text=True, check=False
        )

    (line,) = re.findall("^pip install (.*==.*)$", (bundle / "docs/README.md").read_text(), re.M)
    installed = run("-m", "pip", "install", "--quiet", *shlex.split(line))
    assert installed.returncode == 0, installed.stderr
    assert "No module named 'nacl_monai'" in run("-c", "import nacl_monai").stderr

    args = ["--images", phantom_image(bundle, dataset_dir), "--output_dir", tmp_path / "out"]
    result = run("-m", "monai.bundle", *export_arguments(bundle, "inference", *args))

    assert result.returncode == 0, result.stderr
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 4
