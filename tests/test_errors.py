"""Texts of files leave the program printable, whatever is in them."""

import io
import re
from contextlib import nullcontext
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tqdm import tqdm

from nacl_monai.audits.command import print_faults
from nacl_monai.cli import print_written
from nacl_monai.errors import InputError, print_error, print_line, printable
from nacl_monai.evaluations.tables import csv_text
from nacl_monai.files import read_table
from nacl_monai.inference.records import text

PACKAGE = Path(__file__).parents[1] / "nacl_monai"
ESCAPE = "\x1b[2J\x1b]0;owned\x07\nline\u202e\u200b"


@given(st.text())
def test_whatever_is_printed_changes_no_screen(value):
    """And what is printable stays as it is."""
    shown = printable(value)
    assert shown.isprintable()
    assert shown == value or not value.isprintable()


@given(st.text(min_size=1))
def test_no_cell_is_a_formula(value):
    """Numbers with a sign are none; everything can be read back but for an apostrophe."""
    shown = printable(value, cell=True)
    assert not shown.startswith(("=", "@"))
    assert not shown.startswith(("+", "-")) or shown[1:].replace(".", "").isdigit()
    assert shown.removeprefix("'") == printable(value).removeprefix("'")


def test_messages_of_files_are_single_lines(capsys):
    """Errors, faults, and names of what was written."""
    print_error(InputError(f"{ESCAPE}: is wrong; correct it"))
    print_faults([InputError(f"{ESCAPE}: is wrong")])
    print_written([ESCAPE])
    captured = capsys.readouterr()
    for lines in (captured.out.splitlines(), captured.err.splitlines()):
        assert all(line.isprintable() for line in lines)
    assert [line.partition(":")[0] for line in captured.err.splitlines()] == ["error", "fault"]
    assert len(captured.out.splitlines()) == 1


def test_tables_for_spreadsheets_have_no_formula():
    """Headings and texts; numbers are numbers."""
    table = pd.DataFrame({"=cmd()": ["+1+1", "@x", ESCAPE, "plain"], "number": [-1.0, 2, 3, 4]})
    found = pd.read_csv(io.StringIO(csv_text(table)))
    assert list(found) == ["'=cmd()", "number"]
    assert found["'=cmd()"].tolist() == ["'+1+1", "'@x", printable(ESCAPE), "plain"]
    assert found["number"].tolist() == [-1, 2, 3, 4]


@pytest.mark.parametrize("cell", ["\x1b[2J", "a\u202eb", "a\x00b", "p\xa01"])
def test_tables_and_records_with_such_texts_are_refused(cell, tmp_path):
    """Groups, patients, pairs and verdicts have one reader; a promise's names one check."""
    file = tmp_path / "t.csv"
    file.write_text(f"case,site\na,{cell}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"t\.csv: ") as error:
        read_table(file, [], "correct it")
    assert printable(error.value) == str(error.value)
    assert not text(cell)
    assert text("plain")


def test_every_warning_and_note_leaves_by_one_way():
    """Whatever text of a file is in it: `print_line` makes it printable."""
    files = {file: file.read_text(encoding="utf-8") for file in PACKAGE.rglob("*.py")}
    direct = re.compile(r"(?:print|\.write)\(\s*f[\"'](warning|note|fault|error): ")
    assert not [str(file) for file, source in files.items() if direct.search(source)]
    assert sum("print_line(" in source for source in files.values()) > 10


def test_lines_are_printable_above_a_progress_bar(capsys):
    """And beside one; a note of an answer goes to the standard output."""
    for bar in (nullcontext(), tqdm(total=2)):
        with bar:
            print_line("warning", f"{ESCAPE}: is wrong")
            print_line("note", f"{ESCAPE}: is so", answer=True)
        out, err = capsys.readouterr()
        assert f"warning: {printable(ESCAPE)}: is wrong\n" in err
        assert out == f"note: {printable(ESCAPE)}: is so\n"
