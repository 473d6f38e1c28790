"""A case: an image with its label, and the patient to whom both belong, where that is known.

A case names its files as MONAI's transforms expect them; splits are made by patient.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePath
from typing import NoReturn, TypedDict

from nacl_monai.errors import InputError

# Begins with a letter, so that the numbers of a DICOM series and "1.5mm" are not an ending.
_ENDING = re.compile(r"\.[A-Za-z]\w{0,4}(\.gz)?$")


class _Files(TypedDict):
    case: str
    image: str | list[str]  # a file, or one per modality, stacked as channels in this order
    label: str


class Case(_Files, total=False):
    """An image with its label, and the patient whom the split follows.

    Without ``patient``, nobody knows whether two cases are of one person: the split follows the
    cases, and tables count cases instead of patients.
    """

    patient: str


def split_unit(case: Case) -> str:
    """Returns what the split follows: the patient of a case, or its own name where nobody knows."""
    return case.get("patient", case["case"])


def raise_fault(fault: InputError) -> NoReturn:
    """Ends the search at the first fault."""
    raise fault


ReportFault = Callable[[InputError], object]


def image_files(case: Case) -> list[str]:
    """Returns the files of a case's image, one per modality."""
    return [case["image"]] if isinstance(case["image"], str) else case["image"]


def names_by_path(files: Sequence[str]) -> list[str]:
    """The names of files without ending, behind as many of their folders as tell them apart.

    Example:
        >>> names_by_path(["/data/p1/t1.nii.gz", "/data/p2/t1.nii.gz"])
        ['p1_t1', 'p2_t1']
    """
    paths = [PurePath(_ENDING.sub("", file)) for file in files]
    places = [path.parts[bool(path.anchor) :] for path in paths]
    names = ["" for _ in files]
    for depth in range(1, max(map(len, places), default=0) + 1):
        names = ["_".join(place[-depth:]) for place in places]
        if len(set(names)) == len(set(places)):
            break
    return names


def make_case(
    name: str, image: Path | Sequence[Path], label: Path, patient: str | None = None
) -> Case:
    """Makes a case from its files; without ``patient``, nobody knows whose it is."""
    case: Case = {
        "case": name,
        "image": str(image) if isinstance(image, Path) else list(map(str, image)),
        "label": str(label),
    }
    return case if patient is None else {**case, "patient": patient}


def keep_complete(cases: Iterable[Case], report_fault: ReportFault) -> list[Case]:
    """The cases whose files are all there, under names that can be written; others are reported."""
    complete = []
    for case in cases:
        faults = _faults_of_files(case)
        for fault in faults:
            report_fault(fault)
        if not faults:
            complete.append(case)
    return complete


def _faults_of_files(case: Case) -> list[InputError]:
    """What is wrong with the files of a case, whatever they hold."""
    images = image_files(case)
    misnamed = fault_of_name("".join([*images, case["label"], split_unit(case)]), images[0])
    if misnamed is not None:
        return [misnamed]
    faults = [
        InputError(f"{file}: missing image; unpack the dataset again")
        for file in images
        if not Path(file).is_file()
    ]
    if not Path(case["label"]).is_file():
        faults.append(InputError(f"{images[0]}: has no label; expected it at {case['label']}"))
    return faults


def fault_of_name(names: str, file: str) -> InputError | None:
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
