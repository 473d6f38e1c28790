"""A case: an image with its label, and the patient to whom both belong, where that is known.

A case names its files as MONAI's transforms expect them; splits are made by patient, whom the name
of the case or a table tells.
"""

from __future__ import annotations

import math
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import NoReturn, TypedDict

from nacl_monai.errors import InputError, SettingError, check_no_formula
from nacl_monai.files import read_table

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


_REMEDY = "write a table with the columns case and patient"
_STEM = re.compile(r"(.*\d.*)[ _.-]+[^ _.-]*$")


def one_case_per_patient(case: str) -> str:
    """The patient of a case where every patient has one: named like the case."""
    return case


def hippocampus_patient(case: str) -> str:
    """The patient of a volume of the Decathlon's Task04, in which volumes are single hippocampi.

    Numbers 2k - 1 and 2k are the two sides of person k: wherever both images are stored as floats,
    they share the intensity step of one scan, and the neighbors 2k and 2k + 1 never do.

    Raises:
        InputError: If the name does not end in ``_<number>``.

    Example:
        >>> hippocampus_patient("hippocampus_003"), hippocampus_patient("hippocampus_004")
        ('person_002', 'person_002')
    """
    number = case.rpartition("_")[2]
    if not number.isdecimal():
        raise InputError(f"{case}: has no number; name volumes as Task04 does, hippocampus_001")
    return f"person_{(int(number) + 1) // 2:03d}"


def patient_by_pattern(case: str, pattern: str) -> str:
    r"""The patient of a case whose name says it, see `patients_of`.

    Example:
        >>> patient_by_pattern("patient001_ED", pattern=r"(patient\d+)_")
        'patient001'
    """
    return patients_of([case], pattern)[0]


def patient_by_table(case: str, patients: Mapping[str, str] | Iterable[list[str]]) -> str:
    """The patient of a case by a table.

    Args:
        case: The case's name.
        patients: The patient of each case, by name, or pairs of both. In a configuration only pairs are
            safe: MONAI makes a component of a mapping with the key ``_target_``.

    Raises:
        InputError: If the table lacks the case.

    Example:
        >>> patient_by_table("b", patients=[["a", "p1"], ["b", "p2"]])
        'p2'
    """
    patient_of = dict(patients)
    if case not in patient_of:
        raise InputError(
            f"{case}: has no patient in `patient_of`; add it there, or remove the case"
        )
    return patient_of[case]


def alike_in_two_sets(sets: Iterable[Iterable[str]]) -> tuple[str, str] | None:
    """Two cases of different sets whose names begin as those of one person do, if there are any.

    The beginning is all but the last part of a name, and has a number. Where five cases and more begin
    alike, on average, it is rather that of a hospital.

    Example:
        >>> alike_in_two_sets([["p01_left", "p02_left"], ["p01_right"]])
        ('p01_left', 'p01_right')
        >>> alike_in_two_sets([["case_01"], ["case_02"]])
    """
    begin: dict[str, list[tuple[int, str]]] = {}
    for number, name in ((number, name) for number, names in enumerate(sets) for name in names):
        if match := _STEM.match(name):
            begin.setdefault(match[1], []).append((number, name))
    if sum(map(len, begin.values())) >= 5 * len(begin):
        return None
    for (first, name), *rest in begin.values():
        for number, other in rest:
            if number != first:
                return name, other
    return None


def pattern_of_several(cases: Sequence[str]) -> str | None:
    r"""A pattern of the patients, where names look like several cases of each and nobody says.

    As in `alike_in_two_sets`, a name begins with all but its last part, with a number in it. Where two
    cases to four have one beginning, on average, it looks like a patient's.

    Example:
        >>> pattern_of_several(["p001_ED", "p001_ES", "p002_ED", "p002_ES"])
        '(p\\d+)_'
        >>> pattern_of_several(["hippocampus_001", "hippocampus_003", "case_1"])
    """
    found = {case: match[1] for case in cases if (match := _STEM.match(case))}
    stems = set(found.values())
    if not 2 * len(stems) <= len(found) < 5 * len(stems) or len(found) < len({*cases}):
        return None
    first = min(stems)
    behind = next(case for case in cases if found[case] == first)[len(first)]
    any_number = re.sub(r"[0-9]+", lambda _: r"\d+", re.escape(first))
    likely = f"({any_number}){re.escape(behind)}"
    fits = all((match := re.match(likely, case)) and match[1] == found[case] for case in found)
    return likely if fits else r"^(.*\d.*)[ _.-]+[^ _.-]*$"


def patients_of(
    cases: Sequence[str], pattern: str | None = None, table: str | Path | None = None
) -> list[str]:
    r"""The patient of each case; none where nothing says.

    Args:
        cases: Names.
        pattern: A regular expression whose one group is the patient, anywhere in a name.
        table: A CSV file with the columns ``case`` and ``patient``.

    Raises:
        SettingError: If the pattern is not a regular expression with one group, or both are given.
        InputError: If a case has no patient or two, the pattern cuts a number in two, a patient's name
            has two forms of Unicode, or the table cannot be read.

    Example:
        >>> patients_of(["patient001_ED", "patient001_ES"], r"(patient\d+)_")
        ['patient001', 'patient001']
    """
    if pattern is not None and table is not None:
        raise SettingError("--patients: is given beside --patient-pattern; give one of them")
    patients = [] if pattern is None else _by_pattern(cases, pattern)
    if table is not None:
        patients = _by_table(cases, Path(table))
    check_no_formula(table or "--patient-pattern", patients)
    spelled: dict[str, str] = {}
    for patient in patients:
        # Characters of the category Cf have no width.
        seen = "".join(c for c in patient if unicodedata.category(c) != "Cf")
        other = spelled.setdefault(unicodedata.normalize("NFKC", seen), patient)
        if other != patient:
            raise InputError(
                f"{patient}: is a patient in two forms of Unicode, as macOS and others write it, or "
                "with wide digits or blanks, or an invisible character, and would be two people; write "
                "the name in one form"
            )
    return patients


def _by_table(cases: Sequence[str], table: Path) -> list[str]:
    rows = read_table(table, ["case", "patient"], _REMEDY, ["case"])
    patient_of = dict(zip(rows["case"], rows["patient"], strict=True))
    for case in cases:
        if not patient_of.get(case):
            raise InputError(f"{table}: has no patient for the case {case!r}; add it")
    return [patient_of[case] for case in cases]


def _by_pattern(cases: Sequence[str], pattern: str) -> list[str]:
    expression = _compiled(pattern)
    patients, widths, cut = [], set(), ""
    for case in cases:
        match = expression.search(case)
        if match is None or not match[1]:
            raise InputError(f"{case}: does not match --patient-pattern {pattern!r}; correct it")
        patients.append(match[1])
        inside = len(match[1]) - len(match[1].rstrip("0123456789"))
        behind = case[match.end(1) :]
        outside = len(behind) - len(behind.lstrip("0123456789"))
        widths.add(inside + outside)
        cut = case if inside and outside else cut
    if cut and len(widths) > 1:  # p1 and p12 would be one; numbers of one width may hold two
        raise InputError(
            f"{cut}: --patient-pattern {pattern!r} takes a part of its number, and numbers have several "
            r"widths, so that several patients would be one; write \d+ for all of a number"
        )
    return patients


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise SettingError(
            f"--patient-pattern: {pattern!r} is not a regular expression ({error})"
        ) from error
    if expression.groups != 1:
        raise SettingError(
            f"--patient-pattern: {pattern!r} has {expression.groups} groups; put the patient, and "
            r"nothing else, in parentheses: '(patient\d+)_'"
        )
    return expression
