"""A finished run is found by what was chosen for it."""

import os
import shutil
from pathlib import Path

import pytest

from nacl_monai.bundles.export import newest_run
from nacl_monai.errors import InputError


@pytest.fixture
def add(run):
    """Adds a run to those of the dataset, newer than all before; returns its folder."""
    stamp = (run / "model.pt").stat().st_mtime

    def copy(name, seconds=1):
        other = Path(shutil.copytree(run, run.parent / name))
        os.utime(other / "model.pt", (stamp + seconds, stamp + seconds))
        return other

    return copy


def newest(run):
    return newest_run(run.parents[1], "hippocampus", "unet", "nacl").name


def test_newest_run_of_a_choice_is_taken_whatever_its_seed(run, add):
    """Age counts, not the seed's number; seeds may have several digits."""
    add("unet_nacl_seed12", seconds=2)
    add("unet_nacl_seed3", seconds=1)

    assert newest(run) == "unet_nacl_seed12"


def test_run_of_a_seed_is_taken_though_another_is_newer(run, add):
    """Whoever names the seed wants that run; one that is not there is named."""
    add("unet_nacl_seed1")
    of = (run.parents[1], "hippocampus", "unet", "nacl")

    assert newest_run(*of, seed=0).name == "unet_nacl_seed0"
    with pytest.raises(InputError, match="hippocampus/unet_nacl_seed10: no finished training"):
        newest_run(*of, seed=10)


@pytest.mark.parametrize(
    "name",
    [
        "unet_ecp_seed0",
        "attention_unet_nacl_seed0",
        "unet_nacl_penalty_weight=0.2_seed0",
        "unet_nacl_fold=1_seed0",
        "unet_nacl_seed0.previous",
        "unet_nacl",
    ],
)
def test_runs_of_other_choices_are_passed_over(run, add, name):
    """Another loss, network or setting is another choice."""
    add(name)

    assert newest(run) == "unet_nacl_seed0"


@pytest.mark.parametrize(("finished", "name"), [("false", "seed0"), ("true", "seed1")])
def test_unfinished_runs_are_passed_over(run, add, finished, name):
    """A run whose record does not say `finished` may still be training."""
    (add("unet_nacl_seed1") / "run.json").write_text(f'{{"finished": {finished}}}')

    assert newest(run) == f"unet_nacl_{name}"


def test_run_without_a_model_is_passed_over(run, add):
    """There is nothing to export yet."""
    (add("unet_nacl_seed1") / "model.pt").unlink()

    assert newest(run) == "unet_nacl_seed0"


@pytest.mark.parametrize("runs", ["runs", "nowhere"])
def test_no_run_is_one_line_with_the_remedy(run, runs):
    """The line has the folder that was looked for, and how to name another."""
    with pytest.raises(InputError) as caught:
        newest_run(run.parents[2] / runs, "hippocampus", "attention_unet", "nacl")

    assert str(caught.value) == (
        f"{run.parents[2]}/{runs}/hippocampus/attention_unet_nacl_seed*: no finished training there; "
        "train first, or name a run: --run DIR (make: RUN=DIR)"
    )
