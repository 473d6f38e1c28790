"""What the configuration alone can do with networks: train, evaluate and apply each of the menu."""

import json

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nacl_monai.bundles.self_contained import run_configs
from nacl_monai.data import hippocampus_patient
from nacl_monai.networks import TransUNet
from tests.configurations.conftest import arguments
from tests.networks.conftest import NETWORKS, SMALL, small_overrides

pytestmark = pytest.mark.slow


@pytest.fixture
def shared(datasets, tmp_path):
    """The words that every run of these tests has, on the hippocampus' phantom."""
    words = ["--dataset_dir", datasets["hippocampus"], "--output_dir", tmp_path / "run"]
    return [*words, "--cache_dir", datasets["hippocampus"].parent / "cache"]


def choose(network):
    return ["--network_def", f"@networks::{network}", *small_overrides(network)]


@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_trains_is_evaluated_and_segments(
    bundle, datasets, shared, tmp_path, network
):
    """Every network of the menu trains, is evaluated, and segments an image in its own geometry."""
    run, chosen = tmp_path / "run", choose(network)
    size = ["--spatial_size", "[64, 64]"]  # which all take
    training = arguments("training", "hippocampus", *shared, "--max_epochs", 1, *chosen, *size)
    code, errors = bundle(*training)
    assert code == 0, errors
    code, errors = bundle(*arguments("evaluating", "hippocampus", *shared, *chosen))
    assert code == 0, errors
    image = sorted((datasets["hippocampus"] / "imagesTr").glob("h*.nii.gz"))[0]
    words = [
        "--images",
        image,
        "--checkpoint",
        run / "model.pt",
        "--output_dir",
        run / "predictions",
    ]
    code, errors = bundle(*arguments("inference", "hippocampus", *words, *chosen))
    assert code == 0, errors

    assert np.isfinite(pd.read_csv(run / "evaluation" / "cases.csv")["ece_foreground"]).all()
    curves = EventAccumulator(str(run / "tensorboard")).Reload()
    loss, *terms = (
        np.array([event.value for event in curves.Scalars(tag)])
        for tag in ("loss", "cross_entropy", "penalty")
    )
    np.testing.assert_allclose(loss, sum(terms), rtol=1e-5)
    # The histogram has only the final one of several outputs: each training voxel once.
    patients = json.loads((run / "split.json").read_text())["train"]
    depths = [
        nibabel.load(file).shape[2]
        for file in image.parent.glob("h*.nii.gz")
        if hippocampus_patient(file.name.removesuffix(".nii.gz")) in patients
    ]
    assert np.load(run / "logit_histogram.npz")["counts"].sum() == sum(depths) * 64 * 64
    (label,) = (run / "predictions").glob("*_label.nii.gz")
    assert nibabel.load(label).shape == nibabel.load(image).shape


def test_size_that_does_not_fit_is_refused(bundle, shared, tmp_path):
    """A size that the network cannot take is refused in one line before training starts."""
    overrides = [*shared, "--spatial_size", "[50, 64]"]
    code, errors = bundle(*arguments("training", "hippocampus", *overrides))

    assert code == 2
    assert errors.strip().splitlines()[-1] == (
        "error: spatial_size: is [50, 64], which the network cannot take; "
        "choose another, such as [64, 64]"
    )
    assert not (tmp_path / "run" / "model.pt").exists()


def test_missing_pretrained_weights_are_named(bundle, shared):
    """A missing file of pretrained weights is named in one line."""
    overrides = [*shared, *choose("transunet"), "--pretrained", "/nowhere.pth"]
    code, errors = bundle(*arguments("training", "hippocampus", *overrides))

    assert code == 1
    assert errors.strip().splitlines()[-1].startswith("error: /nowhere.pth: does not exist; ")


def test_weights_that_a_training_began_with_are_of_no_need_afterwards(
    bundle, shared, tmp_path, caplog
):
    """The run is evaluated and exported where their file is not."""
    caplog.set_level("INFO", "nacl_monai.networks.transunet")
    weights, words = tmp_path / "begin.pth", [*shared, *choose("transunet")]
    torch.save(TransUNet(1, 3, **SMALL["transunet"]).encoder.state_dict(), weights)
    training = [*words, "--pretrained", weights, "--max_epochs", 1]
    assert bundle(*arguments("training", "hippocampus", *training))[0] == 0
    assert f"tensors of the encoder come from {weights}" in caplog.text
    weights.unlink()

    code, errors = bundle(*arguments("evaluating", "hippocampus", *words))
    assert code == 0, errors
    configs = run_configs("hippocampus", {}, tmp_path / "run")
    begun = {kind: config["pretrained"] for kind, config in configs.items()}
    assert begun == {"train": str(weights), "evaluate": False, "inference": False}
