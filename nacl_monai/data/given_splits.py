"""Splits that somebody else has made: official test sets, and the folds of a cross-validation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from nacl_monai.data.splits import Split, split_patients
from nacl_monai.errors import InputError, SettingError


def complete_split(
    patients: Sequence[str],
    given: Mapping[str, Sequence[str]],
    proportions: Mapping[str, float],
    seed: int,
) -> Split:
    """Keeps the sets that are given, and draws the others from the remaining patients.

    Args:
        patients: All of them; order and repetitions do not matter.
        given: The patients of some sets, such as those of an official test set.
        proportions: Relative size of each other set.
        seed: As of `split_patients`.

    Raises:
        InputError: If a set names a patient who is not there or is in another one, or if too few remain.

    Example:
        >>> complete_split(["a", "b", "c", "d"], {"test": ["d"]}, {"train": 2, "val": 1}, seed=0)
        {'train': ['a', 'c'], 'val': ['b'], 'test': ['d']}
    """
    taken = _checked(patients, given.values())
    drawn = split_patients([one for one in patients if one not in taken], proportions, seed)
    return {**drawn, **{part: sorted(names) for part, names in given.items()}}


def split_by_folds(
    patients: Sequence[str],
    folds: Sequence[Sequence[str]],
    fold: int,
    test: Sequence[str] = (),
) -> Split:
    """One fold of a cross-validation that was drawn elsewhere.

    If there is a test set, the fold validates and all others train. Otherwise the fold is tested and the
    next one (cyclically) validates, so that no patient who selects the model is tested.

    Args:
        patients: All of them.
        folds: The patients of each fold.
        fold: Number of the fold, from 0.
        test: The patients of the official test set.

    Raises:
        SettingError: If ``fold`` is not one of the folds.
        InputError: If a fold names a patient who is not there or is in another fold, if a patient is in
            none, or if nobody is left to train.

    Example:
        >>> split_by_folds(["a", "b", "c", "d"], [["a"], ["b"], ["c", "d"]], fold=2)
        {'train': ['b'], 'val': ['a'], 'test': ['c', 'd']}
        >>> split_by_folds(["a", "b", "c"], [["a"], ["b"]], fold=0, test=["c"])
        {'train': ['b'], 'val': ['a'], 'test': ['c']}
    """
    if not 0 <= fold < len(folds):
        raise SettingError(f"fold {fold}: there is no such fold; choose from 0 to {len(folds) - 1}")
    left_out = sorted({*patients} - _checked(patients, [*folds, test]))
    if left_out:
        raise InputError(
            f"{left_out[0]}: is in no fold of the bundle's split, and would be left out; add it to one, "
            "or remove its cases"
        )
    held = [folds[fold]] if test else [folds[(fold + 1) % len(folds)], folds[fold]]
    val, tested = held[0], test or held[-1]
    train = sorted({*chain(*folds)} - {*val, *tested})
    if not train:
        raise InputError(f"fold {fold}: leaves nobody to train on; at least 3 folds are needed")
    return {"train": train, "val": sorted(val), "test": sorted(tested)}


def _checked(patients: Sequence[str], sets: Iterable[Sequence[str]]) -> set[str]:
    """The patients in all sets, none of whom is in two or is missing."""
    taken: set[str] = set()
    for name in chain(*map(dict.fromkeys, sets)):
        if name not in patients:
            raise InputError(
                f"{name}: is in the bundle's split, but not in the dataset; correct one of both"
            )
        if name in taken:
            raise InputError(
                f"{name}: is in two sets of the bundle's split; keep every patient in one"
            )
        taken.add(name)
    return taken
