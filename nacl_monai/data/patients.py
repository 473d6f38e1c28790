"""Whose case it is: the patient, by a case's name."""

from __future__ import annotations

from nacl_monai.errors import InputError


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
