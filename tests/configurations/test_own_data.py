"""Data of one's own go the whole way by their own bundle, outside of the project, as ours do."""

import csv
import json
import sys

import numpy as np
import pandas as pd
import pytest

from nacl_monai.cli import main
from nacl_monai.data import hippocampus_patient
from tests.configurations.conftest import assert_same_training
from tests.own_data import NAMES, nnunet, renamed_as_folders, renamed_as_nnunet
from tests.same import same_bits

pytestmark = pytest.mark.slow

FORMATS = {"nnunet": renamed_as_nnunet, "folders": renamed_as_folders}
CLASSES = {"nnunet": ["anterior", "posterior"], "folders": ["class_1", "class_2"]}


@pytest.fixture
def command(monkeypatch, capfd):
    """Runs ``nacl-monai`` in this process, to the end; returns its output."""
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)

    def run(*args):
        capfd.readouterr()
        code = main(list(map(str, args)))
        output, errors = capfd.readouterr()
        assert code == 0, errors
        return output

    return run


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """An empty working directory."""
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def write_patients(task, file):
    """The people of the hippocampi as a table."""
    names = [path.name.partition(".")[0] for path in (task / "labelsTr").glob("[!.]*")]
    with file.open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["case", "patient"])
        table.writerows((name, hippocampus_patient(name)) for name in names)


@pytest.mark.parametrize("format_", ["nnunet", pytest.param("folders", marks=pytest.mark.nightly)])
def test_numbers_are_those_of_the_bundle_to_the_bit(command, empty, run_of, format_):
    """Where the settings are the same, only the names of the classes differ from our own bundle's."""
    _, task, ours = run_of("hippocampus")
    data = FORMATS[format_](task, empty.parent / "data")
    write_patients(task, empty / "people.csv")

    assert "6 patients" in command("new", "mine", data, "--patients", "people.csv")
    output = command("check", "mine", data, "--preprocess")
    assert "10 sound cases of 6 patients" in output
    assert "preprocessing      to_ras; scale_by_percentiles" in output
    command("train", "mine", data, "--max_epochs", 2)
    output = command("evaluate", "mine", data, "--reliability_interval", 0)
    assert output.startswith("python -m monai.bundle run evaluating --config_file ")

    run = empty / "runs/mine/unet_nacl_seed0"
    assert_same_training(run, ours, "model.pt")
    names = dict(zip(["anterior", "posterior"], CLASSES[format_], strict=True))
    for file in ("validation.csv", "evaluation/cases.csv"):
        found, table = (pd.read_csv(folder / file) for folder in (run, ours))
        renamed = {c: c.replace(old, new) for c in table for old, new in names.items() if old in c}
        same_bits(found, table.rename(columns=renamed), "the same training")
    with (
        np.load(run / "evaluation/bins.npz") as found,
        np.load(ours / "evaluation/bins.npz") as expected,
    ):
        assert set(found) == set(expected)
        for key in expected:
            if found[key].dtype.kind in "fiu":
                same_bits(found[key], expected[key], "the same training")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Regions, two channels, an official test set and thick sagittal slices, trained for an epoch."""
    folder = tmp_path_factory.mktemp("own")
    affine = np.array([[0, 0, 5, 0], [1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]])
    labels = {"background": 0, "whole tumor": [1, 2], "core": 2}
    channels = {"0": "T1", "1": "FLAIR"}
    data = nnunet(folder / "data", 2, 2, affine, labels=labels, channel_names=channels)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "excepthook", sys.__excepthook__)
        assert main(["new", "tumor", str(data), "--bundles", "own"]) == 0
        args = ["tumor", str(data), "--bundles", "own"]
        assert main(["train", *args, "--loss", "dice_ce", "--max_epochs", "1"]) == 0
        assert main(["evaluate", *args, "--loss", "dice_ce"]) == 0
    return folder


def test_regions_and_the_official_test_set_are_scored(trained):
    """DSC is of the regions, of the two cases of the test set."""
    run = trained / "runs/tumor/unet_dice_ce_seed0"
    table = pd.read_csv(run / "evaluation/cases.csv")

    assert table["case"].tolist() == NAMES[4:]
    assert [name for name in table if name.startswith("dice_")] == ["dice_whole_tumor", "dice_core"]
    split = json.loads((run / "split.json").read_text())
    assert split["test"] == NAMES[4:]
    assert sorted(split["train"] + split["val"]) == NAMES[:4]
