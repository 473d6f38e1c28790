"""``nacl-monai demo``: its words and its errors."""

import pytest

from nacl_monai.cli import main
from nacl_monai.demo import __main__ as command


@pytest.fixture
def planned(monkeypatch):
    """The plans that would have been carried out."""
    plans = []
    monkeypatch.setattr("nacl_monai.demo.running.run", plans.append)
    monkeypatch.setattr(command.signal, "signal", lambda *_: None)
    return plans


def test_words_become_a_plan(planned, tmp_path):
    """Those that are not of the demo are of its trainings."""
    words = ["--dataset", "kits", "--dataset_dir", str(tmp_path), "--max_epochs", "1"]
    assert main(["demo", *words, "--output", "here"]) == 0

    (plan,) = planned
    assert (plan.dataset, plan.folder, plan.output.name) == ("kits", tmp_path, "here")
    assert plan.training == ["--max_epochs", "1"]


def test_output_may_be_where_one_is(planned, tmp_path, monkeypatch):
    """By its name, which what is moved aside takes on."""
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--output", "."]) == 0

    assert planned[0].output == tmp_path


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (["--dataset", "kits"], 1, "kits: comes without data; name their folder: --dataset_dir"),
        (["--dataset_dir", "nowhere"], 1, "nowhere: no such folder; name that of the"),
        (["--max_epoch", "1"], 2, "--max_epoch: there is no such key"),
        (["hippocampus"], 2, "hippocampus: is not an option, nor the value of one"),
    ],
)
def test_fault_is_one_line(words, code, line, capsys, monkeypatch, tmp_path):
    """Nothing is made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command.signal, "signal", lambda *_: None)

    assert main(["demo", *words]) == code
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {line}")
    assert printed.count("\n") == 1
    assert not list(tmp_path.iterdir())
