"""Data of one's own go the whole way by their own bundle, outside of the project, as ours do."""

import csv
import json
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from nacl_monai.cli import main
from nacl_monai.data import hippocampus_patient
from tests.own_data import NAMES, nnunet, renamed_as_folders, renamed_as_nnunet

pytestmark = pytest.mark.slow

FORMATS = {"nnunet": renamed_as_nnunet, "folders": renamed_as_folders}
CLASSES = {"nnunet": ["anterior", "posterior"], "folders": ["class_1", "class_2"]}


def exit_code(words):
    """As the interpreter does: an exception ends in `sys.excepthook`, with its exit code or 1."""
    try:
        try:
            return main(words)
        except Exception as error:
            sys.excepthook(type(error), error, error.__traceback__)
            return 1
    except SystemExit as stop:
        return stop.code


@pytest.fixture
def command(monkeypatch, capfd):
    """Runs ``nacl-monai`` in this process; returns its exit code, output and errors."""

    def run(*words):
        monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
        capfd.readouterr()
        return exit_code(list(map(str, words))), *capfd.readouterr()

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

    code, output, errors = command("new", "mine", data, "--patients", "people.csv")
    assert code == 0, errors
    assert "6 patients" in output
    code, output, errors = command("check", "mine", data, "--preprocess")
    assert code == 0, errors
    assert "10 sound cases of 6 patients" in output
    assert "preprocessing      to_ras; scale_by_percentiles" in output
    assert command("train", "mine", data, "--max_epochs", 2)[0] == 0
    words = ["--reliability_interval", 0]
    code, output, _ = command("evaluate", "mine", data, *words)
    assert code == 0
    assert output.startswith("python -m monai.bundle run evaluating --config_file ")

    run = empty / "runs/mine/unet_nacl_seed0"
    weights, expected = (torch.load(of / "model.pt", weights_only=True) for of in (run, ours))
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[key], expected[key]) for key in weights)
    names = dict(zip(["anterior", "posterior"], CLASSES[format_], strict=True))
    for file in ("validation.csv", "evaluation/cases.csv"):
        found, table = (pd.read_csv(of / file) for of in (run, ours))
        renamed = {c: c.replace(old, new) for c in table for old, new in names.items() if old in c}
        pd.testing.assert_frame_equal(found, table.rename(columns=renamed), check_exact=True)
    with np.load(run / "evaluation/bins.npz") as found, np.load(ours / "evaluation/bins.npz") as of:
        assert set(found) == set(of)
        assert all((found[k] == of[k]).all() for k in of if found[k].dtype.kind in "fiu")


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
        words = ["tumor", str(data), "--bundles", "own"]
        assert main(["train", *words, "--loss", "dice_ce", "--max_epochs", "1"]) == 0
        assert main(["evaluate", *words, "--loss", "dice_ce"]) == 0
    return folder


def test_regions_and_the_official_test_set_are_scored(trained):
    """DSC is of the regions, of the two cases of the test set."""
    run = trained / "runs/tumor/unet_dice_ce_seed0"
    table = pd.read_csv(run / "evaluation/cases.csv")

    assert table["case"].tolist() == NAMES[4:]
    assert [name for name in table if name.startswith("dice_")] == ["dice_whole_tumor", "dice_core"]
    config = json.loads((run / "config.json").read_text())
    assert config["classes"] == ["background", "value_1", "core"]
    assert config["structures"] == {"whole_tumor": [1, 2], "core": [2]}
    assert config["official_sets"] == {"test": NAMES[4:]}
    assert config["preprocessing"][0]["slices_last"] is True
    split = json.loads((run / "split.json").read_text())
    assert split["test"] == NAMES[4:]
    assert sorted(split["train"] + split["val"]) == NAMES[:4]
