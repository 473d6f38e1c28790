"""The profile for Slurm on a real one of one node, which ``slurm_node.sh`` makes of this machine."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.configurations.conftest import assert_same_training

ROOT = Path(__file__).parents[2]
EPOCHS = 8
# Faster than the profile, and without accounting, as on this Slurm.
SLURM = ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2"]
SLURM += ["--seconds-between-status-checks", "2", "--latency-wait", "5"]

pytestmark = pytest.mark.nightly  # a training through two Snakemakes takes two minutes


def slurm(*command):
    """What a command of Slurm prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def training(folder, name):
    """Starts the training and evaluation of a tiny run as a job, by the profile."""
    args = ["--snakefile", "workflow/Snakefile", "--workflow-profile", "workflow/profiles/slurm"]
    args += ["--configfile", "workflow/smoke.yaml"]
    args = [str(ROOT / word) if word.startswith("workflow/") else word for word in args]
    args += [*SLURM, f"{name}/acdc/unet_nacl_seed0/evaluation/evaluation.json"]
    args += ["--config", f"runs={name}", f"train_arguments=--max_epochs {EPOCHS}"]
    return subprocess.Popen(
        [Path(sys.executable).with_name("snakemake"), *args],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The run that nothing has disturbed."""
    here = shutil.which("scontrol") and not os.getuid()
    if not here or "nacl_monai_tests" not in slurm("scontrol", "show", "config"):
        pytest.skip("needs a Slurm of its own, and root: tests/workflow/slurm_node.sh")
    pytest.importorskip("snakemake_executor_plugin_slurm", reason="needs the extra 'reproduce'")
    folder = tmp_path_factory.mktemp("slurm")
    assert training(folder, "undisturbed").wait() == 0
    return folder / "undisturbed/acdc/unet_nacl_seed0"


def cancel(job):
    """Ends the job, as a person does; Snakemake submits another."""
    slurm("scancel", job)


def take_node(_):
    """Slurm puts the job of a node that is down back into its queue, until there is a node."""
    node = slurm("sinfo", "--noheader", "--format=%n")
    slurm("scontrol", "update", f"nodename={node}", "state=down", "reason=tested")
    slurm("scontrol", "update", f"nodename={node}", "state=resume")


@pytest.mark.parametrize("disturb", [cancel, take_node])
def test_training_goes_on_to_the_same_bits(undisturbed, disturb):
    """From where the job ended, with its weights, curves and evaluation."""
    folder, name = undisturbed.parents[2], disturb.__name__
    run = folder / name / "acdc" / undisturbed.name
    process = training(folder, name)
    while not list(run.glob("checkpoints/*.pt")):  # until an epoch is over
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.1)
    disturb(slurm("squeue", "--noheader", "--states=running", "--format=%i"))

    assert process.wait() == 0
    sessions = json.loads((run / "run.json").read_text())["sessions"]
    assert len(sessions) == 2
    assert 1 < sessions[1]["epochs"][0] <= EPOCHS
    assert_same_training(undisturbed, run, "model.pt", f"checkpoints/epoch_{EPOCHS:04}.pt")
    for file in ("validation.csv", "evaluation/cases.csv", "evaluation/bins.npz"):
        assert (run / file).read_bytes() == (undisturbed / file).read_bytes()
