"""Metadata and card say what a run is and what its evaluation found, and no more."""

import hashlib
import json
import re
from importlib.metadata import version

import monai
import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

from nacl_monai import audit
from nacl_monai.bundles.card import (
    bundle_metadata,
    calibration_card,
    calibration_of,
    evaluation_of_run,
    write_card,
)
from nacl_monai.bundles.self_contained import run_configs, self_contained
from nacl_monai.errors import InputError
from nacl_monai.evaluations import Evaluated
from nacl_monai.evaluations.evaluation_files import EvaluationOf
from nacl_monai.menus import dataset_names
from nacl_monai.metrics.columns import METRICS
from nacl_monai.runs import RunFolder
from tests.bundles.conftest import BUNDLES
from tests.conftest import refused
from tests.evaluated_runs import write_run


def metadata_of(run, dataset="hippocampus", **overrides):
    configs = run_configs(dataset, overrides, run, BUNDLES)
    configs = {kind: self_contained(config, kind) for kind, config in configs.items()}
    folder = RunFolder(run)
    return bundle_metadata(BUNDLES, dataset, configs, folder, evaluation_of_run(folder))


@pytest.mark.parametrize("dataset", dataset_names(BUNDLES))
def test_channels_sizes_and_classes_are_those_of_the_configuration(run, dataset):
    """What the dataset's metadata say otherwise is kept."""
    declared = json.loads((BUNDLES / dataset / "configs/metadata.json").read_text())
    config = run_configs(dataset, {}, run, BUNDLES)["train"]

    metadata = metadata_of(run, dataset)

    image = metadata["network_data_format"]["inputs"]["image"]
    pred = metadata["network_data_format"]["outputs"]["pred"]
    assert image["num_channels"] == config["in_channels"]
    assert image["channel_def"] == declared["network_data_format"]["inputs"]["image"]["channel_def"]
    assert list(pred["channel_def"].values()) == config["classes"]
    assert pred["num_channels"] == len(config["classes"])
    for tensor in (image, pred):
        assert tensor["spatial_shape"] == config["spatial_size"]
        assert (tensor["dtype"], tensor["is_patch_data"]) == ("float32", True)
    assert metadata["task"] == declared["task"]


def test_network_that_does_not_ask_for_the_classes_has_them_all_the_same(run):
    """Its channels are written out, so that inference needs no list of classes."""
    network = {"_target_": "UNet", "spatial_dims": 2, "in_channels": 1, "out_channels": 3}
    network |= {"channels": [4, 8], "strides": [2]}
    metadata = metadata_of(run, network_def=network, classes=["background", "organ", "rim"])

    pred = metadata["network_data_format"]["outputs"]["pred"]
    assert pred["num_channels"] == 3
    assert pred["channel_def"] == {"0": "background", "1": "organ", "2": "rim"}


def test_package_that_is_not_installed_is_one_line(run):
    """Even where the network does without it until it is applied."""
    network = {"_target_": "UNet", "_desc_": {"packages": ["no-such-package"]}}
    sizes = {"spatial_dims": 2, "in_channels": 1, "out_channels": 3, "channels": [4, 8]}

    assert refused(metadata_of, run, network_def={**network, **sizes, "strides": [2]}) == (
        "no-such-package: is needed and not installed; pip install no-such-package"
    )


def test_versions_are_those_installed(run):
    """And the network of MONAI's needs nothing of this package."""
    metadata = metadata_of(run)

    assert metadata["monai_version"] == monai.__version__
    assert metadata["numpy_version"] == version("numpy")
    assert metadata["pytorch_version"] == version("torch").partition("+")[0]
    required = metadata["required_packages_version"]
    assert required == {name: version(name) for name in ("fire", "nibabel")}


def test_own_network_requires_this_package(run):
    """Then the receiver has to install it."""
    metadata = metadata_of(run, network_def="@networks::transunet")

    assert "nacl-monai" in metadata["required_packages_version"]
    assert metadata["description"].startswith("TransUNet trained")


def test_description_and_changelog_name_network_loss_and_run(run):
    """By the classes that were chosen, however long the chain of references."""
    metadata = metadata_of(run, loss="@losses::dice_ce")

    assert metadata["description"] == ("UNet trained on 2-D slices with DiceCELoss, not evaluated")
    assert list(metadata["changelog"].values()) == ["weights of the run unet_nacl_seed0"]


def record(run, **changes):
    """Writes what the evaluation is of."""
    checksums = {
        name: hashlib.sha256((run / file).read_bytes()).hexdigest()
        for name, file in (("weights", "model.pt"), ("split", "split.json"))
    }
    content = {"set": "test", **checksums, "settings": {}, **changes}
    (run / "evaluation/evaluation.json").write_text(json.dumps(content))


def test_scores_are_the_means_of_the_evaluation(run):
    """What has no mean, since no case has a number, is left out."""
    before = metadata_of(run)
    assert (before["eval_metrics"], before["name"]) == ({}, "Hippocampus segmentation")

    (run / "split.json").write_text('{"train": ["a"], "val": ["b"], "test": ["c", "d", "e"]}')
    (run / "evaluation").mkdir()
    cases = "case,dice,hd95,ece_foreground,cece_foreground\n"
    cases += "c,0.5,,0.1,0.2\nd,0.6,,0.1,0.2\ne,0.1,,0.1,\n"
    (run / "evaluation/cases.csv").write_text(cases)
    record(run)

    means = {"dice": 0.4, "ece_foreground": 0.1, "cece_foreground": 0.2}
    metadata = metadata_of(run)
    assert metadata["eval_metrics"] == means
    assert metadata["name"] == "Hippocampus segmentation with measured confidence"
    assert metadata["description"].endswith(", measured on 3 cases of the test set")


@pytest.mark.parametrize(
    ("changes", "named"), [({"set": "val"}, "its set 'val' is not"), ({"weights": "0"}, "model.pt")]
)
def test_scores_of_another_set_or_model_are_refused(run, changes, named):
    """A model card has the numbers of the test cases, and of the model in the bundle."""
    test_scores_are_the_means_of_the_evaluation(run)
    record(run, **changes)

    with pytest.raises(InputError, match=named):
        metadata_of(run)


def found(patients, **columns):
    """An evaluation of as many cases as there are names of patients."""
    index = pd.Index([f"case_{k}" for k in range(len(patients))], name="case")
    metrics = pd.DataFrame(columns, index, dtype=float)
    named = pd.Series(patients, index, name="patient")
    return Evaluated("run", metrics, named, None, EvaluationOf("test", {}))


def test_numbers_are_means_over_patients_with_students_intervals():
    """Two cases of one patient count as one; no error is below 0; other regions are not there."""
    ece = [0.1, 0.3, 0.4, 0.6]
    numbers = calibration_of(found(["a", "a", "b", "c"], ece_union=ece, dice=ece))

    by_patient = np.array([0.2, 0.4, 0.6])
    half = student.ppf(0.975, 2) * by_patient.std(ddof=1) / np.sqrt(3)
    assert numbers["patients"] == 3
    assert numbers["volumes"] == 4
    assert numbers["regions"].keys() == {"union"}
    assert numbers["pooled"] == {}
    ece = {"mean": 0.4, "low": 0.0, "high": round(0.4 + half, 6)}
    assert numbers["regions"]["union"] == {"ece": ece}


@pytest.mark.parametrize(
    ("gap", "phrase"),
    [
        ([0.10, 0.11, 0.12], "+0.110 [+0.085, +0.135], too high"),
        ([-0.10, -0.11, -0.12], "-0.110 [-0.135, -0.085], too low"),
        ([-0.10, 0.11, -0.02], "neither by more than chance"),
    ],
)
def test_confidence_is_too_high_or_too_low_if_its_interval_says_so(gap, phrase):
    """An interval that includes 0 says neither."""
    run = found(["a", "b", "c"], ece_all=np.abs(gap), confidence_gap_all=gap)

    assert phrase in calibration_card(run)


def test_one_patient_has_a_mean_and_no_interval():
    """The card names no direction, and the numbers of JSON have no NaN."""
    run = found(["a", "a"], ece_all=[0.1, 0.3], confidence_gap_all=[0.1, 0.3])

    card = calibration_card(run)
    assert (
        "Measured on 1 patient (2 volumes) of the test set.\n\nMeans over patients:\n\n| region"
        in card
    )
    assert "| 0.200 | – |\n\nThe expected" in card
    alone = {"mean": 0.2, "low": None, "high": None}
    assert calibration_of(run)["regions"]["all"] == {"ece": alone, "confidence_gap": alone}


def test_diagram_is_shown_where_there_are_bins(tmp_path):
    """In every folder that has the card; a run without an evaluation has none."""
    run = RunFolder(write_run(tmp_path / "run", temperature=0.5))
    folders = [tmp_path / "top", tmp_path / "docs"]
    for folder in folders:
        folder.mkdir()

    assert "![Reliability diagram](reliability.png)" in write_card(evaluation_of_run(run), *folders)
    top, docs = ((folder / "reliability.png").read_bytes() for folder in folders)
    assert top == docs
    assert top.startswith(b"\x89PNG")
    assert "reliability.png" not in calibration_card(found(["a", "b"], ece_all=[0.1, 0.2]))
    assert write_card(evaluation_of_run(RunFolder(tmp_path / "other")), *folders) == ""


def test_card_leads_with_numbers_of_all_cases_together():
    """As they are under ``pooled`` in summary.json, with their sign; the paper's regions follow."""
    rng = np.random.default_rng(0)
    probs = rng.dirichlet([0.5, 0.5, 0.5], (6, 5, 5, 5)).transpose(0, 4, 1, 2, 3)
    labels = rng.integers(0, 3, (6, 5, 5, 5))
    run = audit(probs, labels, classes=["background", "left", "right"]).run
    summary = run.bins.pooled_numbers

    card, numbers = calibration_card(run), calibration_of(run)

    rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \| [^|]+ \|$", card, re.MULTILINE))
    gap = summary["confidence_gap_near"].text()
    assert rows["ECE near the prediction"] == summary["ece_near"].text()
    assert rows["Confidence − accuracy near the prediction"] == f"{gap}, overconfident"
    assert rows["NLL over all voxels"] == run.mean("nll_all").text(4)
    for name in ("contour_misses", "contour_size", "expected_volume_error"):
        assert rows[METRICS[name].label] == summary[name].text()
        assert numbers["pooled"][name]["mean"] == round(summary[name].value, 6)
    paper = card.split("### The paper's measures")[1]
    assert re.findall(r"^\| (\w+) \| Voxels", paper, re.M) == ["foreground", "union", "boundary"]
