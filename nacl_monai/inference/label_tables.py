"""The names and colors of label values, as ITK-SNAP and 3D Slicer read them."""

from __future__ import annotations

import re
from collections.abc import Mapping

#: ITK-SNAP's label descriptions, and 3D Slicer's color table.
ITK_SNAP, SLICER = "labels.txt", "labels.ctbl"
#: The colors of the background, and of the classes behind it, which begin anew after the last.
BACKGROUND = (178, 178, 178)
COLORS = (
    *((204, 121, 167), (240, 228, 66), (0, 114, 178), (230, 159, 0)),
    *((0, 158, 115), (86, 180, 233), (213, 94, 0)),
)
_ITK_SNAP_HEAD = """\
################################################
# ITK-SnAP Label Description File
# File format:
# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL
################################################
"""
_ITK_SNAP_ROW = re.compile(r'\s*(\d+)\s.*"(.*)"\s*')


def label_tables(names: Mapping[int, str]) -> dict[str, str]:
    """``labels.txt``, ITK-SNAP's label descriptions, and ``labels.ctbl``, 3D Slicer's color table.

    Args:
        names: The name of every value of a label map, first that of the background, which is invisible.

    Returns:
        The text of each file.

    Example:
        >>> print(label_tables({0: "background", 1: "left atrium"})["labels.ctbl"])
        # Color table file labels.ctbl
        # 2 values
        0 background 178 178 178 0
        1 left_atrium 204 121 167 255
        <BLANKLINE>
    """
    rows = [
        (value, name.replace('"', "'"), *_color(k), int(value > 0))
        for k, (value, name) in enumerate(names.items())
    ]
    snap = [
        f'{value:5d} {r:5d} {g:4d} {b:4d} {seen:8d} {seen:2d} {seen:2d}    "{name}"\n'
        for value, name, r, g, b, seen in rows
    ]
    slicer = [
        f"{value} {'_'.join(name.split())} {r} {g} {b} {255 * seen}\n"
        for value, name, r, g, b, seen in rows
    ]
    head = f"# Color table file {SLICER}\n# {len(names)} values\n"
    return {ITK_SNAP: _ITK_SNAP_HEAD + "".join(snap), SLICER: head + "".join(slicer)}


def names_in(text: str) -> dict[int, str]:
    """The name of every label value in ITK-SNAP's label descriptions; other lines count for nothing.

    Args:
        text: The text of a ``labels.txt``.

    Example:
        >>> names_in(label_tables({0: "background", 1: "left atrium"})["labels.txt"])
        {0: 'background', 1: 'left atrium'}
    """
    rows = map(_ITK_SNAP_ROW.fullmatch, text.splitlines())
    return {int(row[1]): row[2] for row in rows if row}


def _color(index: int) -> tuple[int, int, int]:
    return BACKGROUND if index == 0 else COLORS[(index - 1) % len(COLORS)]
