"""Networks, losses, structures, regions are chosen in the configuration alone; axes decide nothing."""

import json

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.inferers import SimpleInferer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nacl_monai.data import hippocampus_patient
from nacl_monai.data.cases import image_files
from tests.configurations.conftest import FAST, ROOT, arguments
from tests.conftest import nightly_but
from tests.networks.conftest import FEW, NETWORKS, small_overrides

pytestmark = pytest.mark.slow


@pytest.fixture
def shared(datasets, tmp_path):
    """The words that every run of these tests has, on the hippocampus' phantom."""
    words = ["--dataset_dir", datasets["hippocampus"], "--output_dir", tmp_path / "run"]
    return [*words, "--cache_dir", datasets["hippocampus"].parent / "cache"]


def choose(network):
    return ["--network_def", f"@networks::{network}", *small_overrides(network)]


@pytest.mark.parametrize("network", nightly_but(FEW, NETWORKS))
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


TURNS = {
    "flipped": [[0, -1], [1, -1], [2, 1]],
    "slices_first": [[2, -1], [1, 1], [0, 1]],
    "transposed": [[1, 1], [0, 1], [2, -1]],
    "rotated": [[1, 1], [2, -1], [0, -1]],
    "mirrored": [[0, -1], [2, 1], [1, 1]],
}


OWN = [[0, 1], [1, 1], [2, 1]]


ENDINGS = ("label", "probabilities", "confidence", "entropy")


# One that is resampled and one that is resized; the others in the complete suite.
DATASETS = [
    pytest.param(name, marks=() if name in ("acdc", "flare") else pytest.mark.nightly)
    for name in FAST
]


@pytest.mark.parametrize("dataset", DATASETS)
def test_same_image_in_other_axes_has_the_same_predictions(bundle, datasets, tmp_path, dataset):
    """Five reorientations; the network is a convolution that knows its left from its right."""
    config = ConfigParser.load_config_file(ROOT / f"bundles/{dataset}/configs/dataset.yaml")
    parser = ConfigParser({**config, "dataset_dir": str(datasets[dataset])})
    files = image_files(parser.get_parsed_content("cases")[0])
    for name, turn in {"own": OWN, **TURNS}.items():
        (tmp_path / "images" / name).mkdir(parents=True)
        for file in files:
            turned = nibabel.load(file).as_reoriented(np.array(turn))
            nibabel.save(turned, tmp_path / "images" / name / file.rpartition("/")[2])
    torch.manual_seed(0)
    sizes = {"in_channels": config["in_channels"], "out_channels": len(config["classes"])}
    torch.save(torch.nn.Conv2d(**sizes, kernel_size=3).state_dict(), tmp_path / "model.pt")
    network = {"_target_": "torch.nn.Conv2d", **sizes, "kernel_size": 3, "padding": 1}
    words = ["--images", tmp_path / "images/*", "--checkpoint", tmp_path / "model.pt"]
    words += ["--output_dir", tmp_path / "out", "--network_def", network]

    bundle.done(*arguments("inference", dataset, *words))
    check_same_maps(tmp_path / "out")


def check_same_maps(folder):
    """The maps of each turned image are those of its own, turned alike, to the bit."""
    for ending in ENDINGS:
        (own,) = (folder / "own").glob(f"*_{ending}.nii.gz")
        voxels = np.asarray(nibabel.load(own).dataobj)
        for name, turn in TURNS.items():
            other = np.asarray(nibabel.load(folder / name / own.name).dataobj)
            expected = nibabel.orientations.apply_orientation(voxels, np.array(turn))
            np.testing.assert_array_equal(other, expected)


#: Labels along the first axis, the same everywhere else; values are those of BraTS, 4 called 3.
TRUTH = [0, 1, 1, 2, 2, 0, 0, 0]


FOUND = [0, 1, 2, 2, 2, 2, 0, 0]


MISSED = [0, 0, 0, 2, 2, 0, 0, 0]


AFFINE = torch.diag(torch.tensor([2.0, 1.0, 1.0, 1.0]))  # mm


def volume(name, prediction):
    """A volume of 8 × 8 × 3 whose image is what the network below is to answer."""
    image, label = (
        torch.tensor(values)[None, :, None, None].expand(1, 8, 8, 3)
        for values in (prediction, TRUTH)
    )
    return {
        "case": name,
        "patient": name,
        "image": image.float(),
        "label": MetaTensor(label.byte(), affine=AFFINE),
    }


def as_logits(image):
    return 9.0 * torch.nn.functional.one_hot(image[:, 0].long(), 4).movedim(-1, 1)


@pytest.fixture
def evaluate(tmp_path):
    """Runs the bundles' evaluation on the two volumes; returns cases.csv."""

    def run(**overrides):
        parser = ConfigParser()
        files = ["acdc/configs/dataset.yaml", "common/model.yaml", "common/evaluate.yaml"]
        parser.read_config([ROOT / "bundles" / file for file in files])
        parser.update({"output_dir": str(tmp_path), "device": torch.device("cpu"), **overrides})
        parser.update({"network": torch.nn.Identity(), "inferer": SimpleInferer()})
        parser["network"].forward = as_logits
        parser["calibrated_network"] = parser["network"]
        parser["volumes"] = [volume("found", FOUND), volume("missed", MISSED)]
        parser.get_parsed_content("evaluator").run()
        return pd.read_csv(tmp_path / "evaluation/cases.csv").set_index("case")

    return run


def test_overlapping_structures_are_scored_by_hand(evaluate):
    """DSC and HD95 of the union of each structure's classes, by hand; the mean leaves NaN out.

    Found: TC {1, 2} as {1}, WT {1…4} as {1…5}. Missed: TC as nothing, WT as {3, 4}, whose surface is
    two voxels from that of the truth. ET is nowhere.
    """
    table = evaluate(structures={"TC": [1, 3], "ET": [3], "WT": [1, 2, 3]})
    diagonal = (8**2 + 8**2 + 3**2) ** 0.5

    assert [name for name in table if name.startswith(("dice", "hd95"))] == [
        *("dice_TC", "dice_ET", "dice_WT", "dice"),
        *("hd95_TC", "hd95_ET", "hd95_WT", "hd95"),
    ]
    for name, expected in {
        "dice_TC": [2 / 3, 0],
        "dice_ET": [np.nan, np.nan],
        "dice_WT": [8 / 9, 4 / 6],
        "dice": [(2 / 3 + 8 / 9) / 2, (0 + 4 / 6) / 2],
        "hd95_TC": [1, diagonal],
        "hd95_ET": [np.nan, np.nan],
        "hd95_WT": [1, 2],
        "hd95": [1, (diagonal + 2) / 2],
    }.items():
        np.testing.assert_allclose(table.loc[["found", "missed"], name], expected, atol=1e-6)


def test_expected_dice_is_of_the_structures(evaluate):
    """By hand, of softmax(9, 0, 0, 0): a predicted layer is TC with p, any other one with 2 q.

    Layers are 2 mm apart, so that within 3 mm of those predicted there is one more on each side.
    """
    table = evaluate(structures={"TC": [1, 3], "WT": [1, 2, 3]})
    p, q = (np.exp(logit) / (np.exp(9) + 3) for logit in (9, 0))

    for name, classes, layers in (("TC", 2, [1, 0]), ("WT", 3, [5, 2])):
        hit, missed = p + (classes - 1) * q, classes * q
        expected = [2 * n * hit / (n * hit + 2 * missed + n) if n else np.nan for n in layers]
        np.testing.assert_allclose(table[f"expected_dice_{name}"], expected, atol=1e-6)
    means = table[["expected_dice_TC", "expected_dice_WT"]].mean(axis=1)
    np.testing.assert_allclose(table["expected_dice"], means, atol=1e-6)


def test_each_class_is_a_structure_by_default(evaluate):
    """Without a choice every foreground class is a structure of its own."""
    table = evaluate()

    for name, expected in {
        "dice_RV": [2 / 3, 0],
        "dice_MYO": [4 / 6, 1],
        "dice_LV": [np.nan, np.nan],
    }.items():
        np.testing.assert_allclose(table.loc[["found", "missed"], name], expected, atol=1e-6)


@pytest.mark.parametrize(("spacing", "layers"), [(None, 8), ("pixdim", 7)])
def test_boundary_is_as_wide_as_configured(evaluate, tmp_path, spacing, layers):
    """The last layer is 2 voxels, 4 mm, from the last one at a boundary: in a band of 3 or not."""
    evaluate(**{"calibration::spacing": spacing})

    bins = np.load(tmp_path / "evaluation/bins.npz")
    band = bins["counts"][:, list(bins["regions"]).index("boundary"), 0]
    assert band.sum(axis=1).tolist() == [layers * 8 * 3] * 2


def test_region_of_your_own_is_a_function(evaluate, tmp_path):
    """A mapping of regions adds a function of the labels and the prediction, by name."""
    regions = {"foreground": None, "found_MYO": "$lambda labels, prediction: prediction == 2"}
    table = evaluate(**{"calibration::regions": regions})

    counts = np.load(tmp_path / "evaluation/bins.npz")["counts"]
    assert counts[:, 1, 0].sum(axis=1).tolist() == [4 * 8 * 3, 2 * 8 * 3]
    assert table.loc["found", "confidence_gap_found_MYO"] == pytest.approx(1 - 2 / 4, abs=1e-2)
