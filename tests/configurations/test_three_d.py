"""The same bundles on 3-D patches: trained, resumed, evaluated, calibrated, applied and exported."""

import json
import math
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from monai.utils import optional_import

from nacl_monai.bundles.export import export_bundle
from tests.configurations.conftest import (
    ROOT,
    arguments,
    assert_same_bits,
    block_package,
    curves,
    one_line,
    run_bundle,
    run_killed,
    run_module,
)
from tests.configurations.test_resume import AUGMENTATION
from tests.networks.conftest import small_overrides

pytestmark = pytest.mark.slow

PATCH = [32, 32, 32]  # smaller than most volumes, so that windows overlap
NETWORK = {
    "_target_": "UNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 3,
    "channels": [4, 8, 16],
    "strides": [2, 2],
    "dropout": 0.1,
}
EPOCHS = 2
STATES = ("model.pt", f"checkpoints/epoch_{EPOCHS:04d}.pt")


@pytest.fixture(scope="module")
def words_of(datasets, tmp_path_factory):
    """The words of a command for a run of that name; its epochs have seven iterations or more."""
    root = tmp_path_factory.mktemp("three_d")
    shared = ["--dataset_dir", datasets["hippocampus"], "--cache_dir", root / "cache"]
    patches = ["--dims", 3, "--patch", PATCH, "--networks::unet", NETWORK]
    patches += ["--max_epochs", EPOCHS, "--slice_transforms", AUGMENTATION]
    patches += ["--loss", "@losses::crac"]  # which learns from the volumes of the validation
    patches += ["--split_proportions", {"train": 4, "val": 4, "test": 2}]

    def words(run_id, name, *more):
        more = [*patches, *more] if run_id == "training" else more
        return arguments(run_id, "hippocampus", *shared, *more, "--output_dir", root / name)

    return words


@pytest.fixture(scope="module")
def runs(words_of):
    """The folder of a training, evaluated."""
    plain = words_of("training", "plain")
    with pytest.MonkeyPatch.context() as monkeypatch:
        for words in (plain, words_of("evaluating", "plain")):
            run_module(monkeypatch, words)
    return Path(plain[-1]).parent


@pytest.mark.nightly
def test_killed_training_ends_with_the_same_bits(runs, words_of):
    """Patches and their augmentation are those of seed, epoch and index, in any number of workers."""
    killed = [*words_of("training", "killed"), "--num_workers", "2"]
    run_killed([("in_epoch:10", killed), ("never", killed)])

    assert_same_bits(runs / "plain", runs / "killed", *STATES)
    assert curves(runs / "plain") == curves(runs / "killed")


def test_epoch_sees_as_many_voxels_as_there_are(runs, datasets):
    """Patches cover every training volume once, and are drawn two at a time."""
    names = json.loads((runs / "plain/data.json").read_text())["train"]
    shapes = [nibabel.load(datasets["hippocampus"] / f"imagesTr/{n}.nii.gz").shape for n in names]
    patches = sum(math.ceil(math.prod(shape) / math.prod(PATCH)) for shape in shapes)

    counts = np.load(runs / "plain/logit_histogram.npz")["counts"]

    assert counts.sum(axis=1).tolist() == [patches * math.prod(PATCH)] * EPOCHS
    assert len(curves(runs / "plain")["loss"]) == EPOCHS * math.ceil(patches / 2)


@pytest.mark.usefixtures("runs")
def test_what_follows_a_run_knows_its_dimensions_from_the_run(bundle, words_of):
    """No word of the command says them; one that contradicts is refused."""
    code, errors = bundle(*words_of("evaluating", "plain", "--dims", 2))

    assert code == 1
    assert "was trained with another dims (3, now 2)" in one_line(errors)


def test_mean_of_logits_gives_other_numbers(bundle, runs, words_of, tmp_path):
    """Not very different ones; the evaluation's record says which they are."""
    words = words_of(
        "evaluating", "plain", "--evaluation_dir", tmp_path / "e", "--average", "logits"
    )
    bundle.done(*words)

    record = json.loads((tmp_path / "e/evaluation.json").read_text())
    probabilities, logits = (
        pd.read_csv(folder / "cases.csv")["ece_all"]
        for folder in (runs / "plain/evaluation", tmp_path / "e")
    )
    assert record["settings"]["average"] == "logits"
    assert not np.allclose(probabilities, logits, rtol=1e-6)
    assert np.allclose(probabilities, logits, atol=0.1)


@pytest.fixture(scope="module")
def exported(runs, words_of):
    """The run as a bundle, with a temperature that was fitted to it and evaluated."""
    name = "temperature_all"
    with pytest.MonkeyPatch.context() as monkeypatch:
        for run_id in ("calibrating", "evaluating"):
            words = words_of(run_id, "plain")
            run_module(monkeypatch, [*words, "--calibrator", name])
    output = runs / "dist" / "hippocampus_unet3d"
    options = {"bundles": ROOT / "bundles", "calibrator": name, "trust": True}
    export_bundle(runs / "plain", output, "hippocampus", **options)
    return output


def inference_of(image, checkpoint, output):
    words = ["--images", image, "--checkpoint", checkpoint, "--output_dir", output]
    return arguments("inference", "hippocampus", *words)


def export_of(folder, image, output, *words):
    command = ["run", "inference", "--config_file", folder / "configs/inference.json"]
    command += ["--bundle_root", folder, "--images", image, "--output_dir", output, *words]
    return [str(word) for word in command]


def probabilities_in(folder):
    (file,) = folder.glob("*_probabilities.nii.gz")
    return np.asarray(nibabel.load(file).dataobj)


def an_image(datasets):
    return sorted((datasets["hippocampus"] / "imagesTr").glob("h*.nii.gz"))[0]


@pytest.mark.parametrize("calibrated", [True, False])
def test_export_with_monai_alone_gives_what_the_run_gives(
    exported, runs, datasets, bundle, monkeypatch, capfd, tmp_path, calibrated
):
    """The same maps to the bit without the calibrator; with it, others."""
    image = an_image(datasets)
    bundle.done(*inference_of(image, runs / "plain/model.pt", tmp_path / "run"))
    block_package(monkeypatch)
    command = export_of(exported, image, tmp_path / "export", "--calibrated", calibrated)

    code, errors = run_bundle(monkeypatch, capfd, command, cwd=tmp_path)

    assert code == 0, errors
    expected, found = (probabilities_in(tmp_path / folder) for folder in ("run", "export"))
    assert found.shape[:3] == nibabel.load(image).shape
    assert np.array_equal(expected, found) != calibrated


def test_network_without_its_package_is_one_line(bundle, datasets, tmp_path, monkeypatch):
    """With the package to install."""
    lacking, _ = optional_import("no_einops", name="rearrange")
    monkeypatch.setattr("monai.networks.nets.swin_unetr.rearrange", lacking)
    words = ["--dataset_dir", datasets["hippocampus"], "--output_dir", tmp_path / "run"]
    words += ["--dims", 3, "--network_def", "@networks::swin_unetr", "--patch", [64, 64, 64]]
    words += small_overrides("swin_unetr")

    code, errors = bundle(*arguments("training", "hippocampus", *words))

    assert code == 2
    assert "pip install no_einops" in one_line(errors)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--patch", [32, 32, 32]], 2, "--patch: is of patches; add --dims 3, or leave it out"),
        (
            ["--dims", 3, "--patch", [50, 64, 48]],
            2,
            "patch: is [50, 64, 48], which the network cannot take; choose another, such as [64, 64, "
            "48]",
        ),
        (
            ["--dims", 3, "--patch", [96, 64, 48]],
            1,
            "voxels, and a patch 96; choose a smaller one: --patch [64,64,48]",
        ),
        (
            ["--dims", 3, "--network_def", "@networks::transunet"],
            2,
            "network_def: TransUNet is a network of slices, and takes no patches; choose another, or "
            "--dims 2",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(bundle, datasets, tmp_path, words, code, message):
    """Before the first epoch."""
    words = [*words, "--dataset_dir", datasets["hippocampus"], "--cache_dir", tmp_path / "cache"]
    words += [*small_overrides("transunet"), "--networks::unet::channels", [4, 4, 8, 8, 8]]

    found, errors = bundle(
        *arguments("training", "hippocampus", *words, "--output_dir", tmp_path / "run")
    )

    assert found == code, errors
    assert message in one_line(errors)
    assert not (tmp_path / "run/model.pt").exists()
