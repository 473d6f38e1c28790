"""Checks that what a bundle declares of its classes agrees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nacl_monai.errors import SettingError

_MOST_CLASSES = 256


def check_label_classes(classes: Sequence[str], label_values: Sequence[Sequence[int]]) -> None:
    """Checks that every class has its values on disk, and an index that fits into a byte, as labels do.

    Args:
        classes: Names of all classes, background first.
        label_values: For each class, the values on disk that become it.

    Raises:
        SettingError: If they differ in number, or are too many.
    """
    if len(classes) > _MOST_CLASSES:
        raise SettingError(
            f"classes: are {len(classes)}, and labels are kept in bytes; declare at most {_MOST_CLASSES}"
        )
    if len(label_values) != len(classes):
        raise SettingError(
            f"classes: names {len(classes)} ({', '.join(classes)}), but label_values has the values of "
            f"{len(label_values)} classes; set both alike"
        )


def check_structures(classes: Sequence[str], structures: Mapping[str, Any]) -> None:
    """Checks that every structure is of classes that are there, as an evaluation needs them.

    Args:
        classes: Names of all classes, background first.
        structures: For each structure, what should be the indices of its classes.

    Raises:
        SettingError: If one is not.
    """
    for name, indices in structures.items():
        if not (isinstance(indices, list) and {*indices} <= {*range(len(classes))}):
            raise SettingError(
                f"structures: {name} is of the classes {indices}; write a list of places in `classes`, "
                f"from 0 to {len(classes) - 1}"
            )
