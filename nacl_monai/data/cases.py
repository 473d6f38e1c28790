"""A case: an image with its label, and the patient to whom both belong, where that is known.

A case names its files as MONAI's transforms expect them; splits are made by patient.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import NoReturn, TypedDict

from nacl_monai.errors import InputError

#: How far apart two files may put a voxel, in mm; files written by different tools differ by rounding.
AFFINE_TOLERANCE = 0.01
# Begins with a letter, so that the numbers of a DICOM series and "1.5mm" are not an ending.
ENDING = re.compile(r"\.[A-Za-z]\w{0,4}(\.gz)?$")


class _Files(TypedDict):
    case: str
    image: str | list[str]  # a file, or one per modality, stacked as channels in this order
    label: str


class LabeledCase(_Files, total=False):
    """An image with its label, and the patient whom the split follows.

    Without ``patient``, nobody knows whether two cases are of one person: the split follows the
    cases, and tables count cases instead of patients.
    """

    patient: str


def split_unit(case: LabeledCase) -> str:
    """Returns what the split follows: the patient of a case, or its own name where nobody knows."""
    return case.get("patient", case["case"])


def names_of(case: LabeledCase) -> set[str]:
    """The names of a case and its patient in tables."""
    return {case["case"], split_unit(case)}


def raise_fault(fault: InputError) -> NoReturn:
    """Ends the search at the first fault."""
    raise fault


ReportFault = Callable[[InputError], object]


@contextmanager
def reported(report_fault: ReportFault) -> Iterator[None]:
    """Reports a fault that the block raises, and goes on behind it."""
    try:
        yield
    except InputError as fault:
        report_fault(fault)


def image_files(case: LabeledCase) -> list[str]:
    """Returns the files of a case's image, one per modality."""
    return [case["image"]] if isinstance(case["image"], str) else case["image"]


def names_by_path(files: Sequence[str]) -> list[str]:
    """The names of files without ending, behind as many of their folders as tell them apart.

    Example:
        >>> names_by_path(["/data/p1/t1.nii.gz", "/data/p2/t1.nii.gz"])
        ['p1_t1', 'p2_t1']
    """
    paths = [PurePath(ENDING.sub("", file)) for file in files]
    places = [path.parts[bool(path.anchor) :] for path in paths]
    names = ["" for _ in files]
    for depth in range(1, max(map(len, places), default=0) + 1):
        names = ["_".join(place[-depth:]) for place in places]
        if len(set(names)) == len(set(places)):
            break
    return names


def make_case(
    name: str, image: Path | Sequence[Path], label: Path, patient: str | None = None
) -> LabeledCase:
    """Makes a case from its files; without ``patient``, nobody knows whose it is."""
    images = str(image) if isinstance(image, Path) else list(map(str, image))
    case: LabeledCase = {"case": name, "image": images, "label": str(label)}
    return case if patient is None else {**case, "patient": patient}


def fault_of_encoding(names: str, file: str) -> InputError | None:
    """The fault of names that are not UTF-8, as the tables and configurations are that hold them.

    Args:
        names: As the operating system gave them.
        file: The file to name.
    """
    try:
        names.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(file).decode(errors="backslashreplace")
        return InputError(f"{shown}: its name is not UTF-8; rename it")
    return None


def distance(text: str) -> float:
    """The word of a command that is a distance: finite, and 0 or more.

    Raises:
        ValueError: If it is not one.

    Example:
        >>> distance("0.5")
        0.5
    """
    number = float(text)
    if not 0 <= number < math.inf:
        raise ValueError(text)
    return number
