"""The table of what can go wrong names a test for everything, and the tests are there."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs/reliability.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and "::" in line]


def functions_in(file):
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split(" | ")[0].strip("| "))
def test_tests_of_the_table_are_there(row):
    """Each row has a fault, what a user sees, and at least one test that exists."""
    fault, seen, names = row.strip("| ").split(" | ")
    named = names.split("<br>")

    assert fault
    assert seen
    for name in named:
        file, test = re.fullmatch(r"`([\w/]+\.py)::(test_\w+)`", name).groups()
        assert test in functions_in(file), name


def test_every_row_of_the_table_has_a_test():
    """No row is without one."""
    assert len(ROWS) == len(re.findall(r"^\| (?!---|what can)", PAGE, re.MULTILINE)) > 30
