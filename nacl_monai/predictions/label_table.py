"""The names of label values, as 3D Slicer and ITK-SNAP read them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.colors import to_rgb

from nacl_monai.files import write_text
from nacl_monai.predictions.channels import Channels
from nacl_monai.reports.style import class_color

ITK_SNAP, SLICER = "labels.txt", "labels.ctbl"
_ITK_SNAP_HEAD = """\
################################################
# ITK-SnAP Label Description File
# File format:
# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL
################################################
"""


def write_label_tables(folder: Path, channels: Channels) -> list[Path]:
    """Writes ``labels.txt`` (ITK-SNAP's label descriptions) and ``labels.ctbl`` (Slicer's color table).

    Args:
        folder: Of the files.
        channels: What the values of label maps mean; a value of several structures has all their names.

    Returns:
        The paths.

    Raises:
        InputError: If they cannot be written.
    """
    names = label_names(channels)
    rows = [
        (value, name, *_color(k), int(value > 0)) for k, (value, name) in enumerate(names.items())
    ]
    snap = [
        f'{value:5d} {r:5d} {g:4d} {b:4d} {seen:8d} {seen:2d} {seen:2d}    "{name}"'
        for value, name, r, g, b, seen in rows
    ]
    slicer = [
        f"{value} {name.replace(' ', '_')} {r} {g} {b} {255 * seen}"
        for value, name, r, g, b, seen in rows
    ]
    head = f"# Color table file {SLICER}\n# {len(names)} values\n"
    return [
        write_text(folder / ITK_SNAP, _ITK_SNAP_HEAD + "\n".join(snap) + "\n"),
        write_text(folder / SLICER, head + "\n".join(slicer) + "\n"),
    ]


def label_names(channels: Channels) -> Mapping[int, str]:
    """The name of every value of a label map, in their order.

    Example:
        >>> label_names(Channels("sigmoid", {"whole": (1, 2), "tail": (2,)}, ignore=3))
        {0: 'background', 1: 'whole', 2: 'whole + tail', 3: 'ignore'}
    """
    names = {
        value: " + ".join(name for name, of in channels.values.items() if value in of)
        for value in sorted({0} | channels.label_values)
    }
    names[0] = names[0] or "background"
    if channels.ignore is not None:
        names[channels.ignore] = "ignore"
    return {value: name.replace('"', "'") for value, name in names.items()}


def _color(index: int) -> tuple[int, int, int]:
    red, green, blue = (round(255 * part) for part in to_rgb(class_color(index)))
    return red, green, blue
