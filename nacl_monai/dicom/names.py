"""What the classes are called, and the codes that DICOM has for them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nacl_monai.errors import InputError
from nacl_monai.inference.saving import ITK_SNAP, names_in

_LONGEST = 64  # characters of a segment's label
#: DICOM's lists of what can be segmented, and the category that each is of.
_LISTS = {"AnatomicalStructure": 7192, "MorphologicallyAbnormalStructure": 7194}


class Property(NamedTuple):
    """What a segment is, in codes of pydicom's dictionary.

    Attributes:
        category: Such as anatomical structure.
        kind: Such as liver.
        generic: Whether DICOM's lists have no such name, so that both are tissue.
    """

    category: Any
    kind: Any
    generic: bool


def class_names(file: Path) -> list[str]:
    """The classes of a map, background first, by the nearest ``labels.txt`` beside or above it.

    Raises:
        InputError: If there is none, or if it is not one that inference writes.
    """
    tables = [folder / ITK_SNAP for folder in file.absolute().parents]
    table = next((table for table in tables if table.is_file()), None)
    if table is None:
        raise InputError(
            f"{file}: no {ITK_SNAP} beside it names its classes; name them: --names background …"
        )
    names = names_in(table.read_text(encoding="utf-8", errors="replace"))
    if len(names) < 2 or list(names) != list(range(len(names))):
        raise InputError(
            f"{table}: does not name classes 0, 1, …; name those of {file}: --names background …"
        )
    return list(names.values())


def check_names(names: Sequence[str]) -> None:
    """Checks that every class but the background can be a segment.

    Raises:
        InputError: If there is none, or if DICOM does not take a name.
    """
    if len(names) < 2:
        raise InputError("--names: has no class beside the background; give all, background first")
    for name in names[1:]:
        if not name.strip() or len(name) > _LONGEST or "\\" in name:
            raise InputError(
                f"--names: {name!r} is not a name in DICOM; give at most {_LONGEST} characters, "
                "and no \\"
            )


def property_of(name: str) -> Property:
    r"""What a class is: the code of its name in DICOM's lists of what can be segmented, or tissue.

    Example:
        >>> property_of("left ventricle").kind.meaning
        'Left ventricle'
        >>> property_of("PZ")[1:]
        (Code(value='85756007', scheme_designator='SCT', meaning='Tissue', scheme_version=None), True)
    """
    from pydicom.sr.codedict import codes  # noqa: PLC0415 - an extra
    from pydicom.sr.coding import Code  # noqa: PLC0415

    plain = re.sub(r"[\W_]", "", name).lower()
    for category, number in _LISTS.items():
        listed = getattr(codes, f"CID{number}")
        words = [keyword for keyword in dir(listed) if keyword.lower() == plain]
        found = [
            code for code in (getattr(listed, word) for word in words) if isinstance(code, Code)
        ]
        if found:
            return Property(getattr(codes.SCT, category), found[0], False)
    return Property(codes.SCT.Tissue, codes.SCT.Tissue, True)
