"""Checks that what a bundle declares of its classes agrees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nacl_monai.errors import SettingError

_MOST_CLASSES = 256


def check_label_classes(classes: Sequence[str], label_values: Sequence[Sequence[int]]) -> None:
    """Checks that every class has its values on disk, and an index that fits into a byte, as labels do.

    Args:
        classes: Names of all classes, background first.
        label_values: For each class, the values on disk that become it.

    Raises:
        SettingError: If two classes have one name, or they differ in number, or are too many.
    """
    if not isinstance(classes, list) or len({*map(str, classes)}) < len(classes):
        raise SettingError(f"classes: are {classes}; write a list of names, each once")
    if len(classes) > _MOST_CLASSES:
        raise SettingError(
            f"classes: are {len(classes)}, and labels are kept in bytes; declare at most {_MOST_CLASSES}"
        )
    if len(label_values) != len(classes):
        raise SettingError(
            f"classes: names {len(classes)} ({', '.join(classes)}), but label_values has the values of "
            f"{len(label_values)} classes; set both alike"
        )


def check_structures(classes: Sequence[str], structures: Any) -> None:
    """Checks that every structure is of classes that are there, as an evaluation needs them.

    Args:
        classes: Names of all classes, background first.
        structures: What should be the indices of the classes of each structure.

    Raises:
        SettingError: If it is something else.
    """
    if not isinstance(structures, dict):
        raise SettingError(
            f"structures: are {structures}; write for each name a list of places in `classes`"
        )
    for name, indices in structures.items():
        if not _are_places(indices, len(classes)):
            raise SettingError(
                f"structures: {name} is of the classes {indices}; write a list of places in `classes`, "
                f"from 0 to {len(classes) - 1}, each once"
            )


def _are_places(indices: Any, number: int) -> bool:
    """Whether these are distinct whole numbers below another, at least one."""
    if not isinstance(indices, list) or not all(type(index) is int for index in indices):
        return False
    return 0 < len(indices) == len({*indices} & {*range(number)})


def check_official_cases(number: Any) -> None:
    """Checks how many cases the official download should have.

    Raises:
        SettingError: If it is not a whole number from 1.
    """
    if type(number) is not int or number < 1:
        raise SettingError(f"official_cases: is {number}; write how many cases there are")
