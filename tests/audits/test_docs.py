"""What the documentation shows is what the command and the package do."""

import re
from pathlib import Path

from nacl_monai.audits.__main__ import _parser
from nacl_monai.predictions import LAYOUTS

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")


def test_options_of_the_guide_are_those_of_the_command():
    """No option is invented."""
    commands = next(action for action in _parser()._actions if action.dest == "command")
    actions = [action for parser in commands.choices.values() for action in parser._actions]
    known = " ".join(option for action in actions for option in action.option_strings)

    for option in set(re.findall(r"`[^`]*?(--[a-z][a-z_-]+)", GUIDE)) - {
        "--npz",
        "--save_probabilities",
        "--array",  # Slurm's
    }:
        assert option in known, option


def test_every_layout_has_its_line():
    """nnU-Net's has two, for predictions and trainings; files and folders of classes share one."""
    table = GUIDE.split("| what | files |")[1].split("\n\n")[0]

    assert table.count("\n|") - 1 == len(LAYOUTS)
