"""The page of what is promised has the names of tests and their numbers, and nothing else."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
NAMES = [
    name
    for file in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^ *def test_(\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
]
#: How a row of the table begins → where its number is.
NUMBERS = {
    "command lines": ("tests/audits/test_fuzz.py", r'"FUZZ_LINES", "(\d+)"'),
    "chains": ("tests/promises/test_chains.py", r'"CHAINS", "(\d+)"'),
    "walks": ("tests/promises/test_walks.py", r'"WALKS", "(\d+)"'),
    "kills": ("tests/promises/test_report.py", r"for kill in range\((\d+)\)"),
    "points": ("tests/test_output.py", r"(?s)twenty_points.*?output, (\d+)\)"),
    "changes": (".ci/mutants.py", r'"--number", type=int, default=(\d+)'),
}


def test_each_sentence_is_the_name_of_a_test():
    """Once, and there are many."""
    sentences = re.findall(r"^- (.+)\.$", PAGE, re.MULTILINE)
    held = [f"{sentence[0].lower()}{sentence[1:]}".replace(" ", "_") for sentence in sentences]

    assert not {*held} - {*NAMES}
    assert len(held) == len({*held}) > 100


def test_each_number_is_that_of_the_test():
    """And no more tests are claimed than there are."""
    table = re.findall(r"^\| ([\d,]+) \| (command lines|\w+) .+ \|$", PAGE, re.MULTILINE)
    claimed = {what: int(number.replace(",", "")) for number, what in table}
    assert 0.8 * len(NAMES) < claimed.pop("tests") <= len(NAMES)

    assert claimed.keys() == NUMBERS.keys()
    for what, (file, pattern) in NUMBERS.items():
        found = re.findall(pattern, (ROOT / file).read_text(encoding="utf-8"))
        assert {*map(int, found)} == {claimed[what]}, what


def test_page_is_short():
    """Whoever has to trust the package reads it whole."""
    assert len(PAGE.split()) <= 1600
