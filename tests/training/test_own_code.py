"""A run records the user's modules that it computes with, and says which have changed since."""

import hashlib
import json

import pytest

from nacl_monai.runs import RunFolder
from nacl_monai.training.run_folder import changed_code, own_code, warn_of_changed_code


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Writes a module of the user's; returns its checksum."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, text="VALUE = 1\n"):
        (tmp_path / f"{name}.py").write_text(text)
        return hashlib.sha256(text.encode()).hexdigest()

    return write


def test_modules_of_classes_imports_and_what_they_import_are_recorded(mine):
    """At any depth of the configuration; nothing else that is there."""
    sums = {
        name: mine(name, text)
        for name, text in {
            "mine_nets": "import mine_parts\n",
            "mine_parts": "A = 1\n",
            "mine_steps": "B = 2\n",
            "mine_tools": "C = 3\n",
            "mine_others": "D = 4\n",
        }.items()
    }
    config = {
        "imports": ["$import glob", "$import mine_tools as tools", "$from mine_missing import x"],
        "network_def": {"_target_": "mine_nets.Net", "in_channels": 1},
        "preprocessing": [{"_target_": "Compose", "transforms": [{"_target_": "mine_steps.A.b"}]}],
        "optimizer": {"_target_": "torch.optim.Adam"},
        "folder": "mine_others.txt",
        "value": "$@folder",
    }

    assert own_code(config) == {name: sums[name] for name in sums if name != "mine_others"}


def test_configuration_of_installed_classes_has_no_own_code():
    """And MONAI's names have no module."""
    config = {"a": {"_target_": "UNet"}, "b": {"_target_": "nacl_monai.losses.NACLLoss"}}

    assert own_code(config) == {}


def test_changed_modules_are_named_and_missing_ones_not(mine):
    """What is gone cannot compute anything; whoever needs it says so."""
    recorded = {"mine_a": mine("mine_a"), "mine_b": mine("mine_b"), "mine_gone": "0" * 64}
    assert changed_code(recorded) == []

    mine("mine_b", "VALUE = 2\n")
    assert changed_code(recorded) == ["mine_b"]


def test_warning_names_the_modules_and_the_run(mine, tmp_path, capsys):
    """One line; without changes, or a record of them, nothing."""
    run = RunFolder(tmp_path / "run")
    record = json.loads(json.dumps({"own_code": {"mine_a": mine("mine_a")}}))
    warn_of_changed_code(run, record)
    warn_of_changed_code(run, {})
    assert capsys.readouterr() == ("", "")

    mine("mine_a", "VALUE = 2\n")
    warn_of_changed_code(run, record)
    assert capsys.readouterr().err == (
        f"warning: mine_a: has changed since {run.path} was trained, and may compute something else "
        "now; put it back, or train anew\n"
    )
