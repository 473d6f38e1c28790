"""``nacl-monai reproduce``: its words become Snakemake's."""

import os
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest

from nacl_monai.cli import main
from nacl_monai.paper import reproduce_command as command
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
    words = [
        "table1",
        "figure2",
        "--cores",
        "4",
        "--seeds",
        "0",
        "1",
        "--losses",
        "nacl svls",
        "-n",
    ]
    assert main(["reproduce", *words]) == 0

    (called,) = given
    assert called[:5] == ["table1", "figure2", "--cores", "4", "-n"]
    assert called[called.index("--config") + 1 :] == ["losses=nacl svls", "seeds=0 1"]


def test_configuration_of_the_user_is_not_lost(given):
    """Beside what narrows the grid, as often as it is given, by either name."""
    words = [
        "table1",
        "--config",
        "threads=2",
        "--seeds",
        "1",
        "-C",
        "train_arguments=--max_epochs 5",
    ]
    assert main(["reproduce", *words, "-R", "experiment"]) == 0

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


def test_copied_workflow_is_named(tmp_path, monkeypatch, capsys):
    """Nothing is run."""
    monkeypatch.chdir(tmp_path)

    assert main(["reproduce", "--copy"]) == 0
    assert capsys.readouterr().out == "wrote workflow\n"
    assert main(["reproduce", "--copy"]) == 1


def test_folder_that_is_set_twice_is_refused(given, capsys):
    """The environment, which hands it over, would win without a word."""
    words = ["table1", "--data_dir", "a", "--config", "data_dir=b"]

    assert main(["reproduce", *words]) == 2
    assert capsys.readouterr().err == (
        "error: --config data_dir: is set by --data_dir, too; leave one of them out\n"
    )
    assert not given
