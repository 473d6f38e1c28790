"""The page of what is promised is made of names of tests, all of which are there."""

import runpy
from pathlib import Path

RELIABILITY = runpy.run_path(str(Path(__file__).parents[1] / ".ci/reliability.py"))


def test_page_is_made_from_the_names_of_tests():
    """``python .ci/reliability.py`` writes it anew."""
    assert RELIABILITY["PAGE"].read_text(encoding="utf-8") == RELIABILITY["page"]()


def test_each_sentence_is_a_test():
    """That is there, and is named once."""
    known = {*RELIABILITY["names"]()}
    held = [name for names in RELIABILITY["HELD"].values() for name in names.split()]
    assert not {*held} - known
    assert len(held) == len({*held}) > 100


def test_page_is_short():
    """Whoever has to trust the package reads it whole."""
    assert len(RELIABILITY["page"]().split()) <= 1600
