"""What the configuration alone can do with networks and losses: train, evaluate, apply, compose."""

import json

import nibabel
import numpy as np
import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nacl_monai.data import hippocampus_patient
from tests.configurations.conftest import arguments
from tests.networks.conftest import NETWORKS, small_overrides

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
    bundle.done(*training)
    bundle.done(*arguments("evaluating", "hippocampus", *shared, *chosen))
    image = sorted((datasets["hippocampus"] / "imagesTr").glob("h*.nii.gz"))[0]
    words = ["--images", image, "--checkpoint", run / "model.pt"]
    words += ["--output_dir", run / "predictions"]
    bundle.done(*arguments("inference", "hippocampus", *words, *chosen))

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


DICE_WITH_PENALTY = {
    "_target_": "nacl_monai.losses.ComposedLoss",
    "base": "@losses::dice_ce",
    "penalties": [{"_target_": "nacl_monai.losses.NeighborhoodPenalty", "weight": 0.1}],
}
DYNUNET = ["--network_def", "@networks::dynunet", *small_overrides("dynunet")]
IMAGE_BESIDE_LABEL = [{"_target_": "ConcatItemsd", "keys": ["label", "image"], "name": "label"}]


@pytest.mark.parametrize(
    ("overrides", "terms"),
    [
        (["--loss", DICE_WITH_PENALTY], ["cross_entropy", "dice", "penalty"]),
        (["--losses::nacl::prior", "bilateral", "--slice_transforms", IMAGE_BESIDE_LABEL],
         ["cross_entropy", "penalty"]),
        ([*DYNUNET, "--loss_function::weights", [0.5, 0.25, 0.25]], ["cross_entropy", "penalty"]),
        (["--losses::nacl::penalty", "log_barrier", "--losses::nacl::space", "softmax"],
         ["cross_entropy", "penalty"]),
    ],
    ids=["composed", "bilateral", "deep supervision", "options"],
)  # fmt: skip
def test_composed_loss_trains_and_shows_its_terms(bundle, datasets, tmp_path, overrides, terms):
    """The loss trains, and each of its terms is a curve; the curves sum to the loss."""
    shared = ["--dataset_dir", datasets["hippocampus"], "--output_dir", tmp_path / "run"]
    shared += ["--cache_dir", datasets["hippocampus"].parent / "cache", "--max_epochs", 1]

    bundle.done(*arguments("training", "hippocampus", *shared, *overrides))
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    curves = {tag: [e.value for e in events.Scalars(tag)] for tag in ["loss", *terms]}
    assert all(np.all(np.array(curves[term]) != 0) for term in terms)
    np.testing.assert_allclose(
        curves["loss"], sum(np.array(curves[term]) for term in terms), rtol=1e-5
    )
