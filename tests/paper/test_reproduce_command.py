"""``nacl-monai reproduce`` runs the workflow with Snakemake."""

import os
import re
import shutil
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from nacl_monai.cli import main
from nacl_monai.errors import InputError
from nacl_monai.paper import reproduce_command as command
from nacl_monai.paper.reproduce_command import copy_workflow, snakemake_words, workflow_folder
from tests.conftest import ROOT
from tests.test_makefile import AWKWARD


@pytest.fixture
def given(monkeypatch):
    """The words of each call of Snakemake, which need not be installed."""
    calls = []
    package, cli = ModuleType("snakemake"), ModuleType("snakemake.cli")
    cli.main = calls.append
    monkeypatch.setattr(command, "find_spec", lambda name: ModuleSpec(name, None))
    monkeypatch.setattr(os, "environ", dict(os.environ))
    for name, module in (("snakemake", package), ("snakemake.cli", cli)):
        monkeypatch.setitem(sys.modules, name, module)
    return calls


def test_other_words_are_snakemakes_in_their_order(given):
    """Lists may be words of one, as make has them."""
    words = ["table1", "figure2", "--cores", "4", "--seeds", "0", "1", "--losses", "nacl svls"]
    assert main(["reproduce", *words, "-n"]) == 0

    (called,) = given
    assert called[:5] == ["table1", "figure2", "--cores", "4", "-n"]
    assert called[called.index("--config") + 1 :] == ["losses=nacl svls", "seeds=0 1"]


def test_configuration_of_the_user_is_not_lost(given):
    """Beside what narrows the grid, as often as it is given, by either name."""
    words = ["table1", "--config", "threads=2", "--seeds", "1", "-R", "experiment"]
    assert main(["reproduce", *words, "-C", "train_arguments=--max_epochs 5"]) == 0

    (called,) = given
    config = ["seeds=1", "threads=2", "train_arguments=--max_epochs 5"]
    assert called[called.index("--config") + 1 :] == config
    assert called.count("--config") == called.count("--forcerun") == 1
    assert called[called.index("--forcerun") + 1 :][:2] == ["render", "experiment"]


def test_folders_go_by_the_environment(given):
    """Snakemake reads what is given to it as YAML, in which a path may mean something else."""
    assert main(["reproduce", "--data_dir", f"/{AWKWARD}", "--runs", AWKWARD]) == 0

    assert (os.environ["NACL_DATA_DIR"], os.environ["NACL_RUNS"]) == (f"/{AWKWARD}", AWKWARD)
    assert "--config" not in given[0]


def test_missing_snakemake_is_one_line_with_the_extra(monkeypatch, capsys):
    """Before anything is done."""
    monkeypatch.setattr(command, "find_spec", lambda _: None)

    assert main(["reproduce", "table1"]) == 1
    line = "error: snakemake: is not installed; pip install 'snakemake>=9'"
    assert capsys.readouterr().err.startswith(line)


def value(words, option):
    return words[words.index(option) + 1]


@pytest.fixture(autouse=True)
def empty(tmp_path, monkeypatch):
    """A working directory with nothing in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_copy_takes_the_place_of_the_packages_workflow(empty, capsys):
    """With its rules and profiles, and it is never written over."""
    assert workflow_folder() == ROOT / "workflow"
    assert main(["reproduce", "--copy"]) == 0
    assert capsys.readouterr().out == "wrote workflow\n"
    assert workflow_folder() == Path("workflow")
    copied, own = (
        {file.relative_to(root) for file in (root / "workflow").rglob("*")}
        for root in (empty, ROOT)
    )
    assert copied == own
    assert main(["reproduce", "--copy"]) == 1
    assert capsys.readouterr().err.startswith("error: workflow: is there already")


def test_workflow_of_another_project_is_left_alone(empty):
    """Whoever uses Snakemake has a folder of the same name."""
    (empty / "workflow/rules").mkdir(parents=True)
    (empty / "workflow/Snakefile").touch()

    assert workflow_folder() == ROOT / "workflow"


def test_copy_of_a_package_that_nobody_may_write_can_be_changed(empty, monkeypatch):
    """As on a cluster, where the package is installed for all."""
    installed = shutil.copytree(ROOT / "workflow", empty / "installed")
    for path in (*installed.rglob("*"), installed):
        path.chmod(path.stat().st_mode & ~0o222)
    monkeypatch.setattr("nacl_monai.paper.reproduce_command.shipped", lambda _: installed)

    copied = copy_workflow()

    assert all(path.stat().st_mode & 0o200 for path in (copied, *copied.rglob("*")))
    for path in (installed, *filter(Path.is_dir, installed.rglob("*"))):
        path.chmod(0o755)


def test_profile_is_found_by_its_name_or_is_a_folder(empty):
    """A name is one of the workflow's before it is a folder's."""
    (empty / "slurm").mkdir()
    (empty / "mine").mkdir()
    found = {
        name: value(snakemake_words(name, {}), "--workflow-profile") for name in ("slurm", "mine")
    }

    assert found == {
        "slurm": str(ROOT / "workflow/profiles/slurm"),
        "mine": str((empty / "mine").resolve()),
    }
    known = re.escape("slurn; choose from: local, slurm, smoke, or name a folder")
    with pytest.raises(InputError, match=f"^--profile: there is no {known}$"):
        snakemake_words("slurn", {})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data_dir", "a", "-C", "data_dir=b"], "data_dir: is set by --data_dir, too"),
        (["--datasets", "acdc", "-C", "datasets=kits"], "datasets: is set by --datasets, too"),
        (["-C", "threads=2", "seeds=1", "threads=3"], "threads: is set twice"),
    ],
)
def test_key_that_is_set_twice_is_refused(given, capsys, words, said):
    """Neither is taken without a word."""
    assert main(["reproduce", "table1", *words]) == 2
    assert capsys.readouterr().err == f"error: --config {said}; leave one of them out\n"
    assert not given
