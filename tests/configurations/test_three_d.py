"""The same bundles on 3-D patches: trained, resumed, evaluated, calibrated, applied and exported."""

import json
import math
from pathlib import Path

import nibabel
import numpy as np
import pytest

from nacl_monai.bundles.export import export_bundle
from tests.configurations.conftest import (
    NETWORK,
    ROOT,
    arguments,
    assert_same_training,
    block_package,
    curves,
    export_arguments,
    run_killed,
    run_module,
)
from tests.configurations.test_resume import AUGMENTATION
from tests.networks.conftest import small_overrides

pytestmark = pytest.mark.slow

PATCH = [32, 32, 32]  # smaller than most volumes, so that windows overlap
EPOCHS = 2
STATES = ("model.pt", f"checkpoints/epoch_{EPOCHS:04d}.pt")


@pytest.fixture(scope="module")
def words_of(datasets, tmp_path_factory):
    """The words of a command for a run of that name; its epochs have seven iterations or more."""
    root = tmp_path_factory.mktemp("three_d")
    shared = ["--dataset_dir", datasets["hippocampus"], "--cache_dir", root / "cache"]
    network = {**NETWORK, "spatial_dims": 3}
    patches = ["--dims", 3, "--patch", PATCH, "--networks::unet", network]
    patches += ["--max_epochs", EPOCHS, "--slice_transforms", AUGMENTATION]
    patches += ["--loss", "@losses::crac"]  # which learns from the volumes of the validation
    patches += ["--split_proportions", {"train": 4, "val": 4, "test": 2}]

    def command(run_id, name, *more):
        more = [*patches, *more] if run_id == "training" else more
        return arguments(run_id, "hippocampus", *shared, *more, "--output_dir", root / name)

    return command


@pytest.fixture(scope="module")
def runs(words_of):
    """The folder of a training, evaluated."""
    plain = words_of("training", "plain")
    with pytest.MonkeyPatch.context() as monkeypatch:
        for command in (plain, words_of("evaluating", "plain")):
            run_module(monkeypatch, command)
    return Path(plain[-1]).parent


@pytest.mark.nightly
def test_killed_training_ends_with_the_same_bits(runs, words_of):
    """Patches and their augmentation are those of seed, epoch and index, in any number of workers."""
    killed = [*words_of("training", "killed"), "--num_workers", "2"]
    run_killed([("in_epoch:10", killed), ("never", killed)])

    assert_same_training(runs / "plain", runs / "killed", *STATES)
    assert curves(runs / "plain") == curves(runs / "killed")


def test_epoch_sees_as_many_voxels_as_there_are(runs, datasets):
    """Patches cover every training volume once, and are drawn two at a time."""
    names = json.loads((runs / "plain/data.json").read_text())["train"]
    shapes = [nibabel.load(datasets["hippocampus"] / f"imagesTr/{n}.nii.gz").shape for n in names]
    patches = sum(math.ceil(math.prod(shape) / math.prod(PATCH)) for shape in shapes)

    counts = np.load(runs / "plain/logit_histogram.npz")["counts"]

    assert counts.sum(axis=1).tolist() == [patches * math.prod(PATCH)] * EPOCHS
    assert len(curves(runs / "plain")["loss"]) == EPOCHS * math.ceil(patches / 2)


@pytest.fixture(scope="module")
def exported(runs, words_of):
    """The run as a bundle, with a temperature that was fitted to it and evaluated."""
    name = "temperature_all"
    with pytest.MonkeyPatch.context() as monkeypatch:
        for run_id in ("calibrating", "evaluating"):
            command = words_of(run_id, "plain")
            run_module(monkeypatch, [*command, "--calibrator", name])
    output = runs / "dist" / "hippocampus_unet3d"
    options = {"bundles": ROOT / "bundles", "calibrator": name, "trust": True}
    export_bundle(runs / "plain", output, "hippocampus", **options)
    return output


def probabilities_in(folder):
    (file,) = folder.glob("*_probabilities.nii.gz")
    return np.asarray(nibabel.load(file).dataobj)


@pytest.mark.parametrize("calibrated", [True, False])
def test_export_with_monai_alone_gives_what_the_run_gives(
    exported, runs, datasets, bundle, monkeypatch, tmp_path, calibrated
):
    """The same maps to the bit without the calibrator; with it, others."""
    image = sorted((datasets["hippocampus"] / "imagesTr").glob("h*.nii.gz"))[0]
    args = ["--images", image, "--output_dir", tmp_path / "run"]
    checkpoint = ["--checkpoint", runs / "plain/model.pt"]
    bundle.done(*arguments("inference", "hippocampus", *args, *checkpoint))
    block_package(monkeypatch)
    args = [*args[:-1], tmp_path / "export", "--calibrated", calibrated]

    bundle.done(*export_arguments(exported, "inference", *args), cwd=tmp_path)

    expected, found = (probabilities_in(tmp_path / folder) for folder in ("run", "export"))
    assert found.shape[:3] == nibabel.load(image).shape
    assert np.allclose(expected, found, atol=1e-5) != calibrated


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ["--patch", [50, 64, 48]],
            "is [50, 64, 48], which the network cannot take; choose another, such as [64, 64, 48]",
        ),
        (
            ["--network_def", "@networks::transunet"],
            "TransUNet is a network of slices, and takes no patches; choose another, or --dims 2",
        ),
    ],
)
def test_network_that_cannot_take_the_patch_is_one_line(bundle, shared, tmp_path, args, message):
    """Before a folder is made."""
    args = ["--dims", 3, *args, *small_overrides("unet"), *small_overrides("transunet")]

    assert message in bundle.refused(*arguments("training", "hippocampus", *shared, *args), code=2)
    assert not (tmp_path / "run").exists()
