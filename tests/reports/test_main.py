"""The command line: table on the terminal, files in the folder, or one line on stderr."""

import pandas as pd
import pytest

from nacl_monai.reports.__main__ import main

FILES = {
    "comparison.md",
    "comparison.csv",
    "reliability.png",
    "reliability.svg",
    "maps.png",
    "maps.svg",
}


def test_reliability(folders, tmp_path, capsys):
    """Any region and any class by name; the files are named by them."""
    folders = [str(folder) for folder in folders]
    options = ["--region", "all", "--class", "LV", "--output", str(tmp_path), "--names", "a", "b"]

    assert main(["reliability", *folders, *options]) == 0
    assert main(["reliability", *folders, "--output", str(tmp_path)]) == 0

    stems = ("reliability_all_LV", "reliability_foreground_top-1")
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{stem}.{suffix}" for stem in stems for suffix in ("png", "svg")
    }
    assert capsys.readouterr().out.count("wrote ") == 4


@pytest.mark.parametrize(("option", "value"), [("--region", "edge"), ("--class", "aorta")])
def test_unknown_region_or_row(folders, tmp_path, capsys, option, value):
    """An unknown name is one line with those to choose from."""
    code = main(["reliability", str(folders[0]), "--output", str(tmp_path), option, value])

    error = capsys.readouterr().err
    assert code == 1
    assert f"{value!r}; choose from" in error
    assert error.count("\n") == 1


def test_compare(folders, tmp_path, capsys):
    """The table is printed, the files are written, and it says where they are."""
    output = tmp_path / "report"

    code = main(
        ["compare", *map(str, folders), "--output", str(output), "--names", "CE + Dice", "NACL"]
    )

    printed = capsys.readouterr()
    assert (code, printed.err) == (0, "")
    assert {path.name for path in output.iterdir()} == FILES
    assert all(f"wrote {output / name}" in printed.out for name in FILES)
    assert "CE + Dice" in printed.out
    table = pd.read_csv(output / "comparison.csv", index_col="method")
    assert table.index.tolist() == ["CE + Dice", "NACL"]
    assert f"{table.loc['NACL', 'ece_foreground']:.3f}" in printed.out
    assert "**" in (output / "comparison.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "evaluation").rename(folder / "old"), ["make evaluate"]),
        (lambda folder: (folder / "evaluation/bins.npz").unlink(), ["bins.npz", "make evaluate"]),
        (
            lambda folder: (folder / "evaluation/cases.csv").write_text("case,dice\n1,0.5\n"),
            ["ece_foreground"],
        ),
        (lambda folder: (folder / "evaluation/maps/004.npz").unlink(), ["004.npz"]),
    ],
)
def test_bad_input(copies, tmp_path, capsys, damage, words):
    """Bad input is one line on stderr that names the file; exit code 1; nothing is written."""
    damage(copies[1])
    output = tmp_path / "report"

    code = main(["compare", *map(str, copies), "--output", str(output), "--case", "004"])

    printed = capsys.readouterr()
    assert (code, printed.out) == (1, "")
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert str(copies[1]) in printed.err
    assert all(word in printed.err for word in words)
    assert not output.exists()


def test_output_that_is_a_file(folders, tmp_path, capsys):
    """An output that cannot be a folder is one line, too."""
    (tmp_path / "file").write_text("")

    code = main(["compare", str(folders[0]), "--output", str(tmp_path / "file")])

    error = capsys.readouterr().err
    assert code == 1
    assert error.count("\n") == 1
    assert "file/comparison.md: cannot be written" in error


def test_no_run():
    """A command without runs shows the usage."""
    with pytest.raises(SystemExit, match="2"):
        main(["compare", "--output", "x"])
