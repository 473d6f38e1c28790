"""Who the patients are, and who of them trains, validates and tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nacl_monai.data.cases import Case, split_unit
from nacl_monai.data.formats import Description
from nacl_monai.data.given_splits import complete_split, split_by_folds
from nacl_monai.data.new.choice import Choice, Options
from nacl_monai.data.patients import patients_of
from nacl_monai.data.splits import split_patients
from nacl_monai.errors import InputError

PROPORTIONS = {"train": 70, "val": 10, "test": 20}
_FUNCTIONS = "nacl_monai.data"


def choose_cases(description: Description, cases: Sequence[Case], options: Options) -> Choice:
    """How the cases are found, and the patient of each; the cases get theirs.

    Raises:
        InputError: If a case has no patient by the rule that is given.
    """
    names = [case["case"] for case in cases]
    people = patients_of(names, options.patient_pattern, options.patients)
    for case, patient in zip(cases, people, strict=False):
        case["patient"] = patient
    why, rule = _rule(options, dict(zip(names, people, strict=False)))
    of = {"patient_of": {"_mode_": "callable", **rule}} if rule else {}
    return Choice(
        f"{len(cases)} labeled cases in {description.format}. {why}",
        {"cases": {**description.cases, **of}, "official_cases": len(cases)},
    )


def _rule(options: Options, patient_of: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """What tells the patient of a case: the reason and the function, if any."""
    number = len(set(patient_of.values()))
    if options.patients is not None:
        return (
            f"Their {number} patients are those of {options.patients.name}",
            {
                "_target_": f"{_FUNCTIONS}.patient_by_table",
                # As pairs, since MONAI would make a component of a mapping with a case "_target_".
                "patients": [[case, patient] for case, patient in patient_of.items()],
            },
        )
    if patient_of:
        return (
            f"Their {number} patients are in their names",
            {"_target_": f"{_FUNCTIONS}.patient_by_pattern", "pattern": options.patient_pattern},
        )
    return "Nobody says whose they are, so each counts as a patient", {}


def choose_split(description: Description, cases: Sequence[Case]) -> Choice:
    """Who trains, validates and tests; what a training would refuse is refused here.

    Official test and validation sets and folds are kept, and the rest is drawn.

    Raises:
        InputError: If a patient is in two sets or folds, or in an official set with some cases alone, or
            there are too few patients.
    """
    unit_of = {case["case"]: split_unit(case) for case in cases}
    units = [*unit_of.values()]
    given = {part: _units(description, names, unit_of) for part, names in description.sets.items()}
    for part, names in description.sets.items():
        _check_apart(description, part, names, unit_of)
    if description.folds and "val" not in given:
        folds = [_units(description, fold, unit_of) for fold in description.folds]
        return _by_folds(units, folds, given.get("test", []))
    if not given:
        return _at_random(units)
    choice = _around_sets(units, given)
    lost = ". The folds are left out, since who validates is given" if description.folds else ""
    return choice._replace(why=choice.why + lost)


def _at_random(units: Sequence[str]) -> Choice:
    split_patients(units, PROPORTIONS, 0)
    return Choice(
        "No sets are given: 70, 10 and 20 % train, validate and test, drawn by split_seed",
        {"split_proportions": dict(PROPORTIONS), "draw_split": "@random_split"},
    )


def _around_sets(units: Sequence[str], given: Mapping[str, Sequence[str]]) -> Choice:
    proportions = {part: size for part, size in PROPORTIONS.items() if part not in given}
    complete_split(units, given, proportions, 0)
    return Choice(
        f"The official sets are kept ({', '.join(given)}); the others are drawn by split_seed",
        {
            "split_proportions": proportions,
            "official_sets": given,
            "draw_split": {
                "_target_": f"{_FUNCTIONS}.complete_split",
                "_mode_": "callable",
                "given": "@official_sets",
                "proportions": "@split_proportions",
                "seed": "@split_seed",
            },
        },
    )


def _by_folds(units: Sequence[str], folds: list[list[str]], test: list[str]) -> Choice:
    for fold in range(len(folds)):
        split_by_folds(units, folds, fold, test)
    why = (
        "the fold validates, the others train, and the official test set is tested"
        if test
        else "the fold is tested, the next one validates, and the others train"
    )
    return Choice(
        f"One of {len(folds)} official folds, from 0: {why}",
        {
            "folds": len(folds),
            "fold": 0,
            "official_folds": folds,
            "official_test": test,
            "split_proportions": PROPORTIONS,
            "draw_split": {
                "_target_": f"{_FUNCTIONS}.split_by_folds",
                "_mode_": "callable",
                "folds": "@official_folds",
                "fold": "@fold",
                "test": "@official_test",
            },
        },
    )


def _units(description: Description, names: Sequence[str], unit_of: Mapping[str, str]) -> list[str]:
    """The patients of some cases, or the cases where nobody knows them."""
    for name in names:
        if name not in unit_of:
            raise InputError(
                f"{description.source.parent}: a set or fold names the case {name}, which is not there; "
                "correct it"
            )
    return sorted({unit_of[name] for name in names})


def _check_apart(
    description: Description, part: str, names: Sequence[str], unit_of: Mapping[str, str]
) -> None:
    """Refuses an official set that its patients would enlarge by their other cases."""
    case_of = {unit_of[name]: name for name in names}
    for name, unit in unit_of.items():
        if unit in case_of and name not in names:
            raise InputError(
                f"{description.source.parent}: the patient {unit} is in the official set {part} with "
                f"the case {case_of[unit]}, but not with {name}; remove one of the cases, or correct "
                "the patients"
            )
