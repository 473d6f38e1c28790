"""Whatever was lost, damaged or badly chosen: one line with the way out, and the way leads out."""

import json
import shutil

import pytest
import torch
from monai.engines import SupervisedTrainer

from nacl_monai.training import RunRecord
from tests.configurations.conftest import arguments, contents, one_line

pytestmark = pytest.mark.slow

NETWORK = {
    "_target_": "UNet",
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": 3,
    "channels": [4, 8],
    "strides": [2],
}
PLAIN = {
    "_target_": "BasicUNet",
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": 3,
    "features": [4, 4, 8, 8, 8, 4],
    "norm": None,
}


@pytest.fixture
def train(bundle, datasets, tmp_path):
    """Trains a tiny network in a folder of a name; returns the exit code and the errors."""
    data = datasets["hippocampus"]
    shared = ["--dataset_dir", data, "--cache_dir", data.parent / "cache"]

    def run(epochs, *more, folder="run"):
        words = [*shared, "--output_dir", tmp_path / folder, "--max_epochs", epochs, *more]
        words += [] if "--networks::unet" in more else ["--networks::unet", NETWORK]
        return bundle(*arguments("training", "hippocampus", *words))

    return run


@pytest.fixture
def kill_after(monkeypatch, train):
    """Trains, and is killed once an epoch is complete."""

    def run(epoch, *words):
        update = RunRecord._update

        def die(self, engine, incomplete=0):
            update(self, engine, incomplete)
            if engine.state.epoch == epoch:
                raise RuntimeError("killed")

        with monkeypatch.context() as killing:
            killing.setattr(RunRecord, "_update", die)
            assert "killed" in train(*words)[1]

    return run


def same_training(folder, other, epochs):
    """Whether two trainings ended with the same state and kept the same model, to the bit."""
    for name in (f"checkpoints/epoch_{epochs:04d}.pt", "model.pt"):
        states = [torch.load(run / name, weights_only=True) for run in (folder, other)]
        weights = [state.get("network", state) for state in states]
        assert weights[0].keys() == weights[1].keys()
        assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0]), name
    rates = [
        state["optimizer"]["param_groups"][0]["lr"] for state in states if "optimizer" in state
    ]
    assert len(set(rates)) <= 1


def test_half_written_record_is_named_and_its_removal_leads_on(train, tmp_path):
    """Nothing is changed before."""
    assert train(1)[0] == 0
    file = tmp_path / "run/run.json"
    file.write_bytes(file.read_bytes()[:100])
    before = contents(tmp_path / "run")

    code, errors = train(1)

    assert code == 1
    assert f"{file}: is damaged; remove it, and start the training again" in one_line(errors)
    assert contents(tmp_path / "run").keys() == before.keys()
    file.unlink()
    assert train(1)[0] == 0
    assert json.loads(file.read_text())["finished"]


def test_learning_rate_that_only_makes_it_worse_does_not_finish(train, tmp_path):
    """Though every number is finite, as in a network without normalization."""
    code, errors = train(3, "--learning_rate", 0.3, "--networks::unet", PLAIN)
    assert code == 1, errors

    assert code == 1
    line = one_line(errors)
    assert "epoch 2: the training has diverged, mean loss" in line
    assert "lower the learning_rate" in line
    assert not json.loads((tmp_path / "run/run.json").read_text())["finished"]


def test_killed_training_goes_on_longer_as_if_it_had_always_been(train, kill_after, tmp_path):
    """Before its learning rate has fallen; it then falls where that of the longer one does."""
    kill_after(1, 4)
    assert train(6)[0] == 0
    assert train(6, folder="whole")[0] == 0

    same_training(tmp_path / "run", tmp_path / "whole", 6)
    assert json.loads((tmp_path / "run/config.json").read_text())["max_epochs"] == 6


@pytest.mark.parametrize(
    ("epochs", "more", "said"),
    [
        (4, [], "instead of 2: the learning rate of epoch 2 is 0.0001, that of 4 epochs 0.001"),
        (1, [], "max_epochs 1 instead of 2: a training can only be made longer"),
        (
            3,
            ["--learning_rate", 0.01],
            "another max_epochs (2, now 3), learning_rate (0.001, now 0.01)",
        ),
    ],
    ids=["after the fall", "shorter", "another rate"],
)
def test_other_lengths_are_refused_with_the_reason(train, tmp_path, epochs, more, said):
    """And nothing is changed."""
    assert train(2)[0] == 0
    before = contents(tmp_path / "run")

    code, errors = train(epochs, *more)

    assert code == 1
    assert said in one_line(errors)
    assert contents(tmp_path / "run") == before


def test_split_is_drawn_as_the_command_says_or_the_command_is_refused(
    bundle, datasets, tmp_path, monkeypatch
):
    """A quarter that is asked for is a quarter that trains; `--restart True` draws it."""
    monkeypatch.setattr(SupervisedTrainer, "run", lambda _: None)
    shared = ["--dataset_dir", datasets["hippocampus"], "--output_dir", tmp_path / "run"]
    shared += ["--cache_dir", tmp_path / "cache"]
    words = arguments("training", "hippocampus", *shared, "--train_fraction", 0.25)
    bundle.done(*arguments("training", "hippocampus", *shared))
    before = (tmp_path / "run/split.json").read_text()

    code, errors = bundle(*words)
    assert code != 0
    assert "was drawn with other train_fraction (1.0, now 0.25)" in one_line(errors)
    assert (tmp_path / "run/split.json").read_text() == before

    bundle.done(*words, "--restart", "True")
    split = json.loads((tmp_path / "run/split.json").read_text())
    assert (len(split["train"]), split["drawn"]["train_fraction"]) == (1, 0.25)


def test_damaged_cache_changes_no_number(bundle, run_of, tmp_path):
    """An evaluation makes a damaged file anew, says so, and measures what it measured before."""
    _, dataset_dir, run = run_of("hippocampus")
    copy, cache = shutil.copytree(run, tmp_path / "run"), tmp_path / "cache"
    shared = ["--dataset_dir", dataset_dir, "--output_dir", copy, "--cache_dir", cache]
    table = (copy / "evaluation/cases.csv").read_bytes()
    bundle(*arguments("evaluating", "hippocampus", *shared))
    files = sorted(cache.rglob("*.npy"))
    for file in files:
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)

    code, errors = bundle(*arguments("evaluating", "hippocampus", *shared))

    assert code == 0, errors
    assert errors.count("is damaged, and made anew") == len(files) > 0
    assert (copy / "evaluation/cases.csv").read_bytes() == table
