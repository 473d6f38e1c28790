"""Training, validation and test sets: split by patient, written down, read back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nacl_monai.data.cases import Case, split_unit
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
        InputError: If there are fewer patients than sets.

    Example:
        >>> split = split_patients([f"p{i}" for i in range(10)], {"train": 7, "val": 1, "test": 2}, 0)
        >>> {name: len(members) for name, members in split.items()}
        {'train': 7, 'val': 1, 'test': 2}
    """
    names = sorted(set(patients))
    if len(names) < len(proportions):
        raise InputError(
            f"dataset: {len(names)} patient(s) cannot fill the sets {', '.join(proportions)}; "
            "at least one patient each is needed"
        )
    sizes = _apportion(len(names), np.array(list(proportions.values())))
    order = np.random.default_rng(seed).permutation(len(names))
    parts = np.split(order, np.cumsum(sizes)[:-1])
    return {
        part: sorted(names[index] for index in members)
        for part, members in zip(proportions, parts, strict=True)
    }


def leave_one_out(patients: Sequence[str], fold: int) -> Split:
    """One fold of leave-one-out cross-validation, with one training patient to select the model.

    The patient number ``fold`` of the sorted names is tested, the next one (cyclically) validates, and
    the rest train. There are as many folds as patients; each patient is tested in one and validates in
    another.

    Raises:
        InputError: If there are fewer than three patients, or ``fold`` is not one of the folds.

    Example:
        >>> leave_one_out(["a", "b", "c", "d"], fold=3)
        {'train': ['b', 'c'], 'val': ['a'], 'test': ['d']}
    """
    names = sorted(set(patients))
    if len(names) < 3:
        raise InputError(
            f"dataset: {len(names)} patient(s) cannot be left out in turn; at least 3 are needed"
        )
    if not 0 <= fold < len(names):
        raise InputError(f"fold {fold}: there is no such fold; choose from 0 to {len(names) - 1}")
    test, val = names[fold], names[(fold + 1) % len(names)]
    train = [name for name in names if name not in (test, val)]
    return {"train": train, "val": [val], "test": [test]}


def split_cases(
    cases: Sequence[Case],
    draw: Callable[[Sequence[str]], Split],
    file: str | Path,
    train_fraction: float = 1.0,
    seed: int = 0,
) -> dict[str, list[Case]]:
    """Splits ``cases`` by patient as ``file`` says, or draws the split and writes it there.

    The file is JSON, ``{"train": ["patient001", …], "val": […], "test": […]}``. One that was written by
    hand is followed as it is, so this is the way to follow a published split.

    Args:
        cases: As found by `nacl_monai.data.layouts`.
        draw: Turns the names of the patients into sets, such as `split_patients` or `leave_one_out`
            with all other arguments given.
        file: Where the split is or will be.
        train_fraction: The share of the drawn training patients that is kept (section 4.2.6 of the
            paper). A smaller share is a subset of every larger one; validation and test do not change.
        seed: Decides which training patients are kept.

    Returns:
        The cases of every set.

    Raises:
        InputError: If ``train_fraction`` is not in (0, 1], or if ``draw`` or `read_split` refuses.
    """
    if not 0 < train_fraction <= 1:
        raise InputError(
            f"train_fraction {train_fraction}: is no share; choose one above 0 and at most 1"
        )
    if Path(file).is_file():
        return read_split(cases, file)
    split = draw([split_unit(case) for case in cases])
    split = {**split, "train": _part_of(split["train"], train_fraction, seed)}
    write_text(file, json.dumps(split, indent=2) + "\n")
    return _by_set(cases, split)


def read_split(cases: Sequence[Case], file: str | Path) -> dict[str, list[Case]]:
    """Splits ``cases`` as the JSON ``file`` says; patients it does not name are left out.

    Raises:
        InputError: If the file is missing or not a split, puts a patient into two sets, or names one
            that is not among ``cases``.
    """
    file = Path(file)
    if not file.is_file():
        raise InputError(f"{file}: there is no split; a training writes it, so train first")
    try:
        split = {
            part: [str(name) for name in names]
            for part, names in json.loads(file.read_text(encoding="utf-8")).items()
        }
    except (ValueError, AttributeError, TypeError):
        raise InputError(
            f'{file}: is not a split; write it as {{"train": [names], "val": …}}'
        ) from None
    listed = Counter(name for names in split.values() for name in names)
    for name, times in listed.items():
        if times > 1:
            raise InputError(f"{file}: patient {name} is listed twice; list each patient once")
    unknown = sorted(listed.keys() - {split_unit(case) for case in cases})
    if unknown:
        raise InputError(
            f"{file}: patient {unknown[0]} is not in the dataset; name the folder that this split was "
            "drawn from, or remove the file to draw another"
        )
    return _by_set(cases, split)


def _apportion(total: int, weights: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Sizes by largest remainders; in a tie the earlier set comes first. Each is at least 1."""
    quotas = total * weights / weights.sum()
    sizes: npt.NDArray[np.int64] = np.floor(quotas).astype(np.int64)
    remainders = np.argsort(sizes - quotas, kind="stable")
    sizes[remainders[: total - sizes.sum()]] += 1
    while (sizes == 0).any():
        sizes[sizes.argmax()] -= 1
        sizes[sizes.argmin()] += 1
    return sizes


def _part_of(names: Sequence[str], fraction: float, seed: int) -> list[str]:
    """The first of the names in a random order, at least one; sorted."""
    order = np.random.default_rng(seed).permutation(len(names))
    return sorted(names[index] for index in order[: max(1, round(fraction * len(names)))])


def _by_set(cases: Sequence[Case], split: Split) -> dict[str, list[Case]]:
    return {
        part: [case for case in cases if split_unit(case) in set(names)]
        for part, names in split.items()
    }
