"""Metadata say what a run is, in the schema of MONAI's Model Zoo."""

import hashlib
import json
from importlib.metadata import version

import pytest

from nacl_monai.bundles.card import bundle_metadata, measured
from nacl_monai.bundles.self_contained import run_configs, self_contained
from nacl_monai.errors import InputError
from nacl_monai.menus import dataset_names
from nacl_monai.runs import RunFolder
from tests.bundles.conftest import BUNDLES


def metadata_of(run, dataset="hippocampus", **overrides):
    configs = run_configs(dataset, overrides, run, BUNDLES)
    configs = {kind: self_contained(config, kind) for kind, config in configs.items()}
    return bundle_metadata(BUNDLES, dataset, configs, RunFolder(run), measured(RunFolder(run)))


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
    metadata = metadata_of(run, network_def={**network, "channels": [4, 8], "strides": [2]})

    assert metadata["network_data_format"]["outputs"]["pred"]["num_channels"] == 3


def test_package_that_is_not_installed_is_one_line(run):
    """Even where the network does without it until it is applied."""
    network = {"_target_": "UNet", "_desc_": {"packages": ["no-such-package"]}}
    sizes = {"spatial_dims": 2, "in_channels": 1, "out_channels": 3, "channels": [4, 8]}

    with pytest.raises(InputError) as refused:
        metadata_of(run, network_def={**network, **sizes, "strides": [2]})

    assert str(refused.value) == (
        "no-such-package: is needed and not installed; pip install no-such-package"
    )


def test_versions_are_those_installed(run):
    """And the network of MONAI's needs nothing of this package."""
    metadata = metadata_of(run)

    assert metadata["monai_version"] == version("monai")
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

    (run / "evaluation").mkdir()
    cases = "case,dice,hd95,ece_foreground,cece_foreground\nc,0.5,,0.1,0.2\n"
    (run / "evaluation/cases.csv").write_text(cases)
    record(run)

    means = {"dice": 0.5, "ece_foreground": 0.1, "cece_foreground": 0.2}
    metadata = metadata_of(run)
    assert metadata["eval_metrics"] == means
    assert metadata["name"] == "Hippocampus segmentation with measured confidence"
    assert metadata["description"].endswith(", measured on 1 case of the test set")


@pytest.mark.parametrize(
    ("changes", "named"), [({"set": "val"}, "its set 'val' is not"), ({"weights": "0"}, "model.pt")]
)
def test_scores_of_another_set_or_model_are_refused(run, changes, named):
    """A model card has the numbers of the test cases, and of the model in the bundle."""
    test_scores_are_the_means_of_the_evaluation(run)
    record(run, **changes)

    with pytest.raises(InputError, match=named):
        metadata_of(run)
