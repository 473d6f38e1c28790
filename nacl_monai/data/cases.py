"""A case: an image with its label, and the patient to whom both belong, where that is known.

A case names its files as MONAI's transforms expect them; splits are made by patient.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
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


@contextmanager
def reported(report_fault: ReportFault) -> Iterator[None]:
    """Reports a fault that the block raises, and goes on behind it."""
    try:
        yield
    except InputError as fault:
        report_fault(fault)


def image_files(case: Case) -> list[str]:
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


def existing_folder(dataset_dir: str | Path | None) -> Path:
    """Returns the folder of a dataset.

    Raises:
        InputError: If it is not set, or is not there.
    """
    if not dataset_dir:
        raise InputError(
            "dataset_dir is not set; name the unpacked dataset: --dataset_dir DIR "
            "(make: DATASET_DIR=DIR)"
        )
    root = Path(dataset_dir)
    if not root.is_dir():
        raise InputError(f"dataset_dir {root}: no such folder; name the unpacked dataset")
    return root


def other_layout(root: Path, layout: str, remedy: str) -> InputError:
    """Returns the error of a folder in which nothing of a layout is there."""
    return InputError(f"dataset_dir {root}: not {layout}; name {remedy}")


def folders_in_first(root: Path, places: Sequence[str], pattern: str) -> list[Path]:
    """Returns the folders that match ``pattern`` in the first of ``places`` where any does.

    Hidden folders match nothing.
    """
    for place in places:
        folders = sorted(
            path
            for path in (root / place).glob(pattern)
            if path.is_dir() and not path.name.startswith(".")
        )
        if folders:
            return folders
    return []


def pair_by_name(
    images: Path, ending: str, labels: Path, patient_of: Callable[[str], str] | None
) -> list[Case]:
    """Returns a case for each name in a folder of images or one of labels; none if there is no image.

    Hidden files, such as those of macOS, name no case.

    Args:
        images: Folder of the files ``NAME`` + ``ending``.
        ending: What the names of images end with, such as ``"_0000.nii.gz"``.
        labels: Folder of the files ``NAME.nii.gz``.
        patient_of: Gives the patient of a case by its name; None where nobody knows.
    """
    return [
        make_case(
            name,
            images / f"{name}{ending}",
            labels / f"{name}.nii.gz",
            patient_of and patient_of(name),
        )
        for name in sorted(paired_names(images, [ending], labels, ".nii.gz"))
    ]


def paired_names(images: Path, endings: Sequence[str], labels: Path, ending: str) -> set[str]:
    """The names of cases in a folder of images or one of labels; none if there is no image.

    Args:
        images: Folder of the files ``NAME`` + one of ``endings``, such as one per channel.
        endings: What the names of images end with.
        labels: Folder of the files ``NAME`` + ``ending``.
        ending: What the names of labels end with.
    """
    names = {*chain(*(names_in(images, end) for end in endings))}
    return names | names_in(labels, ending) if names else names


def names_in(folder: Path, ending: str) -> set[str]:
    """The names of the files that end so, without the ending; none of hidden ones."""
    paths = folder.glob(f"*{ending}")
    return {path.name.removesuffix(ending) for path in paths if not path.name.startswith(".")}


def distance(text: str) -> float:
    """The word of a command that is a distance: finite, and 0 or more.

    Raises:
        ValueError: If it is none.

    Example:
        >>> distance("0.5")
        0.5
    """
    number = float(text)
    if not 0 <= number < math.inf:
        raise ValueError(text)
    return number
