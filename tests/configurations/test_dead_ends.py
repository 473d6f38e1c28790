"""Whatever was lost, damaged or badly chosen: one line with the way out, and the way leads out."""

import json
import shutil

import pytest
from monai.engines import SupervisedTrainer

from nacl_monai.training import RunRecord
from tests.configurations.conftest import NETWORK, arguments, assert_same_training, contents

pytestmark = pytest.mark.slow

SMALL = {**NETWORK, "channels": [4, 8], "strides": [2], "dropout": 0}
PLAIN = {"_target_": "BasicUNet", "features": [4, 4, 8, 8, 8, 4], "norm": None}


@pytest.fixture
def words_of(datasets, tmp_path):
    """The words of a training of a tiny network for some epochs, in a folder of a name."""
    data = datasets["hippocampus"]
    shared = ["--dataset_dir", data, "--cache_dir", data.parent / "cache"]
    shared += ["--networks::unet", SMALL]

    def command(epochs, *more, folder="run"):
        more = ["--output_dir", tmp_path / folder, "--max_epochs", epochs, *more]
        return arguments("training", "hippocampus", *shared, *more)

    return command


@pytest.fixture
def kill_after(monkeypatch, bundle, words_of):
    """Trains, and is killed once an epoch is complete."""

    def run(epoch, *args):
        update = RunRecord._update

        def die(self, engine, incomplete=0):
            update(self, engine, incomplete)
            if engine.state.epoch == epoch:
                raise RuntimeError("killed")

        with monkeypatch.context() as killing:
            killing.setattr(RunRecord, "_update", die)
            assert "killed" in bundle(*words_of(*args))[1]

    return run


def test_half_written_record_is_named_and_its_removal_leads_on(bundle, words_of, tmp_path):
    """Nothing is changed before."""
    bundle.done(*words_of(1))
    file = tmp_path / "run/run.json"
    file.write_bytes(file.read_bytes()[:100])
    before = contents(tmp_path / "run")

    line = f"{file}: is damaged; remove it, and start the training again"
    assert line in bundle.refused(*words_of(1))
    assert contents(tmp_path / "run").keys() == before.keys()
    file.unlink()
    bundle.done(*words_of(1))
    assert json.loads(file.read_text())["finished"]


def test_learning_rate_that_only_makes_it_worse_does_not_finish(bundle, words_of, tmp_path):
    """Though every number is finite, as in a network without normalization."""
    line = bundle.refused(*words_of(3, "--learning_rate", 0.3, "--network_def", PLAIN))

    assert "epoch 2: the training has diverged, mean loss" in line
    assert "lower the learning_rate" in line
    assert not json.loads((tmp_path / "run/run.json").read_text())["finished"]


def test_killed_training_goes_on_longer_as_if_it_had_always_been(
    bundle, words_of, kill_after, tmp_path
):
    """Before its learning rate has fallen; it then falls where that of the longer one does."""
    kill_after(1, 4)
    bundle.done(*words_of(6))
    bundle.done(*words_of(6, folder="whole"))

    states = ("model.pt", "checkpoints/epoch_0006.pt")
    assert_same_training(tmp_path / "run", tmp_path / "whole", *states)
    assert json.loads((tmp_path / "run/config.json").read_text())["max_epochs"] == 6


OTHER_RATE = "another max_epochs (2, now 3), learning_rate (0.001, now 0.01)"


@pytest.mark.parametrize(
    ("epochs", "more", "message"),
    [
        (4, [], "instead of 2: the learning rate of epoch 2 is 0.0001, that of 4 epochs 0.001"),
        (1, [], "max_epochs 1 instead of 2: a training can only be made longer"),
        (3, ["--learning_rate", 0.01], OTHER_RATE),
    ],
    ids=["after the fall", "shorter", "another rate"],
)
def test_other_lengths_are_refused_with_the_reason(
    bundle, words_of, tmp_path, epochs, more, message
):
    """And nothing is changed."""
    bundle.done(*words_of(2))
    before = contents(tmp_path / "run")

    assert message in bundle.refused(*words_of(epochs, *more))
    assert contents(tmp_path / "run") == before


def test_split_is_drawn_as_the_command_says_or_the_command_is_refused(
    bundle, shared, tmp_path, monkeypatch
):
    """A quarter that is asked for is a quarter that trains; `--restart True` draws it."""
    monkeypatch.setattr(SupervisedTrainer, "run", lambda _: None)
    command = arguments("training", "hippocampus", *shared)
    bundle.done(*command)
    before = (tmp_path / "run/split.json").read_text()

    command += ["--train_fraction", "0.25"]
    assert "was drawn with other train_fraction (1.0, now 0.25)" in bundle.refused(*command)
    assert (tmp_path / "run/split.json").read_text() == before

    bundle.done(*command, "--restart", "True")
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
