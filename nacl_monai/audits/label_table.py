"""The names of label values, as 3D Slicer and ITK-SNAP read them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nacl_monai.audits.channels import Channels
from nacl_monai.files import write_text
from nacl_monai.inference.label_tables import label_tables


def write_label_tables(folder: Path, channels: Channels) -> list[Path]:
    """Writes ``labels.txt`` (ITK-SNAP's label descriptions) and ``labels.ctbl`` (Slicer's color table).

    Args:
        folder: The files' folder.
        channels: What the values of label maps mean; a value of several structures has all their names.

    Returns:
        The paths.

    Raises:
        InputError: If they cannot be written.
    """
    texts = label_tables(label_names(channels))
    return [write_text(folder / name, text) for name, text in texts.items()]


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
    return names
