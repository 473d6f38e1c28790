"""All progress bars look alike, and only one process shows them."""

import sys

import ignite.distributed as idist
import pytest

from nacl_monai.progress import progress_bar


def test_items_come_through_in_order():
    """The bar hands on what it counts."""
    assert list(progress_bar(iter("abc"), description="Letters", unit="letter")) == ["a", "b", "c"]


def test_bar_says_what_is_counted(capsys):
    """Description, unit and number are on standard error; standard output stays free."""
    with progress_bar(description="Training", unit="slice", total=3) as bar:
        bar.update(3)

    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Training: 100%" in printed.err
    assert "3/3" in printed.err
    assert "slice" in printed.err


@pytest.mark.parametrize(("terminal", "seconds"), [(True, 0.1), (False, 30.0)])
def test_file_gets_a_line_every_half_minute(monkeypatch, terminal, seconds):
    """A terminal's bar moves ten times a second; a log grows by a line in 30 seconds."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)

    assert progress_bar([1], description="a", unit="b").mininterval == seconds


@pytest.mark.parametrize(("rank", "silent"), [(0, False), (1, True), (2, True)])
def test_first_process_alone_shows_it(monkeypatch, rank, silent):
    """Every other process counts in silence."""
    monkeypatch.setattr(idist, "get_rank", lambda: rank)

    assert progress_bar([1], description="a", unit="b").disable is silent
