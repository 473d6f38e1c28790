"""Training, validation and test sets: split by patient, written down, read back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import numpy.typing as npt

from nacl_monai.data.cases import LabeledCase, alike_in_two_sets, names_of, split_unit
from nacl_monai.errors import InputError, SettingError, check_no_formula, print_line
from nacl_monai.files import write_text

Split = dict[str, list[str]]

# The key under which a file says how its split was drawn.
_DRAWN = "drawn"


def split_patients(patients: Sequence[str], proportions: Mapping[str, float], seed: int) -> Split:
    """Draws disjoint sets of patients whose sizes are as near to ``proportions`` as whole numbers go.

    Args:
        patients: Their names; order and repetitions do not matter.
        proportions: Relative size of each set, for instance ``{"train": 70, "val": 10, "test": 20}``; a
            set of 0 has one patient all the same.
        seed: The same seed draws the same split from the same patients.

    Returns:
        The sorted names of every set. Every set has at least one patient.

    Raises:
        SettingError: If a proportion is negative or infinite, or all are 0.
        InputError: If there are fewer patients than sets.

    Example:
        >>> split = split_patients([f"p{i}" for i in range(10)], {"train": 7, "val": 1, "test": 2}, 0)
        >>> {name: len(members) for name, members in split.items()}
        {'train': 7, 'val': 1, 'test': 2}
    """
    weights = np.array(list(proportions.values()))
    if not (0 < weights.sum() < np.inf and (weights >= 0).all()):
        raise SettingError(
            f"split_proportions: are {dict(proportions)}; write numbers of 0 or more, and one above 0"
        )
    names = sorted(set(patients))
    if len(names) < len(proportions):
        raise InputError(
            f"dataset: {len(names)} patient(s) cannot fill the sets {', '.join(proportions)}; "
            "at least one patient each is needed"
        )
    sizes = _apportion(len(names), weights)
    order = np.random.default_rng(seed).permutation(len(names))
    parts = np.split(order, np.cumsum(sizes)[:-1])
    drawn = [sorted(names[index] for index in members) for members in parts]
    return dict(zip(proportions, drawn, strict=True))


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
    return split_by_folds(names, [[name] for name in names], fold)


def split_cases(
    cases: Sequence[LabeledCase],
    draw: Callable[[Sequence[str]], Split],
    file: str | Path,
    train_fraction: float = 1.0,
    seed: int = 0,
) -> dict[str, list[LabeledCase]]:
    """Splits ``cases`` by patient as ``file`` says, or draws the split and writes it there.

    The file is JSON, ``{"train": ["patient001", …], "val": […], "test": […]}``. One that was written by
    hand is followed as it is, so this is the way to follow a published split. One that was drawn says
    under ``drawn`` how; it is drawn again, and must come out the same.

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
        InputError: If ``train_fraction`` is not in (0, 1], or is to shorten a split that was written by
            hand; if the file was drawn with other arguments or from other patients; or if ``draw`` or
            `read_split` refuses.
    """
    if not 0 < train_fraction <= 1:
        raise InputError(
            f"train_fraction {train_fraction}: is not a share; choose one above 0 and at most 1"
        )
    check_no_formula("cases", [name for case in cases for name in names_of(case)])
    file = Path(file)
    if file.is_file() and not is_drawn(file):
        if train_fraction < 1:
            raise InputError(
                f"{file}: was written by hand, so that train_fraction {train_fraction} cannot shorten "
                "it; leave that out and list fewer training patients, or remove the file"
            )
        return _warned(read_split(cases, file))
    drawn = _drawn([split_unit(case) for case in cases], draw, train_fraction, seed)
    if file.is_file():
        _check_drawn(file, _read(file), drawn)
    else:
        write_text(file, json.dumps(drawn, indent=2, ensure_ascii=False) + "\n")
    return _warned(read_split(cases, file))


def _warned(sets: dict[str, list[LabeledCase]]) -> dict[str, list[LabeledCase]]:
    """The sets; a warning says if one person may be in two of them, where nobody knows the patients."""
    unknown = [[c["case"] for c in cases if "patient" not in c] for cases in sets.values()]
    alike = alike_in_two_sets(unknown)
    if alike and idist.get_rank() == 0:
        print_line(
            "warning",
            f"cases: {' and '.join(alike)} are in two sets, and begin alike; if they are of one person, "
            "say so by `patient_of` (nacl-monai new … --patient-pattern)",
        )
    return sets


class Sets(dict[str, list[LabeledCase]]):
    """The cases of every set of a split; a set that is not there is an `InputError`."""

    def __init__(self, sets: Mapping[str, list[LabeledCase]], file: Path) -> None:
        super().__init__(sets)
        self.file = file

    def __missing__(self, name: str) -> list[LabeledCase]:
        raise InputError(f"{self.file}: has no set {name!r}; choose from {', '.join(self)}")


def read_split(cases: Sequence[LabeledCase], file: str | Path) -> dict[str, list[LabeledCase]]:
    """Splits ``cases`` as the JSON ``file`` says; patients it does not name are left out.

    Raises:
        InputError: If the file is missing or not a split, puts a patient into two sets, or names one
            that is not among ``cases``; and refuses to give a set that it lacks.
    """
    file = Path(file)
    if not file.is_file():
        raise InputError(f"{file}: there is no split; a training writes it, so train first")
    split = read_sets(file)
    unknown = sorted({*chain(*split.values())} - {split_unit(case) for case in cases})
    if unknown:
        raise InputError(
            f"{file}: patient {unknown[0]} is not in the dataset; name the folder that this split was "
            "drawn from, or remove the file to draw another"
        )
    wanted = {part: {*names} for part, names in split.items()}
    sets = {part: [c for c in cases if split_unit(c) in names] for part, names in wanted.items()}
    return Sets(sets, file)


def read_sets(file: Path) -> Split:
    """The patients of each set that a split's file names.

    Raises:
        InputError: If it is not a split, or puts a patient into two sets.
    """
    return _sets(file, _read(file))


def is_drawn(file: str | Path) -> bool:
    """Whether `split_cases` drew the split in ``file``; False if it was written by hand or is missing.

    Raises:
        InputError: If the file is not a split.
    """
    return Path(file).is_file() and _DRAWN in _read(Path(file))


def _drawn(
    patients: Sequence[str], draw: Callable[[Sequence[str]], Split], fraction: float, seed: int
) -> dict[str, Any]:
    """The content of a split's file: its sets, and how they were drawn."""
    split = draw(patients)
    name = getattr(getattr(draw, "func", draw), "__name__", type(draw).__name__)
    arguments = {"by": name, **getattr(draw, "keywords", {}), "train_fraction": fraction}
    arguments |= {"train_seed": seed, "patients": len(set(patients))}
    split = _sets("draw_split", split)
    train = split["train"]
    order = np.random.default_rng(seed).permutation(len(train))
    chosen = order[: max(1, round(fraction * len(train)))]
    split = {**split, "train": sorted(train[index] for index in chosen)}
    drawn: dict[str, Any] = json.loads(json.dumps({**split, _DRAWN: arguments}, default=str))
    return drawn


def _check_drawn(file: Path, found: Mapping[str, Any], drawn: Mapping[str, Any]) -> None:
    """Refuses a split that would not be drawn again."""
    if _sets(file, found) == _sets(file, drawn):
        return
    earlier = found[_DRAWN]
    differing = {key: now for key, now in drawn[_DRAWN].items() if earlier.get(key) != now}
    changes = [f"{key} ({earlier.get(key)}, now {now})" for key, now in differing.items()]
    raise InputError(
        f"{file}: was drawn with other {', '.join(changes) or 'patients, or changed by hand since'}; "
        f"remove it to draw another, or take {_DRAWN!r} out of it to follow it as it is"
    )


def _read(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8-sig")
        content = json.loads(text, object_pairs_hook=_without_repeats)
        if isinstance(content, dict) and isinstance(content.get(_DRAWN, {}), dict):
            return content
    except ValueError:
        pass
    raise _no_split(file)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; Python would keep the last of several values of a key in silence."""
    if len(dict(pairs)) < len(pairs):
        raise ValueError
    return dict(pairs)


def _no_split(where: str | Path) -> InputError:
    return InputError(
        f'{where}: is not a split; write it as {{"train": [names], "val": …}}, each set once'
    )


def _sets(where: str | Path, content: Mapping[str, Any]) -> Split:
    """The sets of a split, which have no patient in common; ``where`` it comes from."""
    sets = {part: names for part, names in content.items() if part != _DRAWN}
    if not all(isinstance(names, list) for names in sets.values()):
        raise _no_split(where)
    split = {part: list(map(str, names)) for part, names in sets.items()}
    for name, times in Counter(chain(*split.values())).items():
        if times > 1:
            raise InputError(f"{where}: patient {name} is listed twice; list each patient once")
    return split


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


def complete_split(
    patients: Sequence[str],
    sets: Mapping[str, Sequence[str]],
    proportions: Mapping[str, float],
    seed: int,
) -> Split:
    """Keeps the sets that are given, and draws the others from the remaining patients.

    Args:
        patients: All of them; order and repetitions do not matter.
        sets: The patients of some sets, such as those of an official test set.
        proportions: Relative size of each other set.
        seed: As in `split_patients`.

    Raises:
        InputError: If a set names a patient who is not there or is in another one, or if too few remain.

    Example:
        >>> complete_split(["a", "b", "c", "d"], {"test": ["d"]}, {"train": 2, "val": 1}, seed=0)
        {'train': ['a', 'c'], 'val': ['b'], 'test': ['d']}
    """
    taken = _checked(patients, sets.values())
    rest = [patient for patient in patients if patient not in taken]
    drawn = split_patients(rest, proportions, seed)
    return {**drawn, **{part: sorted(names) for part, names in sets.items()}}


def split_by_folds(
    patients: Sequence[str], folds: Sequence[Sequence[str]], fold: int, test: Sequence[str] = ()
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
