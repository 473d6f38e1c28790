"""The workflow is the working directory's or the package's; a profile is one of its own or a folder."""

import re
import shutil
from pathlib import Path

import pytest

from nacl_monai.errors import InputError
from nacl_monai.paper.workflow import copy_workflow, snakemake_words, workflow_folder
from tests.conftest import ROOT


def value(words, option):
    return words[words.index(option) + 1]


@pytest.fixture(autouse=True)
def empty(tmp_path, monkeypatch):
    """A working directory with nothing in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_copy_takes_the_place_of_the_packages_workflow(empty):
    """With its rules and profiles, and it is never written over."""
    assert workflow_folder() == ROOT / "workflow"
    assert copy_workflow() == workflow_folder()
    copied, own = (
        {file.relative_to(root) for file in (root / "workflow").rglob("*")}
        for root in (empty, ROOT)
    )
    assert copied == own
    with pytest.raises(InputError, match="^workflow: is there already"):
        copy_workflow()


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
    monkeypatch.setattr("nacl_monai.paper.workflow.shipped", lambda _: installed)

    copied = copy_workflow()

    assert all(path.stat().st_mode & 0o200 for path in (copied, *copied.rglob("*")))
    for path in (installed, *filter(Path.is_dir, installed.rglob("*"))):
        path.chmod(0o755)


def test_copy_that_cannot_be_written_is_one_line(monkeypatch):
    """It has no option that would name another folder."""
    monkeypatch.setattr("nacl_monai.files.mkstemp", lambda **_: Path("nowhere/x").touch())

    with pytest.raises(InputError, match=r"^workflow/.*: cannot be written \(No such file .*\); "):
        copy_workflow()


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
    known = re.escape("slurn; choose from: kubernetes, local, slurm, smoke, or name a folder")
    with pytest.raises(InputError, match=f"^--profile: there is no {known}$"):
        snakemake_words("slurn", {})


def test_targets_come_before_options_that_take_all_words_behind_them():
    """As --config and --forcerun do; a setting without a value is none."""
    words = snakemake_words(
        "local", {"datasets": "acdc kits", "losses": ""}, ["table1", "--dry-run"]
    )

    assert words[:2] == ["table1", "--dry-run"]
    assert words[words.index("--config") :] == ["--config", "datasets=acdc kits"]
    assert "--config" not in snakemake_words("local", {"datasets": ""})


def test_configuration_of_the_user_joins_the_settings():
    """Snakemake heeds the last --config and the last --forcerun alone."""
    words = snakemake_words(
        "local", {"datasets": "acdc"}, config=["train_arguments=--lr 1"], forcerun=["training"]
    )

    assert words[words.index("--config") :] == [
        "--config",
        "datasets=acdc",
        "train_arguments=--lr 1",
    ]
    assert words[words.index("--forcerun") :][:3] == ["--forcerun", "render", "training"]
    alone = snakemake_words("local", {}, config=["threads=2"])
    assert alone[alone.index("--config") :] == ["--config", "threads=2"]


def test_key_that_is_set_twice_is_refused():
    """Neither is taken without a word."""
    line = "^--config datasets: is set by --datasets, too; leave one of them out$"
    with pytest.raises(InputError, match=line):
        snakemake_words("local", {"datasets": "acdc"}, config=["datasets=kits"])
    with pytest.raises(InputError, match="^--config threads: is set twice; leave one of them out$"):
        snakemake_words("local", {}, config=["threads=2", "seeds=1", "threads=3"])
