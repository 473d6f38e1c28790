"""The same bundles on 3-D patches: trained, resumed, evaluated, calibrated, applied and exported."""

import json
import math
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from monai.utils import optional_import

from nacl_monai.bundles.export import export_bundle
from tests.configurations.conftest import ROOT, arguments, block_package, run_bundle, run_module
from tests.configurations.test_errors import one_line
from tests.configurations.test_orientation import OWN, TURNS, check_same_maps
from tests.configurations.test_resume import AUGMENTATION, curves, tensors
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


def run_killed(jobs):
    result = subprocess.run(
        [sys.executable, "-m", "tests.configurations.killed_training", json.dumps(jobs)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


@pytest.fixture(scope="module")
def runs(words_of):
    """Folders of a training, and of one that was killed and whose items are made by workers.

    The first is evaluated by one process, and by two.
    """
    plain, killed = words_of("training", "plain"), words_of("training", "killed")
    killed += ["--num_workers", "2"]
    root = Path(plain[-1]).parent
    one = words_of("evaluating", "plain")
    two = words_of("evaluating", "plain", "--evaluation_dir", root / "two")
    trainings = [("never", plain), ("in_epoch:10", killed), ("never", killed)]
    run_killed([*trainings, ("never", one), ("never", two, 2)])
    return root


def assert_same_bits(first, second):
    for name in ("model.pt", f"checkpoints/epoch_{EPOCHS:04d}.pt"):
        one, other = (tensors(torch.load(run / name, weights_only=True)) for run in (first, second))
        assert one.keys() == other.keys()
        for key, value in one.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(other[key])), key
    assert curves(first) == curves(second)


def test_killed_training_ends_with_the_same_bits(runs):
    """Patches and their augmentation are those of seed, epoch and index, in any number of workers."""
    assert_same_bits(runs / "plain", runs / "killed")


def test_epoch_sees_as_many_voxels_as_there_are(runs, datasets):
    """Patches cover every training volume once, and are drawn two at a time."""
    names = json.loads((runs / "plain/data.json").read_text())["train"]
    shapes = [nibabel.load(datasets["hippocampus"] / f"imagesTr/{n}.nii.gz").shape for n in names]
    patches = sum(math.ceil(math.prod(shape) / math.prod(PATCH)) for shape in shapes)

    counts = np.load(runs / "plain/logit_histogram.npz")["counts"]

    assert counts.sum(axis=1).tolist() == [patches * math.prod(PATCH)] * EPOCHS
    assert len(curves(runs / "plain")["loss"]) == EPOCHS * math.ceil(patches / 2)


def test_two_processes_give_the_numbers_of_one(runs):
    """Every number of every case, and the sums of logits."""
    one, two = (
        pd.read_csv(folder / "cases.csv", index_col="case")
        for folder in (runs / "plain/evaluation", runs / "two")
    )
    pd.testing.assert_frame_equal(one, two)
    first, second = (
        np.load(folder / "logits.npz") for folder in (runs / "plain/evaluation", runs / "two")
    )
    np.testing.assert_allclose(first["sums"], second["sums"], rtol=1e-12)


@pytest.mark.nightly
def test_real_hippocampi_train_on_patches_as_the_phantom_does(tmp_path, bundle, monkeypatch, capfd):
    """The MRI of the demo, in the dataset's own patches: resume, two processes, and the export."""
    shared = ["--dataset_dir", ROOT / "demo/Task04_Hippocampus", "--cache_dir", tmp_path / "cache"]
    patches = ["--dims", 3, "--networks::unet", NETWORK, "--max_epochs", EPOCHS]
    patches += ["--split_proportions", {"train": 22, "val": 4, "test": 10}]

    def words(run_id, name, *more):
        more = [*patches, *more] if run_id == "training" else more
        return arguments(run_id, "hippocampus", *shared, *more, "--output_dir", tmp_path / name)

    killed = words("training", "killed")
    jobs = [("never", words("training", "plain")), ("in_epoch:30", killed), ("never", killed)]
    two = words("evaluating", "plain", "--evaluation_dir", tmp_path / "two")
    run_killed([*jobs, ("never", words("evaluating", "plain")), ("never", two, 2)])
    assert_same_bits(tmp_path / "plain", tmp_path / "killed")
    one, two = (
        pd.read_csv(folder / "cases.csv", index_col="case")
        for folder in (tmp_path / "plain/evaluation", tmp_path / "two")
    )
    pd.testing.assert_frame_equal(one, two)
    assert one["ece_foreground"].notna().all()

    export_bundle(tmp_path / "plain", tmp_path / "export", "hippocampus", bundles=ROOT / "bundles")
    image = sorted((ROOT / "demo/Task04_Hippocampus/imagesTr").glob("h*.nii.gz"))[0]
    checkpoint = tmp_path / "plain/model.pt"
    code, errors = bundle(*inference_of(image, checkpoint, tmp_path / "run"))
    assert code == 0, errors
    block_package(monkeypatch)
    command = export_of(tmp_path / "export", image, tmp_path / "alone")
    code, errors = run_bundle(monkeypatch, capfd, command, cwd=tmp_path)
    assert code == 0, errors
    expected, found = (probabilities_in(tmp_path / folder) for folder in ("run", "alone"))
    np.testing.assert_array_equal(expected, found)


@pytest.mark.nightly
def test_killed_training_of_two_processes_ends_with_the_same_bits(runs, words_of):
    """Each draws patches of its own."""
    pair, killed = (words_of("training", name) for name in ("pair", "pair_killed"))
    run_killed([("never", pair, 2), ("in_epoch:6", killed, 2), ("never", killed, 2)])

    assert_same_bits(runs / "pair", runs / "pair_killed")


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
    code, errors = bundle(*words)
    assert code == 0, errors

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
    """The run as a bundle, with a vector scaling that was fitted to it and evaluated."""
    name = "vector_union"
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


def test_metadata_say_patches(exported):
    """MONAI's checks make such an image."""
    metadata = json.loads((exported / "configs/metadata.json").read_text())

    for part in ("inputs", "outputs"):
        (tensor,) = metadata["network_data_format"][part].values()
        assert tensor["spatial_shape"] == PATCH
    assert "trained on 3-D patches" in metadata["description"]


@pytest.mark.parametrize("calibrated", [True, False])
def test_export_with_monai_alone_gives_what_the_run_gives(
    exported, runs, datasets, bundle, monkeypatch, capfd, tmp_path, calibrated
):
    """The same maps to the bit without the calibrator; with it, others."""
    image = an_image(datasets)
    code, errors = bundle(*inference_of(image, runs / "plain/model.pt", tmp_path / "run"))
    assert code == 0, errors
    block_package(monkeypatch)
    command = export_of(exported, image, tmp_path / "export", "--calibrated", calibrated)

    code, errors = run_bundle(monkeypatch, capfd, command, cwd=tmp_path)

    assert code == 0, errors
    expected, found = (probabilities_in(tmp_path / folder) for folder in ("run", "export"))
    assert found.shape[:3] == nibabel.load(image).shape
    assert np.array_equal(expected, found) != calibrated


@pytest.mark.parametrize("file", ["model.ts", "plain.ts"])
def test_torchscript_takes_patches(exported, file):
    """With the calibrator behind the network, and without."""
    logits = torch.jit.load(exported / "models" / file)(torch.rand(2, 1, *PATCH))

    assert logits.shape == (2, 3, *PATCH)


def test_axes_in_which_an_image_is_stored_decide_nothing(bundle, datasets, tmp_path):
    """Five reorientations of an image that several windows cover, and the same maps to the bit."""
    file = an_image(datasets)
    for name, turn in {"own": OWN, **TURNS}.items():
        (tmp_path / "images" / name).mkdir(parents=True)
        turned = nibabel.load(file).as_reoriented(np.array(turn))
        nibabel.save(turned, tmp_path / "images" / name / file.name)
    sizes = {"in_channels": 1, "out_channels": 3, "kernel_size": 3}
    torch.manual_seed(0)
    torch.save(torch.nn.Conv3d(**sizes).state_dict(), tmp_path / "model.pt")
    network = {"_target_": "torch.nn.Conv3d", **sizes, "padding": 1}
    words = ["--images", tmp_path / "images/*", "--checkpoint", tmp_path / "model.pt", "--dims", 3]
    words += ["--output_dir", tmp_path / "out", "--network_def", network, "--patch", PATCH]

    code, errors = bundle(*arguments("inference", "hippocampus", *words))

    assert code == 0, errors
    check_same_maps(tmp_path / "out")


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
        (["--dims", 4], 2, "--dims 4: is not a whole number from 2 to 3"),
        (["--dims", "3d"], 2, "--dims 3d: is not a whole number; write one, as in --dims 2"),
        (["--patch", [32, 32, 32]], 2, "--patch: is of patches; add --dims 3, or leave it out"),
        (
            ["--dims", 3, "--patch", [32, 32]],
            2,
            "--patch [32, 32]: is not a list of 3 whole numbers from 1 to 4096",
        ),
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
        (["--dims", 3, "--spatial_size", [64, 64]], 2, "--spatial_size: is of slices"),
        (
            ["--dims", 3, "--class_centered", 1.5],
            2,
            "--class_centered 1.5: is not a number from 0 to 1",
        ),
        (["--average", "max"], 2, "--average max: is not one of probabilities, logits"),
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
