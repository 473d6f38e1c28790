"""Every command of docs/own_data.md runs as it is printed, and its tables say what the code does."""

import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from nacl_monai.cli import main
from nacl_monai.data.__main__ import _parser
from nacl_monai.data.formats import FORMATS
from tests.own_data import NAMES, nnunet

PAGE = (Path(__file__).parents[1] / "docs/own_data.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)


def commands(block):
    """The words of each line, without its comment."""
    lines = (shlex.split(line, comments=True) for line in block.splitlines())
    return [args for args in lines if args]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a block's commands with /data in a temporary folder, in an empty working directory."""
    data = nnunet(tmp_path / "data/brain")
    shutil.copytree(data / "imagesTr", tmp_path / "data/new")
    for image in sorted((tmp_path / "data/new").iterdir())[1:]:
        image.unlink()
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/people.csv").write_text(
        "case,patient\n" + "".join(f"{name},p{name}\n" for name in NAMES)
    )
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)

    def execute(block, *more):
        for program, command, *args in commands(block):
            assert program == "nacl-monai"
            there = [word.replace("/data", f"{tmp_path}/data") for word in args]
            code = main([command, *there, *(more if command == "train" else ())])
            assert code == 0, command
        return tmp_path

    return execute


@pytest.mark.nightly
def test_six_commands_go_the_whole_way(run):
    """For one epoch, on small data in nnU-Net's raw format."""
    folder = run(BLOCKS[0], "--max_epochs", "1") / "empty"

    assert (folder / "runs/brain/unet_nacl_seed0/evaluation/cases.csv").is_file()
    assert list((folder / "runs/brain/unet_nacl_seed0/predictions").glob("*_label.nii.gz"))
    assert (folder / "dist/brain_unet_nacl/models/model.ts").is_file()


def test_choices_by_hand_are_taken(run):
    """Into a folder of bundles elsewhere."""
    text = (run(BLOCKS[1]) / "data/bundles/scan/configs/dataset.yaml").read_text()

    assert "6 patients are those of people.csv" in text
    assert "a_max: 250.0" in text
    assert "pixdim: [1.0, 1.0, -1.0]" in text


def test_every_block_is_executed():
    """By one of the tests above."""
    assert len(BLOCKS) == 2


def test_every_format_has_its_line():
    """As many as there are."""
    table = PAGE.split("| format | files |")[1].split("\n\n")[0]

    assert table.count("\n|") - 1 == len(FORMATS)


def test_options_of_the_page_are_those_of_the_commands():
    """No option is invented."""
    parsers = next(a for a in _parser()._actions if a.dest == "command").choices
    known = {
        option
        for parser in parsers.values()
        for a in parser._actions
        for option in a.option_strings
    }
    general = {"--fold", "--loss", "--network", "--max_epochs", "--KEY"}

    assert set(re.findall(r"(?<!-)--[a-zA-Z][a-zA-Z_-]+", PAGE)) <= known | general
