"""The tables of what is promised name tests for everything, and the tests are there."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs/reliability.md").read_text(encoding="utf-8")
ROWS = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if "`test_" in line]


def test_tests_of_the_tables_are_there():
    """Each row has a promise, and at least one test that exists."""
    files = (file.read_text(encoding="utf-8") for file in TESTS.rglob("test_*.py"))
    known = {name for text in files for name in re.findall(r"^def (test_\w+)", text, re.MULTILINE)}

    assert len(ROWS) == len(re.findall(r"^\| (?!---|promise)", PAGE, re.MULTILINE)) > 30
    for promise, names in ROWS:
        named = {name.strip("`") for name in names.split("<br>")}
        assert promise
        assert named <= known, named - known


def test_page_is_short():
    """Whoever has to trust the package reads it whole."""
    assert len(PAGE.split()) <= 900
