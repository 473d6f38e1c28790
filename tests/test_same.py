"""Equality to the bit is asked through one helper, which can fail, and with a reason."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.same import TOLERANCES, same_bits, same_values

TESTS = Path(__file__).parent
BARE = re.compile(
    r"\b(?:torch|np|numpy)\.equal\b|array_equal|array_equiv|testing\.assert_equal"
    r"|rtol=0(?:\.0)?, atol=0(?:\.0)?\b(?!\.)|rel=0, abs=0\b(?!\.)|check_exact|\.equals\("
    r"|assert (?:all\()?\(+[^=]* == [a-z_][\w.]*[^)]*\)+\.all\(\)"
)
NEXT = np.nextafter(np.float32(0.8), np.float32(1))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (NEXT, np.float32(0.8)),
        (np.float64(0.8), np.float32(0.8)),
        (torch.full((2,), 0.8), torch.tensor(0.8)),
        ({"a": NEXT}, {"a": np.float32(0.8)}),
        ({"a": NEXT}, {"a": NEXT, "b": NEXT}),
    ],
    ids=["last digit", "dtype", "shape", "value of a key", "key"],
)
def test_bits_that_differ_are_told(found, expected):
    """In a digit, in their type, shape or names; equal ones pass, and an error says why they must be."""
    same_bits(expected, expected, "one object")
    with pytest.raises(AssertionError):
        same_bits(found, expected, "they were written so")
    with pytest.raises(AssertionError):
        same_bits(expected, expected, "")


def test_values_are_whole():
    """Of any type; a float is for `same_bits` or for a tolerance, even where it is equal."""
    same_values(torch.tensor([1.0, 2.0]), np.array([1, 2], np.uint8))
    same_values([True, False], [1, 0])
    same_values(["a"], ["a"])
    with pytest.raises(AssertionError, match="not equal"):
        same_values([1, 2], [1, 3])
    with pytest.raises(AssertionError, match="floats: see `same_bits`"):
        same_values([0.5], [0.5])


def test_no_other_test_asks_for_bits():
    """What compares floats has a tolerance, or goes through the helper."""
    files = set(TESTS.rglob("*.py")) - {TESTS / "same.py", Path(__file__)}
    bare = [
        f"{file.relative_to(TESTS)}:{number}"
        for file in sorted(files)
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if BARE.search(line)
    ]

    assert len(files) > 200
    assert BARE.search("assert torch.equal(a, b)")
    assert BARE.search("assert (image.affine == other.affine).all()")
    assert not BARE.search("assert_close(a, b, rtol=0, atol=0.01)")
    assert not BARE.search("assert (gradient == 0).all()")
    assert bare == []


def unexplained(text):
    """The lines of statements with a tolerance that is neither usual nor explained in a comment."""
    lines = text.splitlines()
    for statement in ast.walk(ast.parse(text)):
        if not isinstance(statement, ast.stmt) or hasattr(statement, "body"):
            continue
        keywords = [node for node in ast.walk(statement) if isinstance(node, ast.keyword)]
        values = [k.value for k in keywords if k.arg in ("rtol", "atol", "rel", "abs")]
        usual = all(getattr(value, "value", None) in TOLERANCES for value in values)
        if not usual and "#" not in "".join(lines[statement.lineno - 2 : statement.end_lineno]):
            yield statement.lineno


def test_each_tolerance_has_its_reason():
    """It is of the table, or a comment in its statement or the line before says why."""
    assert list(unexplained("\n\nassert x == approx(1, rel=0.2)")) == [3]
    assert not list(unexplained("\n# Chance.\nassert x == approx(1, rel=0.2)"))
    assert not list(unexplained("\n\nassert x == approx(1, rel=1e-12)"))
    files = sorted(TESTS.rglob("*.py"))
    bare = [f"{file}:{line}" for file in files for line in unexplained(file.read_text("utf-8"))]
    assert bare == []
