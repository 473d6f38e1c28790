"""Networks, losses and structures are chosen in the configuration alone; axes decide nothing."""

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SimpleInferer

from nacl_monai.data.cases import image_files
from tests.configurations.conftest import FAST, arguments, curves, parser_of
from tests.conftest import nightly_but
from tests.networks.conftest import FEW, NETWORKS, small_overrides
from tests.same import same_bits

pytestmark = pytest.mark.slow


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
    args = ["--images", image, "--checkpoint", run / "model.pt"]
    args += ["--output_dir", run / "predictions"]
    bundle.done(*arguments("inference", "hippocampus", *args, *chosen))

    assert np.isfinite(pd.read_csv(run / "evaluation" / "cases.csv")["ece_foreground"]).all()
    check_terms(run, ["cross_entropy", "penalty"])
    (label,) = (run / "predictions").glob("*_label.nii.gz")
    assert nibabel.load(label).shape == nibabel.load(image).shape


def check_terms(run, terms):
    """Each term of the loss is a curve, and the curves sum to the loss."""
    values = {tag: np.array([value for _, value in points]) for tag, points in curves(run).items()}
    assert all((values[term] != 0).all() for term in terms)
    np.testing.assert_allclose(values["loss"], sum(values[term] for term in terms), rtol=1e-5)


DICE_WITH_PENALTY = {
    "_target_": "nacl_monai.losses.ComposedLoss",
    "base": "@losses::dice_ce",
    "penalties": [{"_target_": "nacl_monai.losses.NeighborhoodPenalty", "weight": 0.1}],
}


DYNUNET = choose("dynunet")


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
def test_composed_loss_trains_and_shows_its_terms(bundle, shared, tmp_path, overrides, terms):
    """The loss trains, and each of its terms is a curve; the curves sum to the loss."""
    bundle.done(*arguments("training", "hippocampus", *shared, "--max_epochs", 1, *overrides))

    check_terms(tmp_path / "run", terms)


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
DATASETS = nightly_but(("acdc", "flare"), FAST)


@pytest.mark.parametrize("dataset", DATASETS)
def test_same_image_in_other_axes_has_the_same_predictions(bundle, datasets, tmp_path, dataset):
    """Five reorientations; the network is a convolution that knows its left from its right."""
    parser = parser_of(dataset, dataset_dir=datasets[dataset])
    files = image_files(parser.get_parsed_content("cases")[0])
    for name, turn in {"own": OWN, **TURNS}.items():
        (tmp_path / "images" / name).mkdir(parents=True)
        for file in files:
            turned = nibabel.load(file).as_reoriented(np.array(turn))
            nibabel.save(turned, tmp_path / "images" / name / file.rpartition("/")[2])
    torch.manual_seed(0)
    sizes = {"in_channels": parser["in_channels"], "out_channels": len(parser["classes"])}
    torch.save(torch.nn.Conv2d(**sizes, kernel_size=3).state_dict(), tmp_path / "model.pt")
    network = {"_target_": "torch.nn.Conv2d", **sizes, "kernel_size": 3, "padding": 1}
    args = ["--images", tmp_path / "images/*", "--checkpoint", tmp_path / "model.pt"]
    args += ["--output_dir", tmp_path / "out", "--network_def", network]

    bundle.done(*arguments("inference", dataset, *args))
    check_same_maps(tmp_path / "out")


def check_same_maps(folder):
    """The maps of each turned image are those of its own, turned alike, to the bit."""
    for ending in ENDINGS:
        (own,) = (folder / "own").glob(f"*_{ending}.nii.gz")
        voxels = np.asarray(nibabel.load(own).dataobj)
        for name, turn in TURNS.items():
            other = np.asarray(nibabel.load(folder / name / own.name).dataobj)
            expected = nibabel.orientations.apply_orientation(voxels, np.array(turn))
            same_bits(other, expected, "the network saw the same voxels")


#: Labels along the first axis, the same everywhere else; values are those of BraTS, 4 called 3.
TRUTH = [0, 1, 1, 2, 2, 0, 0, 0]


FOUND = [0, 1, 2, 2, 2, 2, 0, 0]


MISSED = [0, 0, 0, 2, 2, 0, 0, 0]


AFFINE = torch.diag(torch.tensor([2.0, 1.0, 1.0, 1.0]))  # mm


def volume(name, prediction):
    """A volume of 8 × 8 × 3 whose image is what the network below is to answer."""
    lines = (torch.tensor(values)[None, :, None, None] for values in (prediction, TRUTH))
    image, label = (line.expand(1, 8, 8, 3) for line in lines)
    label = MetaTensor(label.byte(), affine=AFFINE)
    return {"case": name, "patient": name, "image": image.float(), "label": label}


def as_logits(image):
    return 9.0 * torch.nn.functional.one_hot(image[:, 0].long(), 4).movedim(-1, 1)


@pytest.fixture
def evaluate(tmp_path):
    """Runs the bundles' evaluation on the two volumes; returns cases.csv."""

    def run(**overrides):
        parser = parser_of("acdc", "evaluate", output_dir=tmp_path, **overrides)
        parser.update({"network": torch.nn.Identity(), "inferer": SimpleInferer()})
        parser["device"] = torch.device("cpu")
        parser["network"].forward = as_logits
        parser["calibrated_network"] = parser["network"]
        parser["volumes"] = [volume("found", FOUND), volume("missed", MISSED)]
        parser.get_parsed_content("evaluator").run()
        return pd.read_csv(tmp_path / "evaluation/cases.csv").set_index("case")

    return run


def check_scores(table, **expected):
    """Those of both volumes."""
    for name, values in expected.items():
        np.testing.assert_allclose(table.loc[["found", "missed"], name], values, atol=1e-6)


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
    nowhere = [np.nan, np.nan]
    check_scores(table, dice_TC=[2 / 3, 0], dice_ET=nowhere, dice_WT=[8 / 9, 4 / 6])
    check_scores(table, dice=[(2 / 3 + 8 / 9) / 2, (0 + 4 / 6) / 2])
    check_scores(table, hd95_TC=[1, diagonal], hd95_ET=nowhere, hd95_WT=[1, 2])
    check_scores(table, hd95=[1, (diagonal + 2) / 2])


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

    check_scores(table, dice_RV=[2 / 3, 0], dice_MYO=[4 / 6, 1], dice_LV=[np.nan, np.nan])
