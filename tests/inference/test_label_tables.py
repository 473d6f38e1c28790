"""Viewers find the names and colors of the classes."""

import re

from matplotlib.colors import to_rgb

from nacl_monai.inference.label_tables import label_tables
from nacl_monai.reports.style import class_color

NAMES = {0: "background", 1: "RV", 2: 'the "left" one', **{k: f"c{k}" for k in range(3, 10)}}


def test_colors_are_those_of_the_figures():
    """Which this package, copied into bundles, cannot import; more classes than colors begin anew."""
    rows = label_tables(NAMES)["labels.ctbl"].splitlines()[2:]

    for value, row in enumerate(rows):
        expected = [round(255 * part) for part in to_rgb(class_color(value))]
        assert [int(part) for part in row.split()[2:5]] == expected


def test_both_files_have_every_value_with_its_name():
    """Slicer's names have no blanks, ITK-SNAP's no quotes; the background alone is invisible."""
    tables = label_tables(NAMES)
    slicer = [line.split() for line in tables["labels.ctbl"].splitlines()[2:]]
    snap = re.findall(
        r'^\s*(\d+)(?:\s+\d+){3}\s+(\d)\s+\d\s+\d\s+"([^"]*)"$', tables["labels.txt"], re.MULTILINE
    )

    assert [int(row[0]) for row in slicer] == [int(row[0]) for row in snap] == list(NAMES)
    assert [row[1] for row in slicer][:3] == ["background", "RV", "the_'left'_one"]
    assert [row[2] for row in snap][:3] == ["background", "RV", "the 'left' one"]
    assert [int(row[5]) for row in slicer] == [0, *[255] * 9]
    assert [int(row[1]) for row in snap] == [0, *[1] * 9]
