"""What pages of results show, and the files that they are made of."""

import csv
from functools import cache
from pathlib import Path

RESULTS = Path(__file__).parents[2] / "docs/results"


@cache
def rows_of(path):
    """The rows of a CSV file, as text."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def table_behind(page, heading, part=0):
    """The cells of each row of the first table of a page behind a heading."""
    table = page.split(heading)[1].split("\n\n")[part].strip().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]
