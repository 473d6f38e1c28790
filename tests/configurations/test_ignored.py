"""Voxels that nobody labeled count nowhere: what they are changes no number and no weight."""

import json

import nibabel
import numpy as np
import pandas as pd
import pytest
from monai.bundle import ConfigParser

from nacl_monai.cli import main
from nacl_monai.menus import fragments
from nacl_monai.training.definitions import IGNORE_INDEX, ignoring
from tests.configurations.conftest import (
    assert_same_training,
    block_package,
    export_arguments,
    run_module,
)
from tests.own_data import IGNORED, NAMES, ignore_some, nnunet
from tests.training.conftest import expected_calibration_error

pytestmark = pytest.mark.slow

TESTED = NAMES[4:]
TOLD = {
    "train": {
        *("load_case", "train::dataset", "train::logit_histogram"),
        "validate::additional_metrics::calibration",
        "validate::additional_metrics::paper",
        "validate::key_metric::val_dice::output_transform",
    },
    "evaluate": {
        *("load_case", "calibration"),
        *("metrics::dice::output_transform", "metrics::hd95::output_transform"),
    },
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A training of an epoch, evaluated, and the inference of the test images."""
    folder = tmp_path_factory.mktemp("ignored")
    data = ignore_some(nnunet(folder / "data", test=len(TESTED)))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["new", "mine", str(data)]) == 0
        assert main(["train", "mine", str(data), "--max_epochs", "1"]) == 0
        assert main(["evaluate", "mine", str(data), "--reliability_interval", "0"]) == 0
        assert main(["infer", "mine", str(data / "imagesTs")]) == 0
    return folder


def volumes(folder):
    """The label and the probabilities of each test case, as the files have them."""
    maps = folder / "runs/mine/unet_nacl_seed0/predictions"
    for name in TESTED:
        label = nibabel.load(folder / f"data/labelsTs/{name}.nii.gz").get_fdata()
        yield label, nibabel.load(next(maps.glob(f"{name}*_probabilities.nii.gz"))).get_fdata()


def test_evaluation_is_that_of_the_labeled_voxels_alone(trained):
    """As if the others were cut away: calibration errors, Dice, and the numbers of voxels."""
    run = trained / "runs/mine/unet_nacl_seed0/evaluation"
    table = pd.read_csv(run / "cases.csv")
    with np.load(run / "bins.npz") as bins:
        voxels = dict(zip(bins["regions"], bins["counts"][:, :, 0].sum(-1).T, strict=True))
    for row, (label, probs) in enumerate(volumes(trained)):
        prediction, labeled = probs.argmax(-1), label != IGNORED
        assert (~labeled).sum() > 300
        for region, counted in (("all", labeled), ("foreground", labeled & (label != 0))):
            pairs = probs.max(-1)[counted], (prediction == label)[counted]
            error = expected_calibration_error(*pairs)
            # Float32 against float64.
            assert table[f"ece_{region}"][row] == pytest.approx(error, abs=2e-5)
            assert voxels[region][row] == counted.sum()
        for value, name in enumerate(["tumor", "edema"], start=1):
            ours, true = (prediction == value)[labeled], (label == value)[labeled]
            dice = 2 * (ours & true).sum() / (ours.sum() + true.sum())
            assert table[f"dice_{name}"][row] == pytest.approx(dice, abs=1e-6)


def test_logits_and_slices_are_of_the_labeled_voxels(trained):
    """The profile and the histogram count no other, and a slice shows no class that there is not."""
    run = trained / "runs/mine/unet_nacl_seed0/evaluation"
    labeled = 0
    for name in json.loads((run.parent / "split.json").read_text())["train"]:
        label = nibabel.load(trained / f"data/labelsTr/{name}.nii.gz").get_fdata()
        size = np.array(json.loads((run.parent / "config.json").read_text())["spatial_size"])
        padding = (size.prod() - label[..., 0].size) * label.shape[-1]  # is background
        labeled += (label != IGNORED).sum() + padding
    with np.load(run.parent / "logit_histogram.npz") as histogram:
        assert histogram["counts"].sum() == labeled
    labels = [label for label, _ in volumes(trained)]
    with np.load(run / "logits.npz") as profile:
        expected = [sum((label == k).sum() for label in labels) for k in range(3)]
        assert profile["counts"].tolist() == expected
    for name in TESTED:
        with np.load(run / f"maps/{name}.npz") as maps:
            assert set(np.unique(maps["label"])) <= {0, 1, 2}


def test_value_of_such_voxels_changes_no_weight(trained, monkeypatch):
    """Neither in losses nor in the choice of the best model."""
    data = nnunet(trained / "other", test=len(TESTED))
    ignore_some(data, value=200)
    monkeypatch.chdir(trained)
    assert main(["new", "other", str(data)]) == 0
    assert main(["train", "other", str(data), "--max_epochs", "1"]) == 0
    runs = (trained / "runs" / name / "unet_nacl_seed0" for name in ("mine", "other"))

    assert_same_training(*runs, "model.pt")


def test_patches_are_trained_on_and_a_calibrator_is_fitted(trained, monkeypatch):
    """In three dimensions, and on validation cases, without a fault."""
    monkeypatch.chdir(trained)
    data = str(trained / "data")
    args = ["--dims", "3", "--patch", "[32, 32, 32]", "--max_epochs", "1"]
    args += ["--run", "runs/3d"]
    assert main(["train", "mine", data, *args]) == 0
    record = json.loads((trained / "runs/3d/config.json").read_text())
    assert record["train"]["dataset"][IGNORE_INDEX] == f"@{IGNORE_INDEX}"

    parts = [str(file) for file in fragments("mine", "evaluate")]
    run = "runs/mine/unet_nacl_seed0"
    args = ["--config_file", str(parts), "--dataset_dir", data, "--output_dir", run]
    assert main(["run", "calibrating", *args, "--calibrator", "temperature_all"]) == 0
    fit = json.loads((trained / run / "calibrated/temperature_all/calibrator.json").read_text())
    (name,) = fit["patients"]
    label = nibabel.load(trained / f"data/labelsTr/{name}.nii.gz").get_fdata()
    assert fit["voxels"] == (label != IGNORED).sum()


def test_run_is_exported_and_predicts_classes_alone(trained, monkeypatch, tmp_path):
    """Without trust, since the bundle's own words say what is executed; with MONAI alone."""
    monkeypatch.chdir(trained)
    assert main(["export", "mine", "--output", str(tmp_path / "mine")]) == 0
    block_package(monkeypatch)
    images = ["--images", trained / "data/imagesTs"]
    run_module(monkeypatch, export_arguments(tmp_path / "mine", "inference", *images), tmp_path)
    labels = list((tmp_path / "mine/predictions").glob("*_label.nii.gz"))
    values = [np.unique(nibabel.load(file).get_fdata()).tolist() for file in labels]
    assert len(values) == len(TESTED)
    assert all(set(of_case) <= {0, 1, 2} for of_case in values)


@pytest.mark.parametrize("kind", ["train", "evaluate"])
def test_all_that_counts_voxels_is_told(trained, kind, monkeypatch):
    """Every loss of the menu, every metric and handler, reading, patches, and the fit."""
    monkeypatch.chdir(trained)
    parser = ConfigParser()
    parser.read_config([str(file) for file in fragments("mine", kind)])
    ignoring_keys = {key.removesuffix(f"::{IGNORE_INDEX}") for key in ignoring(parser.get())}

    assert ignoring_keys >= TOLD[kind]
    assert kind == "evaluate" or ignoring_keys >= {f"losses::{name}" for name in parser["losses"]}
