"""A training that was killed, and started again by the same command, ends as if nothing had been."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.bundles.conftest import ROOT, arguments
from tests.bundles.test_errors import one_line

EPOCHS = 3
AUGMENTATION = [
    {"_target_": "RandFlipd", "keys": ["image", "label"], "prob": 0.5, "spatial_axis": 0},
    {"_target_": "RandGaussianNoised", "keys": "image", "prob": 0.5},
]

NETWORK = {
    "_target_": "UNet",
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": 4,
    "channels": [4, 8, 16],
    "strides": [2, 2],
    "dropout": 0.1,
}


@pytest.fixture(scope="module")
def words_of(acdc_phantom, tmp_path_factory):
    """The words of one command, but for the folder; its epochs have five iterations."""
    root = tmp_path_factory.mktemp("resume")
    shared = ["--dataset_dir", acdc_phantom, "--cache_dir", root / "cache", "--max_epochs", EPOCHS]
    shared += ["--networks::unet", NETWORK, "--slice_transforms", AUGMENTATION]
    return lambda folder: arguments("training", "acdc", *shared, "--output_dir", root / folder)


@pytest.fixture(scope="module")
def runs(words_of):
    """Folders of a training that nothing happened to, and of one that suffered; and the output.

    The latter was killed in the second epoch, in its validation, and while its state was written,
    and interrupted by Ctrl-C; then killed in the third epoch, and its newest checkpoint damaged. Its
    items are made by worker processes, those of the former are not.
    """
    plain, suffering = words_of("plain"), [*words_of("suffering"), "--num_workers", "2"]
    moments = ["in_epoch:8", "in_validation:2", "while_writing:1", "interrupted:2", "in_epoch:8"]
    moments.append("damaged")
    commands = json.dumps([("never", plain), *((moment, suffering) for moment in moments)])
    result = subprocess.run(
        [sys.executable, "-m", "tests.bundles.killed_training", commands],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    folders = (Path(words[words.index("--output_dir") + 1]) for words in (plain, suffering))
    return *folders, result


def tensors(state, prefix=""):
    """All tensors and numbers in a state, by their place."""
    if isinstance(state, dict | list | tuple):
        pairs = state.items() if isinstance(state, dict) else enumerate(state)
        return {
            key: value
            for name, part in pairs
            for key, value in tensors(part, f"{prefix}.{name}").items()
        }
    return {} if state is None else {prefix: state}


def curves(run):
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def test_messages_name_what_it_goes_on_from_and_what_is_damaged(runs):
    """What it goes on from is said, and which file is damaged."""
    said = runs[2]

    assert said.stdout.count("epoch_0001.pt: going on after epoch 1 of 3") == 5
    assert "epoch_0002.pt: is damaged; going back to the one before" in said.stderr
    assert one_line(said.stderr).startswith("error: interrupted; the same command goes on")


@pytest.mark.parametrize("name", ["model.pt", f"checkpoints/epoch_{EPOCHS:04d}.pt"])
def test_state_is_the_same_bits(runs, name):
    """Weights, optimizer, schedule, best metric and histogram are the same bits."""
    first, second = (tensors(torch.load(run / name, weights_only=True)) for run in runs[:2])

    assert first.keys() == second.keys()
    for key, value in first.items():
        assert torch.equal(torch.as_tensor(value), torch.as_tensor(second[key])), key


def test_histogram_has_every_epoch_once(runs):
    """The histogram of logits has every epoch once, with the same counts."""
    first, second = (np.load(run / "logit_histogram.npz") for run in runs[:2])

    for name in ("epochs", "edges", "counts"):
        np.testing.assert_array_equal(first[name], second[name])
    assert first["epochs"].tolist() == [1, 2, 3]


def test_curves_have_every_iteration_once(runs):
    """Every curve has the same values, and an iteration that was done twice is one point of it."""
    first, second = (curves(run) for run in runs[:2])

    assert first == second
    assert [step for step, _ in second["loss"]] == list(range(1, 16))
    assert [step for step, _ in second["val_dice"]] == [5, 10, 15]


def test_two_checkpoints_and_every_session_are_kept(runs):
    """The newest two checkpoints, nothing half-written, and a record of every session."""
    _, folder, _ = runs
    record = json.loads((folder / "run.json").read_text())

    names = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert names == ["epoch_0002.pt", "epoch_0003.pt"]
    assert {path.name for path in folder.glob(".*")} == {".lock"}
    assert record["finished"]
    assert [session["epochs"] for session in record["sessions"]] == [[1, 1], [2, 2], [2, 3]]


def contents(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path: path.read_bytes() for path in files if "tensorboard" not in path.parts}


def test_finished_training_is_left_alone(bundle, runs, words_of):
    """A finished training, started again, changes no file."""
    before, curve = contents(runs[0]), curves(runs[0])

    assert bundle(*words_of("plain"))[0] == 0

    assert before == contents(runs[0])
    assert curve == curves(runs[0])


def test_other_configuration_is_refused_with_what_differs(bundle, runs, words_of):
    """Another configuration is refused with the keys that differ; nothing is changed."""
    before = contents(runs[0])
    words = [*words_of("plain"), "--learning_rate", 0.1, "--losses::nacl::kernel_size", 5]

    code, errors = bundle(*map(str, words))

    assert code == 1
    line = one_line(errors)
    assert "learning_rate (0.001, now 0.1), losses::nacl::kernel_size (3, now 5)" in line
    assert "--restart True" in line
    assert before == contents(runs[0])


@pytest.mark.parametrize("changed", ["file", "patient", "split"])
def test_other_data_are_refused(bundle, runs, words_of, acdc_copy, changed):
    """A file written again, another patient, another split: one line, and nothing is changed."""
    before, words = contents(runs[0]), words_of("plain")
    if changed == "file":
        words += ["--dataset_dir", acdc_copy]
        label = sorted(acdc_copy.glob("training/*/*_gt.nii.gz"))[0]
        os.utime(label, (0, 10**9))
    elif changed == "patient":
        words += ["--dataset_dir", acdc_copy]
        first = sorted((acdc_copy / "training").iterdir())[0]
        shutil.rmtree(first)
    else:
        words += ["--split_seed", 1]

    code, errors = bundle(*map(str, words))

    assert code == 1
    named = {"file": "2001-09-09 01:46:40", "patient": "patients (6, now 5)", "split": "split_seed"}
    assert named[changed] in one_line(errors)
    assert before == contents(runs[0])
