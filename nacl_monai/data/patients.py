"""The patient of a case, by the case's name or by a table."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from nacl_monai.errors import InputError, SettingError, check_no_formula
from nacl_monai.files import read_table

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
        seen = "".join(
            c for c in patient if unicodedata.category(c) != "Cf"
        )  # others have no width
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
