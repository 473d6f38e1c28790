"""What the documentation shows is what the command and the package do."""

import re
from pathlib import Path

import numpy as np
import pytest

from nacl_monai import read_audit
from nacl_monai.audits import LAYOUTS
from nacl_monai.audits.__main__ import _parser
from tests.audits.conftest import softmax_cases

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", [GUIDE, README], ids=["docs/audit.md", "README.md"])
def test_lines_of_python_run_as_printed(text, tmp_path, monkeypatch, capsys):
    """Five lines, from arrays to a diagram and a file that is the same audit again."""
    block = next(
        code for code in re.findall(r"```python\n(.*?)```", text, re.S) if "audit(" in code
    )
    cases = softmax_cases()
    names = {
        "probs": np.stack([probs for probs, _ in cases.values()]),
        "labels": np.stack([label for _, label in cases.values()]),
    }
    monkeypatch.chdir(tmp_path)
    exec(block, names)

    ece = float(capsys.readouterr().out.split()[0])
    assert ece == names["found"].ece("foreground") == read_audit("bins.npz").ece("foreground")
    assert (tmp_path / "reliability.png").stat().st_size > 10_000


def test_options_of_the_guide_are_those_of_the_command():
    """No option is invented."""
    known = " ".join(action for action in _options())

    for option in set(re.findall(r"`[^`]*?(--[a-z][a-z_-]+)", GUIDE)) - {
        "--npz",
        "--save_probabilities",
    }:
        assert option in known, option


def _options():
    commands = next(action for action in _parser()._actions if action.dest == "command")
    for parser in commands.choices.values():
        for action in parser._actions:
            yield from action.option_strings


def test_every_layout_has_its_line():
    """nnU-Net's has two, for predictions and trainings; files and folders of classes share one."""
    table = GUIDE.split("| what | files |")[1].split("\n\n")[0]

    assert table.count("\n|") - 1 == len(LAYOUTS)
