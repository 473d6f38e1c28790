"""Two processes, as torchrun starts them, do what one does: they train, go on, and measure."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.configurations.conftest import (
    NETWORK,
    ROOT,
    arguments,
    assert_same_training,
    contents,
    curves,
    run_killed,
    run_module,
)
from tests.same import same_bits, same_values

pytestmark = pytest.mark.slow

# Has statistics on which the processes must agree.
NORMALIZED = {**NETWORK, "out_channels": 4, "norm": "BATCH"}


@pytest.fixture(scope="module")
def words_of(acdc_phantom, tmp_path_factory):
    """The words of a command for a run of that name."""
    root = tmp_path_factory.mktemp("torchrun")
    shared = ["--dataset_dir", acdc_phantom, "--cache_dir", root / "cache"]
    shared += ["--networks::unet", NORMALIZED]

    def command(run_id, name, *overrides):
        overrides = [*shared, *overrides, "--output_dir", root / name]
        return arguments(run_id, "acdc", *overrides)

    return command


TRAINING = ["--max_epochs", 2, "--loss", "@losses::crac"]  # which learns from all cases


@pytest.fixture(scope="module")
def runs(words_of):
    """Folders of a training by two processes, and of its evaluations by one and by two."""
    train = words_of("training", "plain", *TRAINING)
    root = Path(train[-1]).parent
    test = ["--cases_to_evaluate", "train"]  # as many volumes as make the shares differ
    single, two = (
        [*words_of("evaluating", "plain", *test), "--evaluation_dir", str(root / name)]
        for name in ("one", "two")
    )
    run_killed([("never", train), ("never", two)], "2")
    with pytest.MonkeyPatch.context() as monkeypatch:
        run_module(monkeypatch, single)
    return {name: root / name for name in ("plain", "one", "two")}


@pytest.mark.nightly
def test_killed_training_ends_with_the_same_bits(runs, words_of):
    """A training of two processes ends with the same bits after SIGKILL and SIGTERM to one of them."""
    train = words_of("training", "killed", *TRAINING)
    killed = runs["plain"].with_name("killed")
    moments = ["in_epoch:8", "terminated:2", "terminated_in_evaluation:1", "never"]
    run_killed([(moment, train) for moment in moments], "2")

    assert_same_training(runs["plain"], killed, "model.pt", "checkpoints/epoch_0002.pt")
    assert curves(runs["plain"]) == curves(killed)
    record = json.loads((killed / "run.json").read_text())
    assert [session["processes"] for session in record["sessions"]] == [2] * 3


def test_first_process_alone_writes(runs):
    """There is one file of curves per session, and one record of two processes."""
    record = json.loads((runs["plain"] / "run.json").read_text())

    assert len(list((runs["plain"] / "tensorboard").iterdir())) == 1
    assert [session["processes"] for session in record["sessions"]] == [2]
    assert json.loads((runs["plain"] / "config.json").read_text())["processes"] == 2


def test_histogram_has_the_voxels_of_all_processes(runs):
    """The histogram of an epoch has the voxels of both processes' batches, those padded included."""
    counts = np.load(runs["plain"] / "logit_histogram.npz")["counts"]
    slices = len(curves(runs["plain"])["loss"]) // 2 * 16

    assert counts.sum(axis=1).tolist() == [counts[0].sum()] * 2
    assert slices - 16 < counts[0].sum() / 32**2 <= slices


def test_numbers_of_two_processes_are_those_of_one(runs):
    """Every number of two processes is that of one, and no case is counted twice."""
    files = (runs[name] / "cases.csv" for name in ("one", "two"))
    single, two = (pd.read_csv(file, index_col="case") for file in files)
    pd.testing.assert_frame_equal(single, two)
    assert single.index.is_unique

    summaries = [json.loads((runs[name] / "summary.json").read_text()) for name in ("one", "two")]
    assert [summary["cases"] for summary in summaries] == [len(single)] * 2
    pd.testing.assert_frame_equal(*(pd.DataFrame(summary["metrics"]) for summary in summaries))

    first, second = (np.load(runs[name] / "bins.npz") for name in ("one", "two"))
    order = [list(second["cases"]).index(case) for case in first["cases"]]
    for name in ("counts", "positives", "confidences"):
        same_bits(first[name], second[name][order], "each case is measured by itself")

    first, second = (np.load(runs[name] / "logits.npz") for name in ("one", "two"))
    same_values(first["counts"], second["counts"])
    np.testing.assert_allclose(first["sums"], second["sums"], rtol=1e-12)


def test_maps_of_two_processes_are_those_of_one(runs):
    """The maps of both processes' cases are there, the same as those of one."""
    single, two = (contents(runs[name] / "maps") for name in ("one", "two"))

    assert single.keys() == two.keys()
    for name in single:
        first, second = (np.load(runs[run] / "maps" / name) for run in ("one", "two"))
        for name in first.files:
            same_bits(first[name], second[name], "each case is predicted by itself")


@pytest.mark.nightly
def test_torchrun_runs_the_command(acdc_phantom, tmp_path):
    """Torchrun itself runs the command, and a batch that cannot be shared is refused."""
    shared = ["--dataset_dir", acdc_phantom, "--output_dir", tmp_path / "run"]
    shared += ["--cache_dir", tmp_path / "cache", "--max_epochs", 1, "--batch_size"]
    command = arguments("training", "acdc", *shared)
    launcher = [str(Path(sys.executable).with_name("torchrun")), "--standalone"]
    launcher += ["--nproc_per_node", "2", "-m", "monai.bundle"]
    for size, code in (("15", 1), ("16", 0)):
        result = subprocess.run(
            [*launcher, *command, size], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert result.returncode == code, result.stderr
        assert ("--batch_size 16" in result.stderr) == bool(code)
    assert (tmp_path / "run" / "model.pt").is_file()
