"""A training that was ended, and started again by the same command, ends as if nothing had been."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.configurations.conftest import (
    NETWORK,
    arguments,
    assert_same_training,
    contents,
    curves,
    run_killed,
)
from tests.same import same_bits

pytestmark = pytest.mark.slow

EPOCHS = 3
AUGMENTATION = [
    {"_target_": "RandFlipd", "keys": ["image", "label"], "prob": 0.5, "spatial_axis": 0},
    {"_target_": "RandGaussianNoised", "keys": "image", "prob": 0.5},
]


@pytest.fixture(scope="module")
def words_of(acdc_phantom, tmp_path_factory):
    """The words of one command, but for the folder; its epochs have four iterations."""
    root = tmp_path_factory.mktemp("resume")
    shared = ["--dataset_dir", acdc_phantom, "--cache_dir", root / "cache"]
    shared += ["--networks::unet", {**NETWORK, "out_channels": 4}]
    training = ["--max_epochs", EPOCHS, "--slice_transforms", AUGMENTATION]
    training += ["--augmentation", "@augmentations::strong"]
    training += ["--loss", "@losses::crac"]  # which learns too

    def command(folder, run_id="training", *more):
        more = training if run_id == "training" else more
        return arguments(run_id, "acdc", *shared, *more, "--output_dir", root / folder)

    return command


@pytest.fixture(scope="module")
def runs(words_of):
    """Folders of a training that nothing happened to, and of two that suffered; and the output.

    The second was killed in the second epoch, in its validation, and while its state was written,
    and interrupted by Ctrl-C; then killed in the third epoch, and its newest checkpoint damaged. Its
    items are made by worker processes, those of the others are not.
    SIGTERM ended the third twice in the first epoch, in its validation, and in the second epoch.
    """
    plain, killed, stopped = (words_of(name) for name in ("plain", "killed", "stopped"))
    killed = [*killed, "--num_workers", "2"]
    moments = ["in_epoch:8", "in_validation:2", "while_writing:1", "interrupted:2", "in_epoch:8"]
    commands = [("never", plain), *((moment, killed) for moment in [*moments, "damaged"])]
    moments = ["terminated:2", "terminated:1", "terminated_in_evaluation:1", "terminated:3"]
    commands += [(moment, stopped) for moment in [*moments, "never"]]
    half = ["--evaluation_dir", Path(plain[-1]).with_name("half"), "--cases_to_evaluate", "train"]
    commands += [("terminated_in_evaluation:3", words_of("plain", "evaluating", *half))]
    result = run_killed(commands)
    commands = (plain, killed, stopped)
    return *(Path(command[command.index("--output_dir") + 1]) for command in commands), result


def test_messages_name_what_it_goes_on_from_and_what_is_damaged(runs):
    """What it goes on from is said, and which file is damaged."""
    result = runs[-1]

    assert result.stdout.count("epoch_0001.pt: going on after epoch 1 of 3") == 5
    assert "epoch_0002.pt: is damaged; going back to the one before" in result.stderr
    for iteration in (2, 3, 4):
        line = f"epoch_0000_iteration_{iteration:04d}.pt: going on after epoch 0 of 3 and iteration"
        assert result.stdout.count(f"{line} {iteration} of the next") == 1
    assert "Traceback" not in result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    interrupted, *terminated = errors
    assert interrupted.startswith("error: interrupted; the same command goes on")
    assert terminated == [terminated[0]] * 5
    assert terminated[0].startswith("error: ended by SIGTERM; the same command goes on")


ended = pytest.mark.parametrize("which", [1, 2], ids=["killed", "stopped"])


@ended
@pytest.mark.parametrize("name", ["model.pt", f"checkpoints/epoch_{EPOCHS:04d}.pt"])
def test_state_is_the_same_bits(runs, name, which):
    """Weights, optimizer, schedule, best metric and histogram are the same bits."""
    assert_same_training(runs[0], runs[which], name)


@ended
def test_histogram_has_every_epoch_once(runs, which):
    """The histogram of logits has every epoch once, with the same counts."""
    first, second = (np.load(run / "logit_histogram.npz") for run in (runs[0], runs[which]))

    for name in ("epochs", "edges", "counts"):
        same_bits(first[name], second[name], "a training that goes on takes the same steps")
    assert first["epochs"].tolist() == [1, 2, 3]


@ended
def test_curves_have_every_iteration_once(runs, which):
    """Every curve has the same values, and an iteration that was done twice is one point of it."""
    first, second = (curves(run) for run in (runs[0], runs[which]))

    assert first == second
    assert [step for step, _ in second["loss"]] == list(range(1, 13))
    assert [step for step, _ in second["val_dice"]] == [4, 8, 12]


@pytest.mark.parametrize(
    ("which", "epochs"),
    [(1, [[1, 1], [2, 2], [2, 3]]), (2, [None, None, None, [1, 1], [2, 3]])],
    ids=["killed", "stopped"],
)
def test_two_checkpoints_and_every_session_are_kept(runs, which, epochs):
    """The newest two checkpoints, nothing half-written, and a record of every session."""
    folder = runs[which]
    record = json.loads((folder / "run.json").read_text())

    names = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert names == ["epoch_0002.pt", "epoch_0003.pt"]
    assert {path.name for path in folder.glob(".*")} <= {".lock"}
    assert record["finished"]
    assert [session["epochs"] for session in record["sessions"]] == epochs


def test_evaluation_that_sigterm_ended_leaves_no_numbers(runs):
    """There is no evaluation, and aside neither a table of some of the cases nor a file half-written.

    The slices of the first cases are whole, under numbers.
    """
    aside = runs[0].with_name(".half.new")
    files = {path.name for path in aside.rglob("*") if path.is_file()}

    assert not runs[0].with_name("half").exists()
    assert not files & {"cases.csv", "summary.json", "bins.npz", "logits.npz", "evaluation.json"}
    slices = {path for path in aside.rglob(".*.npz") if path.stem.removeprefix(".").isdecimal()}
    hidden = {name for name in files if name.startswith(".")}
    assert hidden == {path.name for path in slices}
    for path in slices:
        with np.load(path) as arrays:
            assert {"label", "prediction", "classes"} <= set(arrays)


def test_finished_training_is_left_alone(bundle, runs, words_of):
    """A finished training, started again, changes no file."""
    before, curve = contents(runs[0]), curves(runs[0])

    bundle.done(*words_of("plain"))

    assert before == contents(runs[0])
    assert curve == curves(runs[0])


def test_other_split_is_refused(bundle, runs, words_of):
    """In one line, and nothing is changed."""
    before = contents(runs[0])

    assert "split_seed" in bundle.refused(*words_of("plain"), "--split_seed", "1")
    assert before == contents(runs[0])
