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


def test_reliability_of_any_region_and_class(folders, tmp_path, capsys):
    """The files are named by them."""
    folders = [str(folder) for folder in folders]
    options = ["--region", "all", "--class", "LV", "--output", str(tmp_path), "--names", "a", "b"]

    assert main(["reliability", *folders, *options]) == 0
    assert main(["reliability", *folders, "--output", str(tmp_path)]) == 0

    stems = ("reliability_all_LV", "reliability_foreground_top-1")
    assert {path.name for path in tmp_path.glob("[!.]*")} == {
        f"{stem}.{suffix}" for stem in stems for suffix in ("png", "svg")
    }
    assert capsys.readouterr().out.count("wrote ") == 4


@pytest.mark.parametrize(("option", "value"), [("--region", "edge"), ("--class", "aorta")])
def test_unknown_region_or_class_is_one_line(folders, tmp_path, capsys, option, value):
    """It names those to choose from."""
    code = main(["reliability", str(folders[0]), "--output", str(tmp_path), option, value])

    error = capsys.readouterr().err
    assert code == 1
    assert f"{value!r}; choose from" in error
    assert error.count("\n") == 1


def test_comparison_is_printed_and_written(folders, tmp_path, capsys):
    """The table is printed, and a line for each file tells where it is."""
    output = tmp_path / "report"

    code = main(
        ["compare", *map(str, folders), "--output", str(output), "--names", "CE + Dice", "NACL"]
    )

    printed = capsys.readouterr()
    assert (code, printed.err) == (0, "")
    assert {path.name for path in output.glob("[!.]*")} == FILES
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
def test_bad_input_is_one_line_and_nothing_is_written(copies, tmp_path, capsys, damage, words):
    """The line is on stderr and names the file; the exit code is 1."""
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


def test_output_that_is_a_file_is_one_line(folders, tmp_path, capsys):
    """An output that cannot be a folder ends the same way."""
    (tmp_path / "file").write_text("")

    code = main(["compare", str(folders[0]), "--output", str(tmp_path / "file")])

    error = capsys.readouterr().err
    assert code == 1
    assert error.count("\n") == 1
    assert "/file: is not a folder; choose another --output" in error


def test_command_without_runs_shows_the_usage():
    """The exit code is that of argparse."""
    with pytest.raises(SystemExit, match="2"):
        main(["compare", "--output", "x"])


class TestLogits:
    def test_both_figures_are_announced(self, folders, tmp_path, capsys):
        """The files are written, and a line each tells where."""
        code = main(["logits", *map(str, folders), "--output", str(tmp_path), "--names", "a", "b"])

        printed = capsys.readouterr()
        assert (code, printed.err) == (0, "")
        names = {
            f"{stem}.{end}" for stem in ("logits", "logit_histogram") for end in ("png", "svg")
        }
        assert {path.name for path in tmp_path.glob("[!.]*")} == names
        assert all(f"wrote {tmp_path / name}" in printed.out for name in names)

    @pytest.mark.parametrize(
        ("file", "remedy"),
        [
            ("evaluation/logits.npz", "make evaluate"),
            ("logit_histogram.npz", "train the run again"),
        ],
    )
    @pytest.mark.parametrize("content", [None, b"", "shape"])
    def test_unusable_file_is_one_line(
        self, copies, change_arrays, tmp_path, capsys, file, remedy, content
    ):
        """Missing, damaged or misshapen: the line names it, and nothing is written."""
        path = copies[1] / file
        if content == "shape":
            change_arrays(path, lambda arrays: arrays.update(counts=arrays["counts"][:-1]))
        else:
            path.unlink()
            path.write_bytes(content) if content is not None else None
        output = tmp_path / "report"

        code = main(["logits", *map(str, copies), "--output", str(output)])

        error = capsys.readouterr().err
        assert code == 1
        assert error.startswith(f"error: {path}: ")
        assert error.count("\n") == 1
        assert remedy in error or "evaluate the run again" in error
        assert not output.exists()
