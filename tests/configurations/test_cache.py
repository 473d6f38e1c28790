"""A training from a device's memory is the training from a disk that holds the same values."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from tests.configurations.conftest import ROOT, arguments, run_module
from tests.configurations.test_resume import AUGMENTATION, NETWORK, curves, tensors

pytestmark = pytest.mark.slow

EPOCHS = 2
DIMS = {
    "slices": [],
    "patches": ["--dims", 3, "--patch", [32, 32, 32], "--networks::unet::spatial_dims", 3],
}
#: As `bundles/hippocampus` reads, and then nothing but values of float16.
HALF = ["@to_ras", "@scale_by_percentiles"]
HALF += [{"_target_": "CastToTyped", "keys": ["image"], "dtype": "$torch.float16"}]


@pytest.fixture
def words_of(datasets, tmp_path):
    """The words of a training of the hippocampus."""

    def words(name, kind, *more):
        shared = ["--dataset_dir", datasets["hippocampus"], "--cache_dir", tmp_path / "cache"]
        network = {**NETWORK, "out_channels": 3}
        shared += ["--networks::unet", network, *DIMS[kind], "--max_epochs", EPOCHS]
        shared += ["--slice_transforms", AUGMENTATION, "--augmentation", "@augmentations::strong"]
        return arguments("training", "hippocampus", *shared, *more, "--output_dir", tmp_path / name)

    return words


@pytest.mark.parametrize("kind", ["slices", pytest.param("patches", marks=pytest.mark.nightly)])
def test_weights_are_those_of_the_disk_to_the_bit(words_of, tmp_path, monkeypatch, capfd, kind):
    """On the device, from a disk in its place after a kill, and of volumes that hold float16."""
    killed = words_of("killed", kind, "--cache", "gpu", "--num_workers", 2)
    moments = [("in_epoch:5", killed), ("never", killed)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.configurations.killed_training", json.dumps(moments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    run_module(monkeypatch, words_of("half", kind, "--preprocessing", HALF))
    monkeypatch.setattr("nacl_monai.data.device_volumes.free_memory", lambda _: 2**40)
    capfd.readouterr()
    run_module(monkeypatch, words_of("device", kind, "--cache", "gpu", "--num_workers", 2))
    assert "there are no worker processes" in capfd.readouterr().out

    states = {
        name: tensors(
            torch.load(tmp_path / name / f"checkpoints/epoch_{EPOCHS:04d}.pt", weights_only=True)
        )
        for name in ("killed", "half", "device")
    }
    for key, value in states["device"].items():
        assert torch.equal(torch.as_tensor(value), torch.as_tensor(states["killed"][key])), key
        if key.startswith((".network", ".optimizer")):  # its validation reads float16, too
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(states["half"][key])), key
    assert curves(tmp_path / "device") == curves(tmp_path / "killed")
    np.testing.assert_array_equal(*(curves(tmp_path / name)["loss"] for name in ("device", "half")))


def test_cache_that_is_not_known_is_one_line(words_of, bundle):
    """It decides numbers, so that a training goes on with the one that it began with."""
    code, errors = bundle(*words_of("run", "slices", "--cache", "ram"))

    assert code == 2
    assert "--cache ram: is not one of disk, gpu" in errors
