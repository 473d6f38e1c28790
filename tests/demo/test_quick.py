"""``nacl-monai demo --quick``: a network in the package, people whom it has not seen, three commands."""

import hashlib
import json
import re
import sys
from pathlib import Path

import nibabel
import pytest
import torch

from nacl_monai.cli import main
from nacl_monai.demo import quick
from nacl_monai.errors import InputError
from nacl_monai.wheel import shipped

MODEL = shipped(quick.MODEL)
SPLIT = json.loads((MODEL / "configs/split.json").read_text())


@pytest.fixture
def steps(monkeypatch):
    """The commands that would have been run, and for the network a stand-in."""
    commands = []
    monkeypatch.setattr(quick, "run_command", commands.append)
    monkeypatch.setattr(quick, "_segment", lambda _, output: commands.append(("segment", output)))
    return commands


def test_nobody_tests_what_was_fitted_to_them(steps, tmp_path):
    """Of the training, the calibrator and the promise, each has people of its own."""
    quick.run_quick(tmp_path / "out")

    rows = (tmp_path / "out/patients.csv").read_text().splitlines()[1:]
    patient_of = dict(row.split(",") for row in rows)
    people = {
        part: {
            patient_of[file.name.removesuffix(".nii.gz")]
            for file in (tmp_path / "out/labels" / part).glob("*.nii.gz")
        }
        for part in ("calibration", "test", "new")
    }
    *tested, last = SPLIT["test"]
    assert people == {"calibration": {*SPLIT["val"]}, "test": {*tested}, "new": {last}}
    assert not {*patient_of.values()} & {*SPLIT["train"]}
    assert [step[0] for step in steps] == ["segment", "calibrate", "report"]
    _, fitted, report = steps
    assert fitted[1].endswith("predictions/calibration")
    assert report[1].endswith("predictions/test")
    assert report[report.index("--new") + 1].endswith("predictions/new")


@pytest.mark.usefixtures("steps")
def test_bundle_is_loaded_in_python_as_its_page_says(tmp_path, monkeypatch):
    """The code of docs/infer.md gives probabilities of an image, by the weights of the bundle."""
    quick.run_quick(tmp_path / "out")
    image = next((tmp_path / "out/images/new").glob("*.nii.gz"))
    page = (Path(__file__).parents[2] / "docs/infer.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    for word, place in (("acdc_unet_nacl", tmp_path / "out/model"), ("patient.nii.gz", image)):
        code = code.replace(f'"{word}"', repr(str(place)))
    monkeypatch.setattr("sys.path", [*sys.path])
    names = {}
    exec(compile(code, "infer.md", "exec"), names)

    probs = names["probs"]
    assert probs.shape == (1, 3, *nibabel.load(image).shape)
    torch.testing.assert_close(probs.sum(1), torch.ones_like(probs[:, 0]))
    assert probs[:, 1:].sum(1).max() > 0.9


@pytest.mark.usefixtures("steps")
def test_what_is_there_stays(tmp_path):
    """A second time, too."""
    quick.run_quick(tmp_path / "out")

    with pytest.raises(InputError, match="out: is there already; remove it, or choose another"):
        quick.run_quick(tmp_path / "out")


def test_step_that_fails_ends_it(monkeypatch, steps, tmp_path):
    """The later ones would follow from nothing."""
    monkeypatch.setattr(quick, "run_command", lambda command: steps.append(command) or 1)

    with pytest.raises(InputError, match="^calibrate: ended with exit code 1"):
        quick.run_quick(tmp_path / "out")
    assert len(steps) == 2


@pytest.mark.parametrize("args", [["--max_epochs", "2"], ["--dataset", "acdc"]])
def test_what_it_cannot_be_told_is_refused(args, capsys, steps):
    """It has its own network and data."""
    assert main(["demo", "--quick", *args]) == 2
    assert capsys.readouterr().err.startswith("error: --quick: has its own network and data")
    assert steps == []


def test_weights_are_those_of_their_checksum_and_rounded():
    """The card says that they are bfloat16."""
    file = MODEL / "models/model.pt"
    weights = torch.load(file, weights_only=True)

    checksum, name = file.with_name("model.pt.sha256").read_text().split()
    assert (hashlib.sha256(file.read_bytes()).hexdigest(), "model.pt") == (checksum, name)
    assert {values.dtype for values in weights.values()} == {torch.bfloat16}
