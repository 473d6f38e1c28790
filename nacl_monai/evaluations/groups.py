"""Groups of patients, by a table and by the predicted volume: does a number hold for mine?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from nacl_monai.errors import InputError, check_no_formula
from nacl_monai.files import check_unique, read_table

#: Name of a group → patient → value.
Groups = Mapping[str, Mapping[str, str]]
PREDICTED_VOLUME = "predicted volume"
_MOST = 20  # values that make groups, at most
_UNKNOWN = "unknown"
_KEYS = ("case", "patient")
_REMEDY = "write the column case or patient, and others, such as site"


def read_groups(table: Path | None, patients: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The groups of a CSV file with the column case, or patient, and others, such as site.

    Args:
        table: None for no group.
        patients: Case → patient.

    Returns:
        Column → patient → value; a cell without a value is "unknown".

    Raises:
        InputError: If it cannot be read, lacks a case, has two values for a patient, or a column with so
            many values that these are no groups.
    """
    if table is None:
        return {}
    rows = read_table(table, [], _REMEDY)
    key = next((key for key in _KEYS if key in rows), "")
    names = [name for name in rows if name not in _KEYS]
    if not (key and names):
        raise InputError(f"{table}: is not a table of groups; {_REMEDY}")
    check_unique(table, rows, [key])
    return {
        name: _group(table, name, dict(zip(rows[key], rows[name], strict=True)), patients, key)
        for name in names
    }


def _group(
    table: Path, name: str, values: Mapping[str, str], patients: Mapping[str, str], key: str
) -> dict[str, str]:
    """The value of each patient in one column."""
    found: dict[str, str] = {}
    for case, patient in patients.items():
        asked = case if key == "case" else patient
        if asked not in values:
            raise InputError(f"{table}: lacks the {key} {asked!r}; add it")
        value = values[asked] or _UNKNOWN
        if found.setdefault(patient, value) != value:
            raise InputError(
                f"{table}: the patient {patient!r} has two values of {name}, {found[patient]!r} and "
                f"{value!r}, and can be in one group alone; leave one"
            )
    if len(set(found.values())) > _MOST:
        raise InputError(
            f"{table}: {name} has more than {_MOST} values, which are no groups; leave the column out"
        )
    check_no_formula(table, [name, *found.values()])
    return dict(sorted(found.items(), key=lambda item: item[1]))


def thirds(volumes: npt.ArrayLike, patients: Sequence[str]) -> dict[str, str]:
    """The third of the predicted volume that each patient is in, by the mean over their cases.

    Args:
        volumes: Of each case in ml.
        patients: The patient of each.

    Example:
        >>> thirds([1.0, 3.0, 1.0, 3.0], ["a", "a", "b", "c"])
        {'b': 'smallest third, to 1 ml', 'a': 'middle third, to 2 ml', 'c': 'largest third, to 3 ml'}
        >>> thirds([1, 5, 2, 4, 6, 7], ["a", "a", "b", "c", "d", "e"])["a"]
        'smallest third, to 3 ml'
    """
    means = pd.Series(volumes).groupby(list(patients)).mean().sort_values(kind="stable")
    parts = zip(("smallest", "middle", "largest"), np.array_split(means.index, 3), strict=True)
    return {
        str(patient): f"{which} third, to {means[part[-1]]:.3g} ml"
        for which, part in parts
        for patient in part
    }
