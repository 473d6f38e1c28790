"""The command line: table on the terminal, files in the folder, or one line on stderr."""

import pandas as pd
import pytest

from nacl_monai.reports.__main__ import main


def pictures(*stems):
    return {f"{stem}.{suffix}" for stem in stems for suffix in ("png", "svg")}


@pytest.mark.parametrize(
    ("args", "files"),
    [
        (["compare"], {"comparison.md", "comparison.csv", *pictures("reliability", "maps")}),
        (["draw reliability"], pictures("reliability_foreground_top-1")),
        (["draw reliability", "--region", "all", "--class", "LV"], pictures("reliability_all_LV")),
        (["draw selective", "--regions", "all"], {"selective.csv", *pictures("selective")}),
        (["draw logits"], pictures("logits", "logit_histogram")),
    ],
)
def test_files_are_written_and_announced(folders, tmp_path, capsys, args, files):
    """They are named by region and class; a line for each tells where it is."""
    command, *options = args
    output = tmp_path / "report"

    code = main([*command.split(), *map(str, folders), "--output", str(output), *options])

    printed = capsys.readouterr()
    assert (code, printed.err) == (0, "")
    assert {path.name for path in output.glob("[!.]*")} == files
    assert all(f"wrote {output / name}" in printed.out for name in files)


def test_comparison_is_printed_and_written(folders, tmp_path, capsys):
    """By the names that are given."""
    options = ["--output", str(tmp_path), "--names", "CE + Dice", "NACL"]

    assert main(["compare", *map(str, folders), *options]) == 0

    printed = capsys.readouterr().out
    table = pd.read_csv(tmp_path / "comparison.csv", index_col="method")
    assert table.index.tolist() == ["CE + Dice", "NACL"]
    assert "CE + Dice" in printed
    assert f"{table.loc['NACL', 'ece_foreground']:.3f}" in printed
    assert "**" in (tmp_path / "comparison.md").read_text(encoding="utf-8")


#: The file, or the folder, that a command misses, and what it says of that.
MISSING = [
    (
        "compare",
        "evaluation",
        "nacl: no folder 'evaluation' in this run; run `make evaluate` first",
    ),
    ("compare", "evaluation/bins.npz", "bins.npz: no such file; run `make evaluate` first"),
    ("compare", "evaluation/maps/004.npz", "004.npz: no such file; run `make evaluate` first"),
    ("draw logits", "evaluation/logits.npz", "logits.npz: no such file; run `make evaluate` first"),
    (
        "draw logits",
        "logit_histogram.npz",
        "logit_histogram.npz: no such file; train the run again",
    ),
]


@pytest.fixture
def refusal(tmp_path, capsys):
    """The line on stderr with which a command ends that writes nothing."""

    def run(command, folders, *options):
        output = tmp_path / "report"
        code = main([*command.split(), *map(str, folders), "--output", str(output), *options])
        printed = capsys.readouterr()
        assert (code, printed.out) == (1, "")
        assert printed.err.count("\n") == 1
        assert not output.exists()
        return printed.err

    return run


@pytest.mark.parametrize(("command", "name", "message"), MISSING)
def test_missing_file_is_one_line_and_nothing_is_written(copies, refusal, command, name, message):
    """The line names the file, and says how it is made."""
    (copies[1] / name).rename(copies[1] / "old")
    options = ["--case", "004"] if command == "compare" else []

    line = refusal(command, copies, *options)

    assert line.startswith(f"error: {copies[1]}")
    assert line.endswith(f"{message}\n")


@pytest.mark.parametrize(
    ("command", "option", "value"),
    [
        ("draw reliability", "--region", "edge"),
        ("draw reliability", "--class", "aorta"),
        ("draw selective", "--regions", "edge"),
    ],
)
def test_unknown_region_or_class_is_one_line(folders, refusal, command, option, value):
    """It names those to choose from."""
    assert f"{value!r}; choose from" in refusal(command, folders, option, value)
