"""The command line: every exhibit by its name, and all of them."""

import json

import pandas as pd
import pytest

from nacl_monai.paper import EXHIBITS
from nacl_monai.paper.__main__ import main


def test_datasets_losses_and_seeds_narrow_an_exhibit(grid, tmp_path, capsys):
    """The manifest keeps the words."""
    words = ["--datasets", "acdc", "--losses", "nacl", "dice_ce", "--seeds", "0"]

    assert main(["table2", str(grid), "--output", str(tmp_path), *words]) == 0

    table = pd.read_csv(tmp_path / "table2.csv")
    assert (set(table["dataset"]), set(table["method"])) == ({"acdc"}, {"nacl", "dice_ce"})
    assert set(table["seeds"]) == {1}
    assert " ".join(words) in json.loads((tmp_path / "table2.json").read_text())["command"]
    assert capsys.readouterr().out.count("wrote ") == 9


def test_error_is_one_line(tmp_path, capsys):
    """Without runs nothing is written."""
    assert main(["figure9", str(tmp_path), "--output", str(tmp_path / "out")]) == 1

    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_output_that_cannot_be_written_is_one_line(grid, tmp_path, capsys):
    """It names the file."""
    (tmp_path / "file").write_text("")

    assert main(["table3", str(grid), "--output", str(tmp_path / "file")]) == 1
    error = capsys.readouterr().err
    assert str(tmp_path / "file") in error
    assert error.count("\n") == 1


def test_help_lists_every_exhibit_with_its_title(capsys, monkeypatch):
    """And the commands that write several."""
    monkeypatch.setenv("COLUMNS", "300")
    with pytest.raises(SystemExit):
        main(["--help"])
    text = " ".join(capsys.readouterr().out.split())

    for name, exhibit in EXHIBITS.items():
        assert f"{name}: {exhibit.title}" in text
    for name in ("all", "report"):
        assert f" {name} " in text
