"""Training, validation and test sets: split by patient, written down, read back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nacl_monai.data.cases import Case
from nacl_monai.errors import InputError
from nacl_monai.files import write_text

Split = dict[str, list[str]]


def split_patients(patients: Sequence[str], proportions: Mapping[str, float], seed: int) -> Split:
    """Draws disjoint sets of patients whose sizes are as near to ``proportions`` as whole numbers go.

    Args:
        patients: Their names; order and repetitions do not matter.
        proportions: Relative size of each set, for instance ``{"train": 70, "val": 10, "test": 20}``.
        seed: The same seed draws the same split from the same patients.

    Returns:
        The sorted names of every set. Every set has at least one patient.

    Raises:
        InputError: There are fewer patients than sets.

    Example:
        >>> split = split_patients([f"p{i}" for i in range(10)], {"train": 7, "val": 1, "test": 2}, 0)
        >>> {name: len(members) for name, members in split.items()}
        {'train': 7, 'val': 1, 'test': 2}
    """
    names = sorted(set(patients))
    if len(names) < len(proportions):
        raise InputError(
            f"{len(names)} patient(s) cannot fill the sets {', '.join(proportions)}; "
            "at least one patient each is needed"
        )
    sizes = _apportion(len(names), np.array(list(proportions.values()), dtype=np.float64))
    order = np.random.default_rng(seed).permutation(len(names))
    parts = np.split(order, np.cumsum(sizes)[:-1])
    return {
        part: sorted(names[index] for index in members)
        for part, members in zip(proportions, parts, strict=True)
    }


def split_cases(
    cases: Sequence[Case], proportions: Mapping[str, float], seed: int, file: str | Path
) -> dict[str, list[Case]]:
    """Splits ``cases`` by patient as ``file`` says, or draws the split and writes it there.

    The file is JSON, ``{"train": ["patient001", …], "val": […], "test": […]}``. One written by hand
    is used as it stands, so this is also how a published split is followed.

    Raises:
        InputError: See :func:`split_patients` and :func:`read_split`.
    """
    if Path(file).is_file():
        return read_split(cases, file)
    split = split_patients([case["patient"] for case in cases], proportions, seed)
    write_text(file, json.dumps(split, indent=2) + "\n")
    return _by_set(cases, split)


def read_split(cases: Sequence[Case], file: str | Path) -> dict[str, list[Case]]:
    """Splits ``cases`` as the JSON ``file`` says; patients it does not name are left out.

    Raises:
        InputError: The file is missing or not a split, puts a patient into two sets, or names one
            that is not among ``cases``.
    """
    file = Path(file)
    if not file.is_file():
        raise InputError(f"{file}: no split there; a training writes it, so train first")
    try:
        split = {
            part: [str(name) for name in names]
            for part, names in json.loads(file.read_text()).items()
        }
    except (ValueError, AttributeError, TypeError):
        raise InputError(
            f'{file}: is not a split; expected {{"train": [names], "val": …}}'
        ) from None
    listed = [name for names in split.values() for name in names]
    for name in listed:
        if listed.count(name) > 1:
            raise InputError(f"{file}: patient {name} is listed twice; list each patient once")
    for name in set(listed) - {case["patient"] for case in cases}:
        raise InputError(
            f"{file}: patient {name} is not in the data set; name the folder that this split was "
            "drawn from, or remove the file to draw another"
        )
    return _by_set(cases, split)


def _apportion(total: int, weights: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Whole numbers that sum to ``total``, nearest to ``weights`` (largest remainders), each ≥ 1."""
    quotas = total * weights / weights.sum()
    sizes: npt.NDArray[np.int64] = np.floor(quotas).astype(np.int64)
    remainders = np.argsort(sizes - quotas, kind="stable")
    sizes[remainders[: total - sizes.sum()]] += 1
    while (sizes == 0).any():
        sizes[sizes.argmax()] -= 1
        sizes[sizes.argmin()] += 1
    return sizes


def _by_set(cases: Sequence[Case], split: Split) -> dict[str, list[Case]]:
    return {
        part: [case for case in cases if case["patient"] in set(names)]
        for part, names in split.items()
    }
