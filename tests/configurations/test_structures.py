"""Targets and the width of the boundary, chosen in the configuration of an evaluation alone."""

import numpy as np
import pandas as pd
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.inferers import SimpleInferer

from tests.configurations.conftest import ROOT

pytestmark = pytest.mark.slow

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
    """By hand, of softmax(9, 0, 0, 0): a predicted layer is TC with p, any other one with 2 q."""
    table = evaluate(structures={"TC": [1, 3], "WT": [1, 2, 3]})
    p, q = (np.exp(logit) / (np.exp(9) + 3) for logit in (9, 0))

    for name, classes, layers in (("TC", 2, [1, 0]), ("WT", 3, [5, 2])):
        hit, missed = p + (classes - 1) * q, classes * q
        expected = [2 * n * hit / (n * hit + (8 - n) * missed + n) for n in layers]
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
